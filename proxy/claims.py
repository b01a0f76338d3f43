"""What one request asks of limits and budgets: one claim for each counter that it touches."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from billing.budgets import Calendar, Period, Purse
from billing.counters.asks import NO_LIMIT, Ask
from billing.limits import Limit
from billing.plans import Asking, Owned, Plan, caller_plan, owners, target_limits
from billing.pricing import most_of
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

    @property
    def is_providers(self) -> bool:
        return any(column == "provider" for column, _ in self.rule.scope.where)

    @property
    def is_targets(self) -> bool:
        """Of the target alone: another target may have room."""
        return any(column in ("provider", "model") for column, _ in self.rule.scope.where)


class Wanted:
    """What a request would use at most at the dearest of some targets; worked out as it is asked
    for. None: no bound is known. `tokens` is an estimate, for limits."""

    __slots__ = ("_exposures", "_known", "_loser", "tokens")

    def __init__(
        self,
        exposures: Sequence[Exposure],
        *,
        answers: int,
        asked: int | None,
        loser: Fraction | None = None,
    ) -> None:
        """`asked` is what the caller allows each answer; `loser` the share of its price that the
        tenant pays for a second target, where there may be one."""
        self._exposures = exposures
        self._loser = loser
        self._known: dict[str, int | None] = {}
        assumed = ASSUMED_OUTPUT * answers
        self.tokens = 0
        for exposure in exposures:
            output = exposure.bound.output
            if asked is None and (output is None or output > assumed):
                output = assumed
            self.tokens = max(self.tokens, exposure.bound.input + (output or 0))

    def most(self, unit: str) -> int | None:
        """In `charge` or `cost` (nano-units), or `tokens`."""
        if unit not in self._known:
            found = most(self._exposures, unit)
            if found and self._loser is not None:
                found += self._beside(unit, found)
            self._known[unit] = found
        return self._known[unit]

    def _beside(self, unit: str, found: int) -> int:
        """What a second target comes to on top. Tokens are those of the answer alone."""
        assert self._loser is not None
        if unit == "tokens":
            return 0
        return found if unit == "cost" else most_of(found, self._loser)


class Outline:
    """The claims of requests alike, but for what each takes: made once, as long as the periods of
    its budgets last. Where two rules count in the same counter, the narrower one stands."""

    __slots__ = ("_fixed", "_purses", "_tokens", "since", "smallest", "until")

    def __init__(self, claims: Iterable[Claim]) -> None:
        found = strictest(claims)
        self._fixed: list[Claim] = []
        self._tokens: list[Claim] = []
        self._purses: list[Claim] = []
        self.smallest: Claim | None = None
        """Of the buckets of tokens, the one that holds least."""
        self.since = self.until = 0
        """When the last of the periods began and the first ends, in seconds since the epoch; 0 for
        never."""
        for claim in found:
            if isinstance(claim.rule, Purse):
                self._purses.append(claim)
                ends = claim.ask.until
                if ends and (not self.until or ends < self.until):
                    self.until = ends
                if claim.period is not None:
                    self.since = max(self.since, claim.period.start)
            elif claim.rule.unit == "tokens":
                self._tokens.append(claim)
                if self.smallest is None or claim.ask.most < self.smallest.ask.most:
                    self.smallest = claim
            else:
                self._fixed.append(claim)

    def holds_at(self, moment: float) -> bool:
        """Also of a request that began before others that came first."""
        return self.since <= moment and (not self.until or moment < self.until)

    def claims(self, want: Wanted, *, is_free: bool) -> list[Claim]:
        """What one request takes; one that is free takes no tokens and no money."""
        made = list(self._fixed)
        if is_free:
            return made
        tokens = want.tokens
        for rule, scope, _, (kind, key, _, at_most, amount, window, until) in self._tokens:
            take = tokens if tokens < at_most else at_most  # noqa: FURB136  (a call costs more)
            made.append(
                Claim(rule, scope, None, Ask(kind, key, take, at_most, amount, window, until))
            )
        for rule, scope, period, (kind, key, _, at_most, _, _, until) in self._purses:
            needed = want.most(rule.unit)
            if needed is None:  # soft budgets hold nothing where no bound is known
                needed = at_most + 1 if at_most != NO_LIMIT else 0
            made.append(Claim(rule, scope, period, Ask(kind, key, needed, at_most, 0, 0, until)))
        return made


class Plans:
    """The plans of one snapshot, made when they are first needed."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._targets: dict[tuple[object, ...], tuple[Limit, ...]] = {}
        self._outlines: dict[tuple[object, ...], Outline] = {}
        self._calendar = Calendar()

    def _renew(self, snapshot: Snapshot) -> None:
        if snapshot is not self._snapshot:
            self._snapshot, self._plans, self._targets, self._outlines = snapshot, {}, {}, {}
        if max(len(self._plans), len(self._targets), len(self._outlines)) > REMEMBERED_PLANS:
            self._plans, self._targets, self._outlines = {}, {}, {}

    def outline(self, exchange: Exchange, plan: Plan, target: Target) -> Outline:
        """What the request meets when this target answers."""
        caller = exchange.caller
        assert caller is not None
        labels = tuple(sorted(exchange.labels.items())) if plan.has_labels else ()
        key = (id(plan), exchange.user, id(target.model), labels)
        known = self._outlines.get(key)
        if known is None or not known.holds_at(exchange.started_at):
            tenant, user = caller.tenant.name, exchange.user
            known = self._outlines[key] = Outline(
                [
                    *limit_claims(plan.limits, tenant, user),
                    *limit_claims(self.of_target(exchange, target), tenant, user),
                    *purse_claims(plan, exchange, self._calendar),
                ]
            )
        return known

    def target_outline(self, exchange: Exchange, target: Target) -> Outline:
        """What another attempt meets there."""
        caller = exchange.caller
        assert caller is not None
        tenant, user = caller.tenant.name, exchange.user
        return Outline(limit_claims(self.of_target(exchange, target), tenant, user))

    def mirror_outline(self, exchange: Exchange, plan: Plan, target: Target) -> Outline:
        """What a copy of the request meets at a candidate: its limits, and the budgets of what
        providers bill."""
        assert exchange.caller is not None
        tenant, user = exchange.caller.tenant.name, exchange.user
        purses = purse_claims(plan, exchange, self._calendar)
        return Outline(
            [
                *limit_claims(self.of_target(exchange, target), tenant, user),
                *(claim for claim in purses if claim.rule.unit == "cost"),
            ]
        )

    def of_caller(self, exchange: Exchange) -> Plan:
        """What the request meets whichever target answers."""
        caller, alias = exchange.caller, exchange.alias
        assert caller is not None and alias is not None
        self._renew(exchange.snapshot)
        name = (caller.tenant.name, exchange.project, caller.key, caller.tier, alias.name)
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = caller_plan(
                _owners(exchange), alias=alias.name, timezone=caller.tenant.timezone
            )
        return plan

    def of_target(self, exchange: Exchange, target: Target) -> tuple[Limit, ...]:
        """What an attempt meets at one target."""
        caller = exchange.caller
        assert caller is not None
        self._renew(exchange.snapshot)
        model = target.model
        name = (caller.tenant.name, exchange.project, caller.key, caller.tier, id(model))
        known = self._targets.get(name)
        if known is None:
            known = self._targets[name] = target_limits(
                _owners(exchange),
                provider=_scope_of(model.provider.tenant, "provider", model.provider.name),
                provider_limits=model.provider.limits,
                model=_scope_of(model.tenant, "model", model.name),
                model_limits=model.limits,
            )
        return known


def _owners(exchange: Exchange) -> tuple[Owned, ...]:
    caller, snapshot = exchange.caller, exchange.snapshot
    assert caller is not None
    tenant = caller.tenant
    policy = tenant.policies.get(caller.key)
    return owners(
        Asking(tenant.name, exchange.project, caller.key, caller.tier),
        gateway=snapshot.routing.terms,
        tenant=tenant.terms,
        project=tenant.projects.get(exchange.project),
        key=policy.terms if policy else None,
        tier=snapshot.tiers.get(caller.tier) if caller.tier != tenant.tier else None,
    )


def _scope_of(owner: str, column: str, name: str) -> Scope:
    return Scope(owner).narrowed(column, name)


def limit_claims(limits: Iterable[Limit], tenant: str, user: str) -> Iterator[Claim]:
    """One for each limit, of one token."""
    for limit in limits:
        scope = limit.scope.of_user(tenant, user) if limit.scope.per_user else limit.scope
        yield Claim(limit, scope, None, limit.ask(scope))


def purse_claims(plan: Plan, exchange: Exchange, calendar: Calendar) -> Iterator[Claim]:
    """One for each budget that counts this request, of nothing."""
    assert exchange.caller is not None
    tenant = exchange.caller.tenant.name
    for purse in plan.purses:
        label = purse.label
        if label is not None and exchange.labels.get(label[0]) != label[1]:
            continue
        scope = purse.scope.of_user(tenant, exchange.user) if purse.scope.per_user else purse.scope
        period = calendar.period(purse.period, purse.timezone, exchange.started_at)
        yield Claim(purse, scope, period, purse.ask(scope, period, 0))


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
