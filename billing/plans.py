"""Which limits and budgets a request meets: those of the gateway, its tenant, project, key, user,
alias and labels, and of the target that answers. Pure; worked out once for requests alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from billing.budgets import Purse, read_purses
from billing.limits import Limit, read_caller_limits, read_limits
from billing.scopes import Scope


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits and budgets that the configuration gives to somebody, as it spells them."""

    limits: Mapping[str, Any] = field(default_factory=dict)
    budgets: Sequence[Mapping[str, Any]] = ()

    def over(self, defaults: "Terms") -> "Terms":
        """These, and where they say nothing the defaults: field by field."""
        return Terms({**defaults.limits, **self.limits}, self.budgets or defaults.budgets)


NO_TERMS = Terms()
GATEWAY_TIMEZONE = "UTC"


class Asking(NamedTuple):
    """Who asks for what, as far as plans differ by it."""

    tenant: str
    project: str
    key: str
    tier: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`limits` and `purses` in the order in which they are asked: the gateway's first."""

    limits: tuple[Limit, ...]
    purses: tuple[Purse, ...]
    has_labels: bool
    """Some purse counts only requests of a label."""
    is_hard: bool
    """Some budget is hard."""


class Owned(NamedTuple):
    """Terms, and the scope that they hold in."""

    scope: Scope
    terms: Terms


def owners(
    asking: Asking,
    *,
    gateway: Terms,
    tenant: Terms,
    project: Terms | None,
    key: Terms | None,
    tier: Terms | None,
) -> tuple[Owned, ...]:
    """Who sets terms for a request, the gateway first. `tenant` has its tier's defaults by now;
    `tier` is there when the caller's is another one, and holds for each of its users."""
    whole = Scope(asking.tenant)
    found = [Owned(Scope(""), gateway), Owned(whole, tenant)]
    if project is not None:
        found.append(Owned(whole.narrowed("project", asking.project), project))
    if key is not None:
        found.append(Owned(whole.narrowed("key", asking.key), key))
    if tier is not None:
        found.append(Owned(whole._replace(per_user=True, tier=asking.tier), tier))
    return tuple(found)


def caller_plan(owned: Sequence[Owned], *, alias: str, timezone: str) -> Plan:
    """What a request for an alias meets whichever target answers. `timezone` is the tenant's; the
    gateway's own budgets go by UTC unless they name one, or they would count once for each zone."""
    limits = [
        limit for scope, terms in owned for limit in read_caller_limits(scope, terms.limits, alias)
    ]
    purses = [
        purse
        for scope, terms in owned
        for purse in read_purses(
            scope, terms.budgets, timezone=timezone if scope.owner else GATEWAY_TIMEZONE
        )
        if purse.alias in (None, alias)
    ]
    return Plan(
        limits=tuple(limits),
        purses=tuple(purses),
        has_labels=any(purse.label for purse in purses),
        is_hard=any(purse.is_hard for purse in purses),
    )


def target_limits(
    owned: Sequence[Owned],
    *,
    provider: Scope,
    provider_limits: Mapping[str, Any],
    model: Scope,
    model_limits: Mapping[str, Any],
) -> tuple[Limit, ...]:
    """What an attempt meets at one target: the provider's limits, the model's, and those that
    anybody gives to a model of that name."""
    name = dict(model.where)["model"]
    found = [*read_limits(provider, provider_limits), *read_limits(model, model_limits)]
    for scope, terms in owned:
        found += read_limits(scope.narrowed("model", name), _per_model(terms, name))
    return tuple(found)


def _per_model(terms: Terms, model: str) -> Mapping[str, Any]:
    limits: Mapping[str, Any] = terms.limits.get("per_model", {}).get(model, {})
    return limits
