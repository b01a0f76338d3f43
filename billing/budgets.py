"""Budgets as configured, their calendar, and the purses they count in. Pure.

The period is part of a purse's key, so there is nothing to reset.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from billing.counters.asks import NO_LIMIT, PURSE, Ask
from billing.scopes import Scope, read_scope
from gateway_project.units import from_nano, parse_percent, to_nano


class Period(NamedTuple):
    """A calendar period: its name in keys, its first second and the one after its last (seconds
    since the epoch; 0 where it never begins or ends)."""

    name: str
    start: int
    end: int


_WHOLE_TIME = Period("total", 0, 0)


def period_at(kind: str, timezone: str, moment: float) -> Period:
    """The hour, day, week (from Monday), month or whole time that a moment lies in."""
    if kind == "total":
        return _WHOLE_TIME
    second = int(moment)  # or what lies just before a boundary is rounded across it
    local = datetime.datetime.fromtimestamp(second, ZoneInfo(timezone))
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if kind in ("hour", "day"):
        after = first + datetime.timedelta(days=1)
    elif kind == "week":
        first -= datetime.timedelta(days=first.weekday())
        after = first + datetime.timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + datetime.timedelta(days=32)).replace(day=1)
    start, end = int(first.timestamp()), int(after.timestamp())
    if kind == "hour":
        # Not by the clock on the wall: when it is set back, two hours bear one name. Counted from
        # midnight: where it is set by half an hour, the day's last one is that much shorter.
        start += (second - start) // 3600 * 3600
        return Period(f"hour-{start}", start, min(start + 3600, end))
    return Period(f"{kind}-{first.date()}", start, end)


class Calendar:
    """The periods of now, worked out once each."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, str], Period] = {}

    def period(self, kind: str, timezone: str, moment: float) -> Period:
        known = self._current.get((kind, timezone))
        if known is None or not (known.start <= moment < known.end or known.end == 0):
            known = period_at(kind, timezone, moment)
            self._current[kind, timezone] = known
        return known


@dataclass(frozen=True, slots=True)
class Budget:
    """`amount` is in nano-units or tokens; `alert_at` are amounts too, lowest first, with the share
    that each stands for."""

    amount: int
    hard: bool
    alert_at: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Purse:
    """What budgets of one scope, unit and period count in together. `most` is the least of the hard
    ones, NO_LIMIT where there is none."""

    scope: Scope
    unit: str
    """`charge` (what a tenant pays), `cost` (what providers bill us) or `tokens`."""
    period: str
    timezone: str
    budgets: tuple[Budget, ...]
    most: int
    least: int
    """The smallest of all its budgets."""

    @property
    def is_hard(self) -> bool:
        return self.most != NO_LIMIT

    @property
    def label(self) -> tuple[str, str] | None:
        """The label that a request must bear to count here."""
        for column, value in self.scope.where:
            if column.startswith("label:"):
                return column.removeprefix("label:"), value
        return None

    @property
    def alias(self) -> str | None:
        """The alias that a request must be for to count here."""
        return dict(self.scope.where).get("alias")

    def key(self, scope: Scope, period: Period) -> str:
        return f"{scope.key}|{self.unit}|{self.timezone}|{period.name}"

    def ask(self, scope: Scope, period: Period, take: int) -> Ask:
        return Ask(PURSE, self.key(scope, period), take, self.most, until=period.end)

    @property
    def per(self) -> str:
        """Its period in words."""
        return "in all" if self.period == "total" else f"per {self.period}"

    def written(self, amount: int) -> str:
        """An amount of its unit, for people."""
        return f"{amount} tokens" if self.unit == "tokens" else from_nano(amount)


def read_purses(
    owner: Scope, configured: Iterable[Mapping[str, Any]], *, timezone: str
) -> Sequence[Purse]:
    """The purses of an owner's budgets. `timezone` is the tenant's, which budgets take by default.
    The gateway's own money budgets count cost, all others charge."""
    found: dict[tuple[Scope, str, str, str], list[Budget]] = {}
    for entry in configured:
        scope = read_scope(owner.owner, entry.get("scope"))
        scope = Scope(
            owner.owner, owner.where + scope.where, owner.per_user or scope.per_user, owner.tier
        )
        unit = "tokens" if "tokens" in entry else "charge" if owner.owner else "cost"
        key = (scope, unit, entry["period"], entry.get("timezone") or timezone)
        found.setdefault(key, []).append(_budget(entry))
    return [
        Purse(
            *key,
            budgets=tuple(budgets),
            most=min((b.amount for b in budgets if b.hard), default=NO_LIMIT),
            least=min(b.amount for b in budgets),
        )
        for key, budgets in found.items()
    ]


def _budget(entry: Mapping[str, Any]) -> Budget:
    amount = entry["tokens"] if "tokens" in entry else to_nano(str(entry["amount"]))
    shares = sorted((parse_percent(share), share) for share in entry.get("alert_at", []))
    return Budget(
        amount=amount,
        hard=entry.get("hard", True),
        alert_at=tuple((int(Decimal(amount) * share), text) for share, text in shares),
    )
