"""What the hot path knows of providers, models and aliases: frozen, and swapped whole."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from billing.plans import NO_TERMS, Terms
from gateway_project.units import parse_duration
from routing.conditions import read_when
from routing.models import Alias, Credential, Fallback, GatewaySettings, Model, Provider, Route
from routing.terms import (
    NOTHING_SAID,
    USUAL_BREAKER,
    Breaker,
    Probe,
    Retries,
    Slow,
    read_amount,
    read_breaker,
    read_hedge,
    read_probe,
    read_retries,
    read_share,
    read_slow,
)

DEFAULT_FALLBACK_ON = frozenset(
    {"rate_limit", "timeout", "server_error", "overloaded", "connection"}
)
MAX_WAITING = 100
MAX_WAIT = "10s"
DEFAULT_TIMEOUTS = {"connect": "5s", "first_byte": "60s", "idle": "60s", "total": "10m"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float
    first_byte: float
    idle: float
    total: float


@dataclass(frozen=True, slots=True)
class CredentialSnapshot:
    name: str
    secret: str
    account: str
    weight: int

    def __repr__(self) -> str:
        return f"CredentialSnapshot({self.name})"


@dataclass(frozen=True, slots=True)
class Queue:
    """How many requests may wait for a provider's limit, and for how many seconds."""

    max_waiting: int
    max_wait: float


@dataclass(frozen=True, slots=True)
class ProviderSnapshot:
    """An upstream account. One that declares credentials but has none in force is unusable."""

    name: str
    tenant: str
    dialect: str
    base_url: str
    credentials: tuple[CredentialSnapshot, ...]
    needs_credential: bool
    inject_headers: Mapping[str, str]
    timeouts: Timeouts
    options: Mapping[str, Any]
    retries: Retries = NOTHING_SAID
    breaker: Breaker = USUAL_BREAKER
    probe: Probe | None = None
    """None: nobody asks it beside requests."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    queue: Queue | None = None


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    name: str
    tenant: str
    provider: ProviderSnapshot
    upstream: str
    kind: str
    context_window: int | None
    max_output_tokens: int | None
    capabilities: frozenset[str] | None = None
    """None: not declared, taken to have them all."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    overhead_tokens: int = 0
    """What the upstream adds to each request's input."""
    media_tokens: Mapping[str, int] = field(default_factory=dict)
    """The most that one `image`, `audio` or `document` may count."""

    @property
    def identity(self) -> tuple[str, str]:
        """Its owner and its name: a tenant's own model may bear the name of another."""
        return self.tenant, self.name


@dataclass(frozen=True, slots=True)
class RouteTargetSnapshot:
    model: ModelSnapshot
    weight: int


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """`when` as conditions.read_when gives it; `sticky` is `user`, `tenant` or empty; `pinned` is
    the route as configured: JSON text, which usage records keep."""

    position: int
    when: Mapping[str, Any]
    targets: tuple[RouteTargetSnapshot, ...]
    strategy: str = "weighted"
    sticky: str = ""
    pinned: str = "{}"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where a share (0 to 1) of the traffic is copied to."""

    model: ModelSnapshot
    share: float


@dataclass(frozen=True, slots=True)
class AliasSnapshot:
    """`hedge` is in seconds, `max_cost_per_request` in nano-units, `on_short_budget` is `clamp`,
    `refuse` or empty."""

    name: str
    tenant: str
    description: str
    kind: str
    routes: tuple[RouteSnapshot, ...]
    fallbacks: tuple[ModelSnapshot, ...]
    fallback_on: frozenset[str]
    retries: Retries = NOTHING_SAID
    slow: Slow | None = None
    hedge: float | None = None
    mirror: Mirror | None = None
    max_cost_per_request: int | None = None
    max_output_tokens: int | None = None
    on_short_budget: str = ""


@dataclass(frozen=True, slots=True)
class RoutingSnapshot:
    """Aliases by (tenant, name), the gateway's under the empty tenant; every model likewise."""

    aliases: Mapping[tuple[str, str], AliasSnapshot]
    models: Mapping[tuple[str, str], ModelSnapshot]
    max_request_bytes: int
    injected_headers: frozenset[str]
    terms: Terms = NO_TERMS
    """The gateway's own limits and budgets."""
    asks_budgets: bool = False
    """Some route goes by how much of a budget is used."""


def _secret(credential: Credential) -> str:
    """The stored secret; for an `env:` that was unset when it was applied, what it is now."""
    reference = credential.secret_reference
    if not credential.secret and reference.startswith("env:"):
        return os.environ.get(reference.removeprefix("env:"), "")
    return credential.secret


def _queue(configured: Mapping[str, Any]) -> Queue | None:
    if not configured:
        return None
    return Queue(
        max_waiting=configured.get("max_waiting", MAX_WAITING),
        max_wait=parse_duration(configured.get("max_wait", MAX_WAIT)),
    )


def _provider(row: Provider) -> ProviderSnapshot:
    timeouts = {
        key: parse_duration(value) for key, value in {**DEFAULT_TIMEOUTS, **row.timeouts}.items()
    }
    pool = [
        CredentialSnapshot(credential.name, secret, credential.account, credential.weight)
        for credential in row.credentials.all()
        if (secret := _secret(credential))
    ]
    return ProviderSnapshot(
        name=row.name,
        tenant=row.tenant.name if row.tenant else "",
        dialect=row.dialect,
        base_url=row.base_url.rstrip("/"),
        credentials=tuple(pool),
        needs_credential=bool(row.credentials.all()),
        inject_headers=MappingProxyType({k.lower(): v for k, v in row.inject_headers.items()}),
        timeouts=Timeouts(**timeouts),
        options=MappingProxyType(dict(row.options)),
        retries=read_retries(row.retries),
        breaker=read_breaker(row.breaker),
        probe=read_probe(row.probe),
        limits=MappingProxyType(dict(row.limits)),
        queue=_queue(row.queue),
    )


def _model(row: Model, provider: ProviderSnapshot) -> ModelSnapshot:
    return ModelSnapshot(
        name=row.name,
        tenant=row.tenant.name if row.tenant else "",
        provider=provider,
        upstream=row.upstream,
        kind=row.kind,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        capabilities=None if row.capabilities is None else frozenset(row.capabilities),
        limits=MappingProxyType(dict(row.limits)),
        overhead_tokens=row.overhead_tokens or 0,
        media_tokens=MappingProxyType(dict(row.media_tokens)),
    )


def _pinned(row: Route, targets: list[RouteTargetSnapshot]) -> str:
    """Its position, `when`, strategy, `sticky` and the weights of its targets, written once for all
    requests that it decides: briefly, because each of them keeps it."""
    route: dict[str, Any] = {"position": row.position, "strategy": row.strategy}
    if row.when:
        route["when"] = row.when
    if row.sticky:
        route["sticky"] = row.sticky
    route["targets"] = {one.model.name: one.weight for one in targets}
    return json.dumps(route, ensure_ascii=False, separators=(",", ":"))


def _route(row: Route, models: dict[int, ModelSnapshot]) -> RouteSnapshot:
    targets = [
        RouteTargetSnapshot(models[target.model_id], target.weight) for target in row.targets.all()
    ]
    return RouteSnapshot(
        position=row.position,
        when=read_when(row.when),
        targets=tuple(targets),
        strategy=row.strategy,
        sticky=row.sticky,
        pinned=_pinned(row, targets),
    )


def _mirror(row: Alias, models: Mapping[int, ModelSnapshot]) -> Mirror | None:
    """A tenant's own model wins over the gateway's of that name."""
    raw = row.options.get("mirror")
    if not raw:
        return None
    owners = {row.tenant.name if row.tenant else "", ""}
    named = [m for m in models.values() if m.name == raw["model"] and m.tenant in owners]
    named.sort(key=lambda model: model.tenant, reverse=True)
    return Mirror(named[0], read_share(raw)) if named else None


def _alias(row: Alias, models: dict[int, ModelSnapshot]) -> AliasSnapshot:
    options = row.options
    routes = tuple(_route(route, models) for route in row.routes.all())
    fallbacks: list[Fallback] = list(row.fallbacks.all())
    reachable = [target.model for route in routes for target in route.targets]
    return AliasSnapshot(
        name=row.name,
        tenant=row.tenant.name if row.tenant else "",
        description=row.description,
        kind=reachable[0].kind if reachable else "chat",
        routes=routes,
        fallbacks=tuple(models[fallback.model_id] for fallback in fallbacks),
        fallback_on=(
            DEFAULT_FALLBACK_ON if row.fallback_on is None else frozenset(row.fallback_on)
        ),
        retries=read_retries(options.get("retries") or {}),
        slow=read_slow(options.get("slow")),
        hedge=read_hedge(options.get("hedge")),
        mirror=_mirror(row, models),
        max_cost_per_request=read_amount(options.get("max_cost_per_request")),
        max_output_tokens=options.get("max_output_tokens"),
        on_short_budget=options.get("on_short_budget") or "",
    )


def read_routing() -> RoutingSnapshot:
    """Everything that routing needs, in a handful of queries."""
    settings = GatewaySettings.objects.first() or GatewaySettings()
    providers = {
        row.pk: _provider(row)
        for row in Provider.objects.select_related("tenant").prefetch_related("credentials")
    }
    models = {
        row.pk: _model(row, providers[row.provider_id])
        for row in Model.objects.select_related("tenant")
    }
    rows = Alias.objects.select_related("tenant").prefetch_related("routes__targets", "fallbacks")
    aliases = [_alias(row, models) for row in rows]
    return RoutingSnapshot(
        aliases=MappingProxyType({(alias.tenant, alias.name): alias for alias in aliases}),
        models=MappingProxyType({(model.tenant, model.name): model for model in models.values()}),
        max_request_bytes=settings.max_request_bytes,
        terms=Terms(settings.limits, tuple(settings.budgets)),
        asks_budgets=any(
            "budget_used" in route.when for alias in aliases for route in alias.routes
        ),
        injected_headers=frozenset(
            header for provider in providers.values() for header in provider.inject_headers
        ),
    )
