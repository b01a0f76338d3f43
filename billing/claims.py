"""Claims: one for each counter that a request touches, and what it takes there. Pure; the hot path
and a simulation make them alike."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from billing.budgets import Calendar, Period, Purse
from billing.counters.asks import NO_LIMIT, Ask
from billing.limits import Limit
from billing.plans import Plan
from billing.scopes import Scope


class Claim(NamedTuple):
    """A limit or budget that a request meets, the scope with its user filled in, and what it takes
    there. `period` is a purse's."""

    rule: Limit | Purse
    scope: Scope
    period: Period | None
    ask: Ask

    @property
    def is_targets(self) -> bool:
        """Of the target alone: another target may have room."""
        return any(column in ("provider", "model") for column, _ in self.rule.scope.where)


class Want(Protocol):
    """What a request takes of limits of tokens, and of budgets."""

    tokens: int

    def most(self, unit: str) -> int | None:
        """In `charge` or `cost` (nano-units), or `tokens`; None: no bound is known."""


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

    def claims(self, want: Want, *, is_free: bool) -> list[Claim]:
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


def limit_claims(limits: Iterable[Limit], tenant: str, user: str) -> Iterator[Claim]:
    """One for each limit, of one token."""
    for limit in limits:
        scope = limit.scope.of_user(tenant, user) if limit.scope.per_user else limit.scope
        yield Claim(limit, scope, None, limit.ask(scope))


def purse_claims(
    plan: Plan,
    calendar: Calendar,
    *,
    tenant: str,
    user: str,
    labels: Mapping[str, str],
    moment: float,
) -> Iterator[Claim]:
    """One for each budget that counts such a request, of nothing. `moment`: when it began, in
    seconds since the epoch."""
    for purse in plan.purses:
        label = purse.label
        if label is not None and labels.get(label[0]) != label[1]:
            continue
        scope = purse.scope.of_user(tenant, user) if purse.scope.per_user else purse.scope
        period = calendar.period(purse.period, purse.timezone, moment)
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
