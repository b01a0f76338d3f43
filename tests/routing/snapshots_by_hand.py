"""Providers, models and aliases without a database."""

from typing import Any

from routing.conditions import read_when
from routing.snapshots import (
    DEFAULT_FALLBACK_ON,
    AliasSnapshot,
    CredentialSnapshot,
    ModelSnapshot,
    ProviderSnapshot,
    RouteSnapshot,
    RouteTargetSnapshot,
    Timeouts,
)
from routing.terms import Breaker, Retries


def credential(name: str, weight: int = 1, account: str = "") -> CredentialSnapshot:
    return CredentialSnapshot(name, f"secret of {name}", account, weight)


def provider(
    name: str,
    *credentials: CredentialSnapshot,
    needs_credential: bool = True,
    breaker: Breaker | None = None,
    retries: Retries | None = None,
) -> ProviderSnapshot:
    return ProviderSnapshot(
        name=name,
        tenant="",
        dialect="openai",
        base_url="https://api.example",
        credentials=credentials,
        needs_credential=needs_credential,
        inject_headers={},
        timeouts=Timeouts(5, 60, 60, 600),
        options={},
        retries=retries or Retries(),
        breaker=breaker or Breaker(),
    )


def model(
    name: str,
    *credentials: CredentialSnapshot,
    of: ProviderSnapshot | None = None,
    needs_credential: bool = True,
    window: int | None = None,
    capabilities: frozenset[str] | None = None,
) -> ModelSnapshot:
    """At a provider of its own, unless it is told which."""
    whose = of or provider(f"{name}'s provider", *credentials, needs_credential=needs_credential)
    return ModelSnapshot(name, "", whose, name, "chat", window, None, capabilities)


def usable(name: str, **fields: Any) -> ModelSnapshot:
    return model(name, credential("main"), **fields)


def route(
    *targets: tuple[ModelSnapshot, int],
    position: int = 0,
    when: dict[str, Any] | None = None,
    strategy: str = "weighted",
    sticky: str = "",
) -> RouteSnapshot:
    pairs = tuple(RouteTargetSnapshot(model, weight) for model, weight in targets)
    return RouteSnapshot(position, read_when(when or {}), pairs, strategy, sticky)


def alias(
    *routes: RouteSnapshot,
    fallbacks: tuple[ModelSnapshot, ...] = (),
    name: str = "pro",
    **fields: Any,
) -> AliasSnapshot:
    return AliasSnapshot(name, "", "", "chat", routes, fallbacks, DEFAULT_FALLBACK_ON, **fields)
