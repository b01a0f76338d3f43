"""Providers with their credentials, models, and aliases with their routes: the gateway's (no
tenant) or one tenant's."""

from routing.config.normal import Plain
from routing.config.rows import changed, gone, put, secret_columns, values_of
from routing.models import (
    Alias,
    AliasGuard,
    Credential,
    Fallback,
    Guard,
    Model,
    Provider,
    Route,
    RouteTarget,
)

_SETTINGS = (
    *("base_url", "inject_headers", "timeouts", "retries", "breaker", "probe"),
    *("limits", "queue"),
)
_OF_THE_DIALECT = ("delay",)
_OF_THE_ALIAS = ("description", "routes", "fallbacks", "fallback_on", "guards")


def write(tenant: int | None, stored: Plain, target: Plain) -> None:
    """What is new or differs. `tenant` is a primary key."""
    for name, provider in changed(stored, target, "providers"):
        _write_provider(tenant, name, stored.get("providers", {}).get(name, {}), provider)
    if models := list(changed(stored, target, "models")):
        providers = _visible(Provider, tenant)
        for name, model in models:
            _write_model(tenant, name, providers[model["provider"]], model)
    if aliases := list(changed(stored, target, _aliases(tenant))):
        known, guards = _visible(Model, tenant), dict(Guard.objects.values_list("name", "pk"))
        for name, alias in aliases:
            _write_alias(tenant, name, alias, known, guards)


def remove(tenant: int | None, stored: Plain, target: Plain) -> None:
    """What is gone, last named first."""
    for model, field in ((Alias, _aliases(tenant)), (Model, "models"), (Provider, "providers")):
        if names := gone(stored, target, field):
            model._default_manager.filter(tenant=tenant, name__in=names).delete()


def _aliases(tenant: int | None) -> str:
    return "aliases" if tenant is None else "own_aliases"


def _visible(model: type[Provider] | type[Model], tenant: int | None) -> dict[str, int]:
    """Primary keys by name: a tenant's own wins over the gateway's."""
    manager = model._default_manager
    names = dict(manager.filter(tenant=None).values_list("name", "pk"))
    if tenant is not None:
        names |= dict(manager.filter(tenant_id=tenant).values_list("name", "pk"))
    return names


def _write_provider(tenant: int | None, name: str, stored: Plain, entry: Plain) -> None:
    values = {"dialect": entry["dialect"], **values_of(Provider, entry, *_SETTINGS)}
    values["options"] = {field: entry[field] for field in _OF_THE_DIALECT if field in entry}
    provider = put(Provider, {"tenant_id": tenant, "name": name}, values)
    before = stored.get("credentials", {})
    for credential, fields in changed(stored, entry, "credentials"):
        secret = secret_columns(fields["secret"], before.get(credential, {}).get("secret"))
        columns = values_of(Credential, fields, "account", "weight")
        put(Credential, {"provider_id": provider, "name": credential}, {**columns, **secret})
    lost = gone(stored, entry, "credentials")
    Credential.objects.filter(provider_id=provider, name__in=lost).delete()


def _write_model(tenant: int | None, name: str, provider: int, entry: Plain) -> None:
    fields = ("upstream", "kind", "context_window", "max_output_tokens", "capabilities")
    values = values_of(Model, entry, *fields, "overhead_tokens", "media_tokens", "limits")
    put(Model, {"tenant_id": tenant, "name": name}, {"provider_id": provider, **values})


def _write_alias(
    tenant: int | None, name: str, entry: Plain, models: dict[str, int], guards: dict[str, int]
) -> None:
    values = values_of(Alias, entry, "description", "fallback_on")
    values["options"] = {
        field: value for field, value in entry.items() if field not in _OF_THE_ALIAS
    }
    alias = put(Alias, {"tenant_id": tenant, "name": name}, values)
    for children in (Route, Fallback, AliasGuard):
        children._default_manager.filter(alias_id=alias).delete()
    routes = Route.objects.bulk_create(
        Route(
            alias_id=alias,
            position=position,
            **values_of(Route, route, "when", "strategy", "sticky"),
        )
        for position, route in enumerate(entry["routes"])
    )
    RouteTarget.objects.bulk_create(
        RouteTarget(
            route=row,
            position=position,
            model_id=models[target["model"]],
            weight=target.get("weight", 1),
        )
        for row, route in zip(routes, entry["routes"], strict=True)
        for position, target in enumerate(route["targets"])
    )
    Fallback.objects.bulk_create(
        Fallback(alias_id=alias, position=position, model_id=models[model])
        for position, model in enumerate(entry.get("fallbacks", []))
    )
    AliasGuard.objects.bulk_create(
        AliasGuard(alias_id=alias, position=position, guard_id=guards[guard])
        for position, guard in enumerate(entry.get("guards", []))
    )
