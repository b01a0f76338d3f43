"""What one request asks of limits and budgets: one claim for each counter that it touches."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from billing.budgets import Calendar
from billing.claims import Claim, Outline, limit_claims, purse_claims
from billing.limits import Limit
from billing.plans import Asking, Owned, Plan, caller_plan, owners, target_limits
from billing.pricing import most_of
from billing.scopes import Scope
from proxy.bounds import Exposure, most
from proxy.exchange import Exchange
from proxy.snapshot import Snapshot
from routing.choose import Target

ASSUMED_OUTPUT = 512
"""Tokens that a limit takes for an answer whose request names no bound; corrected by usage."""
REMEMBERED_PLANS = 10_000


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
                    *self.purse_claims(exchange, plan),
                ]
            )
        return known

    def purse_claims(self, exchange: Exchange, plan: Plan) -> Iterator[Claim]:
        """One for each budget that counts the request, of nothing."""
        caller = exchange.caller
        assert caller is not None
        return purse_claims(
            plan,
            self._calendar,
            tenant=caller.tenant.name,
            user=exchange.user,
            labels=exchange.labels,
            moment=exchange.started_at,
        )

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
        purses = self.purse_claims(exchange, plan)
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
