"""Whether a route's `when` holds: one reader and one predicate for each of its conditions.

A snapshot keeps the conditions as `read_when` gives them, so that hours, shares and time zones are
read once and not for each request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from gateway_project.units import parse_percent
from routing.facts import Facts


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it; None is no end."""

    min: float | None = None
    max: float | None = None

    def __contains__(self, number: float) -> bool:
        return (self.min is None or number >= self.min) and (self.max is None or number <= self.max)


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the day; the start belongs to it, the end does not. An end before the start is of
    the next day, and equal ones are the whole day. Without a zone it is the tenant's."""

    start: int
    end: int
    timezone: str = ""


Predicate = Callable[[Facts, Any], bool]


def _one_of(fact: str) -> Predicate:
    def holds(facts: Facts, wanted: Any) -> bool:
        names = wanted if isinstance(wanted, list) else [wanted]
        return getattr(facts, fact) in names

    return holds


def _within(fact: str) -> Predicate:
    def holds(facts: Facts, wanted: Range) -> bool:
        number = getattr(facts, fact)
        return number is not None and number in wanted

    return holds


def _has_scopes(facts: Facts, wanted: Any) -> bool:
    return set(wanted if isinstance(wanted, list) else [wanted]) <= facts.scopes


def _has_labels(facts: Facts, wanted: Mapping[str, str]) -> bool:
    return all(facts.labels.get(name) == value for name, value in wanted.items())


def _contains(facts: Facts, wanted: Any) -> bool:
    return facts.has.issuperset(wanted)


@cache
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _is_in_hours(facts: Facts, wanted: Hours) -> bool:
    local = datetime.fromtimestamp(facts.moment, _zone(wanted.timezone or facts.timezone))
    minute = local.hour * 60 + local.minute
    if wanted.start < wanted.end:
        return wanted.start <= minute < wanted.end
    return minute >= wanted.start or minute < wanted.end


CONDITIONS: Mapping[str, Predicate] = {
    "tier": _one_of("tier"),
    "tenant": _one_of("tenant"),
    "project": _one_of("project"),
    "user": _one_of("user"),
    "scope": _has_scopes,
    "label": _has_labels,
    "time": _is_in_hours,
    "budget_used": _within("budget_used"),
    "has": _contains,
    "input_tokens": _within("input_tokens"),
    "complexity": _one_of("complexity"),
}
"""Every condition there is. One that is not here never holds, so that a route is not taken for less
than it asks. The costly ones stand last: they are asked when all others hold."""

_ORDER = {name: place for place, name in enumerate(CONDITIONS)}


def _hours(text: str, timezone: str) -> Hours:
    start, end = (int(time[:2]) * 60 + int(time[3:]) for time in text.split("-"))
    return Hours(start, end, timezone)


def _shares(raw: Mapping[str, str]) -> Range:
    return Range(**{end: float(parse_percent(share)) for end, share in raw.items()})


def read_when(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The conditions of a stored `when`, ready for `holds`; the costly ones last."""
    readers: dict[str, Callable[[Any], Any]] = {
        "time": lambda text: _hours(text, raw.get("timezone") or ""),
        "input_tokens": lambda ends: Range(**ends),
        "budget_used": _shares,
    }
    names = sorted(raw, key=lambda name: _ORDER.get(name, -1))
    read = {
        name: readers[name](raw[name]) if name in readers else raw[name]
        for name in names
        if name != "timezone"
    }
    return MappingProxyType(read)


def holds(when: Mapping[str, Any], facts: Facts) -> bool:
    """Whether every condition of a route holds."""
    return all(
        name in CONDITIONS and CONDITIONS[name](facts, wanted) for name, wanted in when.items()
    )
