"""The state of limits and budgets, for people: which rows an owner has, and their figures. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from billing.budgets import Budget, Period, Purse, read_purses
from billing.counters.asks import Ask
from billing.limits import Limit, read_limits
from billing.plans import Terms
from billing.scopes import Scope

Rule = Limit | Purse
User = tuple[str, str]
"""A tenant, and the name of its user; empty for requests without one."""

GROUPS = {
    "": "All requests",
    "project": "Projects",
    "key": "Keys",
    "alias": "Aliases",
    "label": "Labels",
    "model": "Models",
    "provider": "Providers",
    "user": "Users",
}
"""The headings, in their order, by the column that a scope begins with."""


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom the configuration gives limits and budgets. `note` tells rows apart that count the
    same: `tier gold`; `keys` are the ids of those whose users such a tier holds for."""

    scope: Scope
    terms: Terms
    timezone: str
    note: str = ""
    keys: frozenset[str] | None = None


def rules_of(owner: Owner) -> Iterator[Rule]:
    """Every limit and purse of an owner, of all its aliases and models."""
    scope, limits = owner.scope, owner.terms.limits
    yield from _limits(scope, limits)
    yield from _limits(scope._replace(per_user=True), limits.get("per_user", {}))
    for alias, own in sorted(limits.get("per_alias", {}).items()):
        yield from _limits(scope.narrowed("alias", alias), own)
    if not scope.where and not scope.per_user:  # nobody else's are asked
        for model, own in sorted(limits.get("per_model", {}).items()):
            yield from _limits(scope.narrowed("model", model), own)
    yield from read_purses(scope, owner.terms.budgets, timezone=owner.timezone)


def _limits(scope: Scope, configured: Mapping[str, Any]) -> list[Limit]:
    """In the same order whatever the database made of it: concurrency, requests, tokens."""
    return sorted(read_limits(scope, configured), key=lambda limit: (limit.unit, limit.window))


@dataclass(frozen=True, slots=True)
class Row:
    """One limit, or one budget of a purse, with its user filled in. `period` is a purse's."""

    rule: Rule
    budget: Budget | None
    scope: Scope
    period: Period | None
    ask: Ask
    note: str = ""

    @property
    def group(self) -> str:
        """A key of GROUPS."""
        if self.rule.scope.per_user:
            return "user"
        return self.scope.where[0][0].partition(":")[0] if self.scope.where else ""

    @property
    def amount(self) -> int:
        """What there is in all: of a bucket, what it holds."""
        if self.budget is not None:
            return self.budget.amount
        assert isinstance(self.rule, Limit)
        return self.rule.most


def rows_of(owner: Owner, rule: Rule, users: Iterable[User], period: Period) -> Iterator[Row]:
    """A rule's rows in a period: one for each of its budgets, and, where each user has one, for
    each of `users`."""
    everybody: Iterable[User] = users if rule.scope.per_user else [("", "")]
    for tenant, user in everybody:
        scope = rule.scope.of_user(tenant, user) if rule.scope.per_user else rule.scope
        if isinstance(rule, Limit):
            yield Row(rule, None, scope, None, rule.ask(scope), owner.note)
            continue
        for budget in rule.budgets:
            yield Row(rule, budget, scope, period, rule.ask(scope, period, 0), owner.note)


def asked(rows: Sequence[Row]) -> list[Row]:
    """The rows that are ever asked: of two limits that count in one counter, the narrower."""
    narrowest: dict[str, Row] = {}
    for row in rows:
        held = narrowest.get(row.ask.key)
        if held is None or (row.ask.most, row.ask.amount) < (held.ask.most, held.ask.amount):
            narrowest[row.ask.key] = row
    return [row for row in rows if row.budget is not None or narrowest[row.ask.key] is row]


class Figures(NamedTuple):
    """In nano-units, tokens, requests or slots."""

    used: int
    reserved: int
    amount: int
    from_records: bool
    """The counter is cold: nobody has asked it yet, and what is reserved is not known."""

    @property
    def remaining(self) -> int:
        """Below 0 when a soft budget, or an adjustment, went beyond the amount."""
        return self.amount - self.used - self.reserved

    def percent(self, part: int) -> int:
        """A part of the amount, rounded down, between 0 and 100."""
        if self.amount <= 0:
            return 100
        return max(0, min(100, 100 * part // self.amount))

    @property
    def percent_taken(self) -> int:
        """Used and reserved; above 100 where it is more than the amount."""
        if self.amount <= 0:
            return 100
        return max(0, 100 * (self.used + self.reserved) // self.amount)


def full_again_in(limit: Limit, used: int) -> int:
    """Milliseconds until a bucket that nobody asks is full; 0 when it is."""
    return -(-max(0, used) * limit.window // limit.amount)
