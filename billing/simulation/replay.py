"""One record after another under a draft: the same choice, prices, limits and budgets as at work,
in a world in which every upstream is well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from billing.budgets import Purse
from billing.claims import Claim
from billing.pricing import Rate, charged_tokens
from billing.simulation.counted import Counted, Used
from billing.simulation.decided import as_then, facts_of
from billing.simulation.draft import Draft
from billing.simulation.past import Caller, Callers, Draws, Past
from billing.snapshots import COST_BOOK, PricedModel
from routing.choose import Choice, State, Target, choose
from routing.snapshots import AliasSnapshot, ModelSnapshot
from routing.strategies import Means

_TAKEN_OVER = ("cached", "blocked")
"""Outcomes that no provider was asked for: they cost what they did."""


class Refusal(NamedTuple):
    """Why a request would have been refused: the code that its caller would have read, and the
    limit or budget in words."""

    code: str
    rule: str = ""


@dataclass(slots=True)
class Outcome:
    """What would have become of a request. Amounts are in nano-units, None where no price is known;
    one that is refused has none."""

    refusal: Refusal | None = None
    model: str = ""
    cost: int | None = None
    cost_currency: str = ""
    charge: int | None = None
    charge_currency: str = ""

    @property
    def is_priced(self) -> bool:
        return self.cost is not None and self.charge is not None


class Replay:
    """Records must come in the order in which they started, from `since` on. With `tenant` only
    its records come."""

    def __init__(self, draft: Draft, since: datetime, *, tenant: str | None = None) -> None:
        self._draft = draft
        self._callers = Callers(draft.configured)
        self._counted = Counted(draft.configured, since, shared=tenant is None)
        self._draws = Draws()
        self._means = Means(draw=self._draws)
        self._priced: dict[int, PricedModel] = {}

    def replay(self, past: Past) -> Outcome:
        moment = past.started_at.timestamp()
        self._counted.turn_to(moment)
        self._draws.begin(past.record_id)
        caller = self._callers.of(past)
        if caller is None:
            return _refused("invalid_api_key")
        if caller.tenant.suspended:
            return _refused("tenant_suspended")
        alias = caller.aliases.get(past.alias)
        if alias is None:
            return _refused(self._why_not(past))
        if (alias.kind == "embeddings") != (past.endpoint == "embeddings"):
            return _refused("invalid_request", f"the alias is of {alias.kind} now")
        choice = self._choose(past, caller, alias, moment)
        if not choice.targets:
            return _refused(*_nobody(choice))
        return self._admit(past, caller, alias, as_then(past, choice))

    def _why_not(self, past: Past) -> str:
        aliases = self._draft.configured.routing.aliases
        known = ("", past.alias) in aliases or (past.tenant, past.alias) in aliases
        return "alias_not_allowed" if known else "alias_not_found"

    # ---- which target

    def _choose(self, past: Past, caller: Caller, alias: AliasSnapshot, moment: float) -> Choice:
        def cost(model: ModelSnapshot) -> int | None:
            return self._priced_at(past, caller, model).cost

        def dearest(model: ModelSnapshot) -> int | None:
            outcome = self._priced_at(past, caller, model)
            return outcome.charge if alias.tenant else outcome.cost

        self._means.price = cost
        facts = facts_of(
            past,
            caller,
            self._draft.routes,
            lambda: self._counted.budget_used(past, caller, alias),
        )
        return choose(alias, facts, State(now=moment, means=self._means, worst=dearest))

    # ---- what it costs

    def _priced_at(self, past: Past, caller: Caller, model: ModelSnapshot) -> Outcome:
        priced = self._priced.get(id(model))
        if priced is None:
            priced = PricedModel(model.name, model.provider.dialect, model.upstream)
            self._priced[id(model)] = priced
        billing, moment = self._draft.configured.billing, past.started_at.timestamp()
        cost = billing.rate(COST_BOOK, priced, moment)
        charge = billing.rate(caller.tenant.price_book, priced, moment)
        return Outcome(
            model=model.name,
            cost=None if cost is None else _cost(past, cost),
            cost_currency="" if cost is None else cost.currency,
            charge=None if charge is None else _charge(past, caller, charge),
            charge_currency="" if charge is None else charge.currency,
        )

    # ---- whether limits and budgets let it go on

    def _admit(
        self, past: Past, caller: Caller, alias: AliasSnapshot, targets: Sequence[Target]
    ) -> Outcome:
        """The first target that has a price, and for which limits and budgets have room."""
        refusal: Claim | None = None
        goes_on = "rate_limit" in alias.fallback_on
        for target in targets:
            if refusal is not None and target.is_fallback and not goes_on:
                continue
            found = self._priced_at(past, caller, target.model)
            if not found.is_priced and not caller.tenant.quarantines_unpriced:
                continue
            used = Used(past.tokens, found.cost or 0, found.charge or 0)
            claim = self._counted.admit(past, caller, alias, target.model, used)
            if claim is None:
                return found
            refusal = refusal or claim
            if not claim.is_targets:
                return _refused(*_named(claim))
        return _refused("price_unknown") if refusal is None else _refused(*_named(refusal))


def _refused(code: str, rule: str = "") -> Outcome:
    return Outcome(Refusal(code, rule))


def _nobody(choice: Choice) -> tuple[str, str]:
    if choice.route is None:
        return "no_target_available", "no route holds"
    if choice.is_too_dear:
        return "invalid_request", "max_cost_per_request"
    return "no_target_available", "no target is usable"


def _named(claim: Claim) -> tuple[str, str]:
    """Not by its user: a table of a million users tells nobody anything."""
    rule = claim.rule
    whose = f"each user of {rule.scope._replace(per_user=False).said}"
    said = whose if rule.scope.per_user else rule.scope.said
    if isinstance(rule, Purse):
        most = f"{rule.written(rule.most)} {'' if rule.unit == 'tokens' else f'({rule.unit}) '}"
        return "insufficient_quota", f"{most}{rule.per} of {said}"
    return "rate_limit_exceeded", rule.said(rule.scope) if not rule.scope.per_user else (
        f"{rule.amount} {rule.name.replace('_', ' ')} of {said}"
    )


def _cost(past: Past, rate: Rate) -> int:
    if past.outcome in _TAKEN_OVER:
        return past.cost or 0
    if past.outcome == "failed" or past.is_free:
        return 0
    return rate.amount(past.used) + (past.lost_cost if rate.currency == past.cost_currency else 0)


def _charge(past: Past, caller: Caller, rate: Rate) -> int:
    if past.outcome in _TAKEN_OVER:
        return past.charge or 0
    if past.is_free:
        return 0
    policy = past.charge_policy
    if past.outcome == "interrupted" and past.ended_by == "caller":
        policy = caller.tenant.on_disconnect
    if policy == "reserved" and past.charge_policy == "reserved" and past.charge is not None:
        return past.charge
    tokens = charged_tokens(past.used, policy, lambda: past.used)
    if tokens is None:
        return 0
    lost = past.lost_charge if rate.currency == past.charge_currency else 0
    amount = rate.amount(tokens) + lost
    if past.absorbed and past.charge is not None:
        # Held to what was reserved: the same share of what it would be now.
        return amount * past.charge // (past.charge + past.absorbed)
    return amount
