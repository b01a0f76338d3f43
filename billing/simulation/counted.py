"""Limits and budgets, replayed on the clock of the records.

The counters are the in-process engine; nothing in it waits, so its calls are run to their end
on the spot.
"""

import heapq
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db.models import Sum

from billing.budgets import Calendar, Period, Purse
from billing.claims import Claim, Outline, limit_claims, purse_claims
from billing.counters.asks import BUCKET, PURSE, Admitted, Hold, Refused
from billing.counters.memory import MemoryCounters
from billing.limits import WINDOWS, Limit
from billing.models import BudgetAdjustment
from billing.plans import NO_TERMS, Asking, Owned, Plan, caller_plan, owners, target_limits
from billing.rebuild import settled_in, used_by_users
from billing.scopes import Scope
from billing.simulation.past import REMEMBERED, Caller, Past
from routing.configured import Configured
from routing.snapshots import AliasSnapshot, ModelSnapshot

T = TypeVar("T")
_EVERYBODY = 10**9


def _at_once(call: Coroutine[Any, Any, T]) -> T:
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the in-process counters never wait")


class Used:
    """What a request used of everything: also the most that it is held to have been able to."""

    def __init__(self, tokens: int, cost: int, charge: int) -> None:
        self.tokens = tokens
        self._amounts = {"tokens": tokens, "cost": cost, "charge": charge}

    def most(self, unit: str) -> int | None:
        return self._amounts[unit]


class _Ending(NamedTuple):
    """A request that runs still; it gives its slots back at a moment in milliseconds."""

    at: int
    number: int
    hold: Hold
    used: list[int]


class Counted:
    """The limits and budgets of a draft from a moment on. With `shared` those count too that
    several tenants share; without, only the records of one are replayed."""

    def __init__(self, configured: Configured, since: datetime, *, shared: bool) -> None:
        self._configured = configured
        self._since = int(since.timestamp())
        self._shared = shared
        self._now = self._since * 1000 - 2 * max(WINDOWS.values())
        self._counters = MemoryCounters(
            lambda: self._now, lambda: self._now / 1000, tidy_ms=WINDOWS["day"]
        )
        self._calendar = Calendar()
        self._plans: dict[tuple[str, ...], tuple[tuple[Owned, ...], Plan]] = {}
        self._targets: dict[tuple[int, int], list[Limit]] = {}
        self._outlines: dict[tuple[object, ...], Outline] = {}
        self._running: list[_Ending] = []
        self._number = 0
        self._before: dict[tuple[Purse, str], Mapping[tuple[str, str], int]] = {}
        totals = BudgetAdjustment.objects.order_by().values_list("counter")
        self._adjusted = dict(totals.annotate(total=Sum("amount")))

    def turn_to(self, moment: float) -> None:
        """What has ended by then gives back what it held."""
        self._now = max(self._now, int(moment * 1000))
        while self._running and self._running[0].at <= self._now:
            ended = heapq.heappop(self._running)
            self._settle(ended.hold, ended.used)

    def admit(
        self, past: Past, caller: Caller, alias: AliasSnapshot, model: ModelSnapshot, used: Used
    ) -> Claim | None:
        """Takes what the request used; returns the claim that refuses it, and then took nothing."""
        outline = self._outline(past, caller, alias, model)
        claims = outline.claims(used, is_free=past.is_free)
        if not claims:
            return None
        hold = Hold(str(past.record_id), [claim.ask for claim in claims])
        while not isinstance(answer := _at_once(self._counters.admit(hold)), Admitted):
            if isinstance(answer, Refused):
                return _worst(claims, answer)
            self._warm([claims[place] for place in answer.places])
        final = [
            used.tokens if ask.kind == BUCKET and c.rule.unit == "tokens" else ask.take
            for c, ask in ((c, c.ask) for c in claims)
        ]
        if any(isinstance(c.rule, Limit) and not c.rule.window for c in claims):
            ends = self._now + past.latency_us // 1000
            self._number += 1
            heapq.heappush(self._running, _Ending(ends, self._number, hold, final))
        else:
            self._settle(hold, final)
        return None

    def _settle(self, hold: Hold, used: list[int]) -> None:
        _at_once(self._counters.settle(hold, used))
        _at_once(self._counters.committed([hold.record_id], ()))

    def budget_used(self, past: Past, caller: Caller, alias: AliasSnapshot) -> float | None:
        """The share of the tightest budget that the request meets; None where it meets none."""
        claims = self._purse_claims(past, self._plan(past, caller, alias)[1])
        states = _at_once(self._counters.read([claim.ask for claim in claims]))
        cold = [claim for claim, state in zip(claims, states, strict=True) if state is None]
        if cold:
            self._warm(cold)
            states = _at_once(self._counters.read([claim.ask for claim in claims]))
        shares = [
            state.used / claim.rule.least if claim.rule.least else 1.0
            for claim, state in zip(claims, states, strict=True)
            if state is not None and isinstance(claim.rule, Purse)
        ]
        return max(shares, default=None)

    # ---- what a request meets

    def _plan(
        self, past: Past, caller: Caller, alias: AliasSnapshot
    ) -> tuple[tuple[Owned, ...], Plan]:
        tenant = caller.tenant
        name = (tenant.name, past.project, caller.key, caller.tier, alias.name)
        found = self._plans.get(name)
        if found is None:
            if len(self._plans) >= REMEMBERED:
                for remembered in (self._plans, self._targets, self._outlines):
                    remembered.clear()  # the last two are by the identity of what is in the first
            owned = self._owners(past, caller)
            plan = caller_plan(owned, alias=alias.name, timezone=tenant.timezone)
            found = self._plans[name] = owned, plan
        return found

    def _owners(self, past: Past, caller: Caller) -> tuple[Owned, ...]:
        tenant, tiers = caller.tenant, self._configured.tiers
        policy = tenant.policies.get(caller.key)
        return owners(
            Asking(tenant.name, past.project, caller.key, caller.tier),
            gateway=self._configured.routing.terms if self._shared else NO_TERMS,
            tenant=tenant.terms,
            project=tenant.projects.get(past.project),
            key=policy.terms if policy else None,
            tier=tiers.get(caller.tier) if caller.tier != tenant.tier else None,
        )

    def _outline(
        self, past: Past, caller: Caller, alias: AliasSnapshot, model: ModelSnapshot
    ) -> Outline:
        owned, plan = self._plan(past, caller, alias)
        name = (id(plan), past.user, id(model), _counted_labels(past, plan))
        known = self._outlines.get(name)
        if known is None or not known.holds_at(past.started_at.timestamp()):
            if len(self._outlines) >= REMEMBERED:
                self._outlines.clear()
            at_target = self._target_limits(owned, model)
            known = self._outlines[name] = Outline(
                [
                    *limit_claims((*plan.limits, *at_target), past.tenant, past.user),
                    *self._purse_claims(past, plan),
                ]
            )
        return known

    def _target_limits(self, owned: tuple[Owned, ...], model: ModelSnapshot) -> list[Limit]:
        known = self._targets.get((id(owned), id(model)))
        if known is not None:
            return known
        provider = model.provider
        found = target_limits(
            owned,
            provider=Scope(provider.tenant).narrowed("provider", provider.name),
            provider_limits=provider.limits,
            model=Scope(model.tenant).narrowed("model", model.name),
            model_limits=model.limits,
        )
        kept = [limit for limit in found if self._shared or limit.scope.owner]
        self._targets[id(owned), id(model)] = kept
        return kept

    def _purse_claims(self, past: Past, plan: Plan) -> list[Claim]:
        return list(
            purse_claims(
                plan,
                self._calendar,
                tenant=past.tenant,
                user=past.user,
                labels=past.labels,
                moment=past.started_at.timestamp(),
            )
        )

    # ---- what was used before

    def _warm(self, claims: list[Claim]) -> None:
        for claim in claims:
            _at_once(self._counters.warm(claim.ask, self._total(claim), ()))

    def _total(self, claim: Claim) -> int:
        """What a counter holds that the replay meets for the first time."""
        rule, period = claim.rule, claim.period
        if not isinstance(rule, Purse) or period is None:
            return 0
        adjusted = int(self._adjusted.get(claim.ask.key, 0))
        if period.start >= self._since:
            return adjusted
        before = Period(period.name, period.start, self._since)
        if not rule.scope.per_user:
            return settled_in(rule, claim.scope, before, key=claim.ask.key, apart_from=())
        name = (rule, period.name)
        if name not in self._before:
            self._before[name] = used_by_users(rule, before, most=_EVERYBODY)
        where = dict(claim.scope.where)
        tenant = claim.scope.owner or where["tenant"]
        return adjusted + self._before[name].get((tenant, where["user"]), 0)


def _counted_labels(past: Past, plan: Plan) -> tuple[tuple[str, str], ...]:
    """Those that some budget of the plan counts by."""
    if not plan.has_labels:
        return ()
    found = {purse.label for purse in plan.purses if purse.label is not None}
    return tuple(sorted(one for one in found if past.labels.get(one[0]) == one[1]))


def _worst(claims: list[Claim], refused: Refused) -> Claim:
    """Budgets before limits, and the caller's own limits before those of the target, as admission
    tells them apart; of several the tightest."""
    purses = [one for one in refused.short if claims[one.place].ask.kind == PURSE]
    own = [one for one in refused.short if not claims[one.place].is_targets]
    if purses:
        return claims[min(purses, key=lambda one: one.room).place]
    return claims[max(own or refused.short, key=lambda one: one.wait).place]
