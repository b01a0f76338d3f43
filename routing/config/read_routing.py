"""Providers, models and aliases of the database, as fragments of a configuration."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from django.db.models import Prefetch, QuerySet

from routing.config.normal import Plain
from routing.config.rows import (
    by_name,
    columns,
    normalise,
    normalise_with_secret,
    secret_of,
    with_sealed_secret,
)
from routing.config.schema_aliases import Alias as AliasShape
from routing.config.schema_routing import Credential as CredentialShape
from routing.config.schema_routing import Model as ModelShape
from routing.config.schema_routing import Provider as ProviderShape
from routing.models import (
    Alias,
    AliasGuard,
    Credential,
    Fallback,
    Model,
    Provider,
    Route,
    RouteTarget,
)

Owned = dict[int | None, Plain]
"""Fragments by name, by the primary key of the tenant that owns them (None: the gateway)."""


def providers() -> Owned:
    pool = with_sealed_secret(Credential.objects.order_by("id"))
    rows = Provider.objects.prefetch_related(Prefetch("credentials", queryset=pool))
    return _by_owner(rows, _provider)


def models() -> Owned:
    return _by_owner(Model.objects.select_related("provider"), _model)


def aliases() -> Owned:
    targets = RouteTarget.objects.select_related("model").order_by("position")
    fallbacks = Fallback.objects.select_related("model").order_by("position")
    guards = AliasGuard.objects.select_related("guard").order_by("position")
    rows = Alias.objects.prefetch_related(
        Prefetch("routes", queryset=Route.objects.order_by("position")),
        Prefetch("routes__targets", queryset=targets),
        Prefetch("fallbacks", queryset=fallbacks),
        Prefetch("aliasguard_set", queryset=guards),
    )
    return _by_owner(rows, _alias)


def _by_owner(rows: QuerySet[Any], fragment: Callable[[Any], Plain]) -> Owned:
    by_tenant: dict[int | None, list[Any]] = defaultdict(list)
    for row in rows:
        by_tenant[row.tenant_id].append(row)
    return defaultdict(dict, {key: by_name(own, fragment) for key, own in by_tenant.items()})


def _provider(row: Provider) -> Plain:
    settings = ("inject_headers", "timeouts", "retries", "breaker", "probe", "limits", "queue")
    raw = {**columns(row, "dialect", "base_url", *settings), **row.options}
    entry = normalise(ProviderShape, raw)
    if pool := [_credential(credential) for credential in row.credentials.all()]:
        entry["credentials"] = pool
    return entry


def _credential(row: Credential) -> Plain:
    raw = columns(row, "name", "account", "weight")
    return normalise_with_secret(CredentialShape, raw, secret_of(row))


def _model(row: Model) -> Plain:
    raw = columns(row, "upstream", "kind", "context_window", "max_output_tokens", "capabilities")
    more = columns(row, "overhead_tokens", "media_tokens", "limits")
    return normalise(ModelShape, {"provider": row.provider.name, **raw, **more})


def _alias(row: Alias) -> Plain:
    raw = columns(row, "description", "fallback_on")
    raw["routes"] = [
        {
            **columns(route, "when", "strategy", "sticky"),
            "targets": [
                {"model": target.model.name, "weight": target.weight}
                for target in route.targets.all()
            ],
        }
        for route in row.routes.all()
    ]
    raw["fallbacks"] = [fallback.model.name for fallback in row.fallbacks.all()]
    raw["guards"] = [place.guard.name for place in row.aliasguard_set.all()]
    return normalise(AliasShape, {**raw, **row.options})
