"""Which settings the gateway acts on by now. What else a configuration says is stored, comes back
on export, and is named at start so that nobody relies on it."""

from collections.abc import Iterator

from routing.config.exporting import stored
from routing.config.normal import Plain

IN_FORCE: dict[str, set[str]] = {
    "gateway": {
        "max_request_bytes",
        "retention",
        "exchange_rates",
        "webhooks",
        "limits",
        "budgets",
    },
    "providers": {
        "dialect",
        "base_url",
        "credentials",
        "timeouts",
        "inject_headers",
        "delay",
        "retries",
        "breaker",
        "probe",
        "limits",
        "queue",
    },
    "models": {
        "provider",
        "upstream",
        "kind",
        "max_output_tokens",
        "context_window",
        "capabilities",
        "overhead_tokens",
        "media_tokens",
        "limits",
    },
    "price_books": {"currency", "based_on", "versions", "fallback"},
    "guards": set(),
    "aliases": {
        "description",
        "routes",
        "fallbacks",
        "fallback_on",
        "retries",
        "slow",
        "hedge",
        "mirror",
        "max_cost_per_request",
        "max_output_tokens",
        "on_short_budget",
    },
    "aliases.slow": {"first_byte", "tokens_per_second"},
    "aliases.routes": {"when", "targets", "strategy", "sticky"},
    "aliases.routes.when": {
        "tier",
        "tenant",
        "project",
        "user",
        "label",
        "scope",
        "input_tokens",
        "has",
        "time",
        "timezone",
        "budget_used",
        "complexity",
    },
    "tiers": {"limits", "budgets", "weight"},
    "tenants": {
        "name",
        "tier",
        "status",
        "aliases",
        "price_book",
        "timezone",
        "cors_origins",
        "limits",
        "budgets",
        "on_disconnect",
        "price_factors",
        "unpriced",
        "projects",
        "keys",
        "issuers",
        "hmac",
        "webhooks",
        "providers",
        "models",
        "own_aliases",
    },
    "tenants.price_factors": {"hedge_loser"},
    "tenants.projects": {"limits", "budgets"},
    "tenants.keys": {"name", "project", "aliases", "limits", "budgets"},
}
"""The fields in force of each section; a section inside another stands with its path."""

DIALECTS = {"openai", "responses", "anthropic", "gemini", "mistral", "ollama", "demo"}
STRATEGIES = {"weighted", "priority", "round_robin", "least_busy", "latency", "cost"}


def not_in_force(configuration: Plain | None = None) -> list[str]:
    """The settings of a listed configuration (by default the stored one) that are not acted on, by
    their paths without the names in between: `gateway.limits`, `aliases.cache`,
    `dialect anthropic`."""
    return sorted(set(_found(stored() if configuration is None else configuration)))


def _found(configuration: Plain) -> Iterator[str]:
    yield from _fields("gateway", configuration.get("gateway", {}))
    for section in ("price_books", "guards", "tiers"):
        for entry in configuration.get(section, {}).values():
            yield from _fields(section, entry)
    yield from _routing(configuration, "aliases")
    for tenant in configuration.get("tenants", {}).values():
        yield from _fields("tenants", tenant)
        yield from _fields("tenants.price_factors", tenant.get("price_factors", {}))
        for project in tenant.get("projects", {}).values():
            yield from _fields("tenants.projects", project)
        for policy in tenant.get("keys", []):
            yield from _fields("tenants.keys", policy)
        yield from _routing(tenant, "own_aliases")


def _routing(owner: Plain, aliases: str) -> Iterator[str]:
    for provider in owner.get("providers", {}).values():
        yield from _fields("providers", provider)
        if provider["dialect"] not in DIALECTS:
            yield f"dialect {provider['dialect']}"
    for model in owner.get("models", {}).values():
        yield from _fields("models", model)
    for alias in owner.get(aliases, {}).values():
        yield from _fields("aliases", alias)
        yield from _fields("aliases.slow", alias.get("slow", {}))
        for route in alias.get("routes", []):
            yield from _fields("aliases.routes", route)
            yield from _fields("aliases.routes.when", route.get("when", {}))
            if route.get("strategy", "weighted") not in STRATEGIES:
                yield f"strategy {route['strategy']}"


def _fields(section: str, entry: Plain) -> Iterator[str]:
    if section == "guards":
        yield "guards"
        return
    yield from (f"{section}.{field}" for field in entry if field not in IN_FORCE[section])
