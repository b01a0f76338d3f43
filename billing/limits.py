"""Limits as configured, ready to ask the counters. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from billing.counters.asks import BUCKET, SLOTS, Ask
from billing.scopes import Scope

WINDOWS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""In milliseconds."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of one scope: `amount` of a unit per window, at most `most` at a time."""

    scope: Scope
    unit: str
    """`requests`, `tokens` or `concurrency`."""
    amount: int
    most: int
    window: int
    """Milliseconds; 0 for concurrency."""
    key: str
    """Of the scope as it is written; one user's own begins with that user's scope."""

    @property
    def name(self) -> str:
        """As the configuration spells it."""
        if self.unit == "concurrency":
            return "concurrency"
        per = next(name for name, window in WINDOWS.items() if window == self.window)
        return f"{self.unit}_per_{per}"

    def ask(self, scope: Scope) -> Ask:
        """For one request, or one token. `scope` is the limit's own, or one user's of it."""
        key = _key(scope, self.unit, self.window) if self.scope.per_user else self.key
        if self.unit == "concurrency":
            return Ask(SLOTS, key, 1, self.most)
        return Ask(BUCKET, key, 1, self.most, self.amount, self.window)

    def said(self, scope: Scope) -> str:
        """As an error names it."""
        if self.unit == "concurrency":
            return f"{self.amount} concurrent requests of {scope.said}"
        burst = "" if self.most == self.amount else f" (at most {self.most} at once)"
        return f"{self.amount} {self.name.replace('_', ' ')}{burst} of {scope.said}"


def _key(scope: Scope, unit: str, window: int) -> str:
    return f"{scope.key}|{unit}|{window}"


def read_limits(scope: Scope, configured: Mapping[str, Any]) -> Iterator[Limit]:
    """The limits of one scope, without those of `per_user`, `per_alias` and `per_model`."""
    for name, value in configured.items():
        if name == "concurrency":
            yield Limit(scope, name, value, value, 0, _key(scope, name, 0))
            continue
        unit, _, per = name.partition("_per_")
        if unit not in ("requests", "tokens"):
            continue
        amount = value["amount"] if isinstance(value, dict) else value
        burst = value.get("burst") if isinstance(value, dict) else None
        window = WINDOWS[per]
        yield Limit(scope, unit, amount, burst or amount, window, _key(scope, unit, window))


def read_caller_limits(scope: Scope, configured: Mapping[str, Any], alias: str) -> Iterator[Limit]:
    """The limits that a request for an alias meets in one scope: its own, each user's, the
    alias's."""
    yield from read_limits(scope, configured)
    yield from read_limits(scope._replace(per_user=True), configured.get("per_user", {}))
    per_alias = configured.get("per_alias", {}).get(alias)
    if per_alias:
        yield from read_limits(scope.narrowed("alias", alias), per_alias)
