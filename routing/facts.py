"""What routes can ask about a request. What costs something to know is found out when a route asks
for it, and once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property


def _unknown() -> None:
    return None


def _nothing() -> frozenset[str]:
    return frozenset()


@dataclass
class Facts:
    """One request. Without a user, a `key` still tells callers apart; `moment` is in seconds since
    the epoch, `timezone` the tenant's.

    The callables give, or None where nobody can know: input tokens (estimated); what the request
    contains, of `images`, `tools`, `json_schema`, `audio`, `documents`; `simple` or `complex`; and
    the share of the caller's tightest budget that is used, 0 to 1 and beyond.
    """

    tenant: str
    tier: str = ""
    project: str = ""
    user: str = ""
    key: str = ""
    scopes: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    moment: float = 0.0
    timezone: str = "UTC"
    bytes: int = 0
    """Of the body: it holds no more tokens than that, so a large window need not be counted for."""
    count_tokens: Callable[[], int | None] = _unknown
    look_inside: Callable[[], frozenset[str]] = _nothing
    judge: Callable[[], str | None] = _unknown
    weigh_budget: Callable[[], float | None] = _unknown

    @cached_property
    def input_tokens(self) -> int | None:
        return self.count_tokens()

    @cached_property
    def has(self) -> frozenset[str]:
        return self.look_inside()

    @cached_property
    def complexity(self) -> str | None:
        return self.judge()

    @cached_property
    def budget_used(self) -> float | None:
        return self.weigh_budget()

    @property
    def found_out(self) -> dict[str, object]:
        """The costly facts that somebody asked for, ready for JSON."""
        known = self.__dict__
        if len(known) == _GIVEN:
            return {}
        names = ("input_tokens", "complexity", "budget_used")
        found: dict[str, object] = {name: known[name] for name in names if name in known}
        if "has" in known:
            found["has"] = sorted(known["has"])
        return found


_GIVEN = len(fields(Facts))
