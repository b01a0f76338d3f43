"""What one request asks of limits and budgets: one claim for each counter that it touches."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from billing.budgets import Calendar, Period, Purse
from billing.counters.asks import Ask
from billing.limits import Limit
from billing.plans import Asking, Plan, caller_plan, target_limits
from billing.scopes import Scope
from proxy.bounds import Exposure, most
from proxy.exchange import Exchange
from proxy.store import Snapshot
from routing.choose import Target

ASSUMED_OUTPUT = 512
"""Tokens that a limit takes for an answer whose request names no bound; corrected by usage."""
REMEMBERED_PLANS = 10_000


class Claim(NamedTuple):
    """A limit or budget that a request meets, the scope with its user filled in, and what it takes
    there. `period` is a purse's."""

    rule: Limit | Purse
    scope: Scope
    period: Period | None
    ask: Ask


class Wanted(NamedTuple):
    """What a request would use at most. None: no bound is known. `tokens` is an estimate."""

    charge: int | None
    cost: int | None
    budget_tokens: int | None
    tokens: int

    def of(self, purse: Purse) -> int | None:
        if purse.unit == "charge":
            return self.charge
        return self.cost if purse.unit == "cost" else self.budget_tokens


NOTHING = Wanted(0, 0, 0, 0)


def wanted(exposures: Iterable[Exposure], *, answers: int, limit: int | None) -> Wanted:
    """What the dearest of these targets may use when each answer is held to `limit`."""
    found = list(exposures)
    assumed = ASSUMED_OUTPUT * answers
    tokens = 0
    for exposure in found:
        output = exposure.bound.output
        if limit is None and (output is None or output > assumed):
            output = assumed
        tokens = max(tokens, exposure.bound.input + (output or 0))
    return Wanted(most(found, "charge"), most(found, "cost"), most(found, "tokens"), tokens)


class Plans:
    """The plans of one snapshot, made when they are first needed."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._plans: dict[tuple[Asking, str], Plan] = {}
        self._targets: dict[tuple[str, int], tuple[Limit, ...]] = {}

    def _renew(self, snapshot: Snapshot) -> None:
        if snapshot is not self._snapshot or len(self._plans) > REMEMBERED_PLANS:
            self._snapshot, self._plans, self._targets = snapshot, {}, {}

    def of_caller(self, exchange: Exchange) -> Plan:
        """What the request meets whichever target answers."""
        caller, alias, snapshot = exchange.caller, exchange.alias, exchange.snapshot
        assert caller is not None and alias is not None
        self._renew(snapshot)
        tenant = caller.tenant
        asking = Asking(tenant.name, exchange.project, caller.key, alias.name)
        plan = self._plans.get((asking, caller.tier))
        if plan is None:
            policy = tenant.policies.get(caller.key)
            plan = self._plans[asking, caller.tier] = caller_plan(
                asking,
                timezone=tenant.timezone,
                gateway=snapshot.routing.terms,
                tenant=tenant.terms,
                project=tenant.projects.get(exchange.project),
                key=policy.terms if policy else None,
                tier=snapshot.tiers.get(caller.tier) if caller.tier != tenant.tier else None,
            )
        return plan

    def of_target(self, exchange: Exchange, target: Target) -> tuple[Limit, ...]:
        """What an attempt meets at one target."""
        assert exchange.caller is not None
        self._renew(exchange.snapshot)
        tenant, model = exchange.caller.tenant, target.model
        known = self._targets.get((tenant.name, id(model)))
        if known is None:
            known = self._targets[tenant.name, id(model)] = target_limits(
                tenant.name,
                provider=_scope_of(model.provider.tenant, "provider", model.provider.name),
                provider_limits=model.provider.limits,
                model=_scope_of(model.tenant, "model", model.name),
                model_limits=model.limits,
                gateway=exchange.snapshot.routing.terms,
                own=tenant.terms,
            )
        return known


def _scope_of(owner: str, column: str, name: str) -> Scope:
    return Scope(owner).narrowed(column, name)


def _resolved(scope: Scope, exchange: Exchange) -> Scope:
    if not scope.per_user:
        return scope
    assert exchange.caller is not None
    return scope.of_user(exchange.caller.tenant.name, exchange.user)


def limit_claims(limits: Iterable[Limit], exchange: Exchange, tokens: int) -> Iterator[Claim]:
    """One for each limit; a request that is free takes no tokens."""
    assert exchange.caller is not None
    tenant, user = exchange.caller.tenant.name, exchange.user
    for limit in limits:
        if limit.unit == "tokens" and exchange.endpoint.kind == "count":
            continue
        ask = limit.ask(tenant, user, tokens)
        yield Claim(limit, _resolved(limit.scope, exchange), None, ask)


def purse_claims(
    plan: Plan, exchange: Exchange, calendar: Calendar, want: Wanted
) -> Iterator[Claim]:
    """One for each budget that counts this request. Soft ones hold nothing where no bound is
    known."""
    if exchange.endpoint.kind == "count":
        return
    for purse in plan.purses:
        label = purse.label if plan.has_labels else None
        if label is not None and exchange.labels.get(label[0]) != label[1]:
            continue
        scope = _resolved(purse.scope, exchange)
        period = calendar.period(purse.period, purse.timezone, exchange.started_at)
        take = want.of(purse)
        if take is None:
            take = purse.most + 1 if purse.is_hard else 0
        yield Claim(purse, scope, period, purse.ask(scope, period, take))


def strictest(claims: Iterable[Claim]) -> list[Claim]:
    """One claim for each counter: where two rules count in the same, the narrower one."""
    found: dict[str, Claim] = {}
    for claim in claims:
        held = found.get(claim.ask.key)
        if held is None or _is_narrower(claim.ask, held.ask):
            found[claim.ask.key] = claim
    return list(found.values())


def _is_narrower(one: Ask, other: Ask) -> bool:
    if other.most < 0 or one.most < 0:
        return other.most < 0 <= one.most
    return (one.most, one.amount) < (other.most, other.amount)
