"""Which limits and budgets a request meets: those of the gateway, its tenant, project, key, user,
alias and labels, and of the target that answers. Pure; worked out once for requests alike."""

from collections.abc import Iterator, Mapping, Sequence
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


class Asking(NamedTuple):
    """Who asks for what, as far as plans differ by it."""

    tenant: str
    project: str
    key: str
    alias: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`limits` and `purses` in the order in which they are asked: the gateway's first."""

    limits: tuple[Limit, ...]
    purses: tuple[Purse, ...]
    has_labels: bool
    """Some purse counts only requests of a label."""
    is_hard: bool
    """Some budget is hard."""


def caller_plan(
    asking: Asking,
    *,
    timezone: str,
    gateway: Terms,
    tenant: Terms,
    project: Terms | None,
    key: Terms | None,
    tier: Terms | None,
) -> Plan:
    """What a request meets whichever target answers. `tenant` has its tier's defaults by now;
    `tier` is there when the caller's is another one, and holds for each of its users."""
    whole = Scope(asking.tenant)
    owners: list[tuple[Scope, Terms]] = [(Scope(""), gateway), (whole, tenant)]
    if project is not None:
        owners.append((whole.narrowed("project", asking.project), project))
    if key is not None:
        owners.append((whole.narrowed("key", asking.key), key))
    if tier is not None:
        owners.append((whole._replace(per_user=True), tier))
    limits = [
        limit
        for scope, terms in owners
        for limit in read_caller_limits(scope, terms.limits, asking.alias)
    ]
    purses = [
        purse
        for scope, terms in owners
        for purse in read_purses(scope, terms.budgets, timezone=timezone)
        if purse.alias in (None, asking.alias)
    ]
    return Plan(
        limits=tuple(limits),
        purses=tuple(purses),
        has_labels=any(purse.label for purse in purses),
        is_hard=any(purse.is_hard for purse in purses),
    )


def target_limits(
    tenant: str,
    *,
    provider: Scope,
    provider_limits: Mapping[str, Any],
    model: Scope,
    model_limits: Mapping[str, Any],
    gateway: Terms,
    own: Terms,
) -> tuple[Limit, ...]:
    """What an attempt meets at one target: the provider's limits, the model's, and those that the
    gateway and the tenant give to a model of that name."""
    name = dict(model.where)["model"]
    found: Iterator[Limit] = read_limits(provider, provider_limits)
    return (
        *found,
        *read_limits(model, model_limits),
        *read_limits(Scope("").narrowed("model", name), _per_model(gateway, name)),
        *read_limits(Scope(tenant).narrowed("model", name), _per_model(own, name)),
    )


def _per_model(terms: Terms, model: str) -> Mapping[str, Any]:
    limits: Mapping[str, Any] = terms.limits.get("per_model", {}).get(model, {})
    return limits
