"""Budgets as configured, and their calendar: every moment is in one period, and in one alone."""

import bisect
import datetime
from collections.abc import Mapping
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing import budgets
from billing.budgets import Budget, Calendar, Period, Purse, period_at, read_purses
from billing.counters.asks import NO_LIMIT, PURSE, Ask
from billing.scopes import Scope

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",  # +05:45
    "Australia/Lord_Howe",  # its clock is set by half an hour
    "America/Santiago",  # midnight is skipped
    "America/Havana",  # midnight comes twice
    "Africa/Cairo",
    "Africa/Casablanca",  # four times a year
    "Pacific/Chatham",
    "Antarctica/Troll",  # by two hours
    "Asia/Pyongyang",  # half an hour, once
)
KINDS = ("hour", "day", "week", "month")
FIRST, LAST = 1_420_070_400, 2_082_758_400
"""2015 to 2035."""


def utc(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp())  # type: ignore[arg-type,misc]


def local(zone: str, *parts: int, fold: int = 0) -> int:
    moment = datetime.datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold)  # type: ignore[arg-type,misc]
    return int(moment.timestamp())


def _offset(zone: str, moment: int) -> datetime.timedelta:
    offset = datetime.datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset


@cache
def changes(zone: str) -> list[int]:
    """The moments at which the clocks of a zone are set, and the turns of years."""
    found = [local(zone, year, 1, 1) for year in range(2016, 2035)]
    week = 7 * 86_400
    for moment in range(FIRST, LAST, week):
        before = _offset(zone, moment)
        if _offset(zone, moment + week) != before:
            span = range(moment, moment + week)
            found.append(
                moment + bisect.bisect(span, False, key=lambda at: _offset(zone, at) != before)
            )
    return found


@st.composite
def moments(draw: st.DrawFn) -> tuple[str, float]:
    """A zone and a moment, mostly near a change of its clocks."""
    zone = draw(st.sampled_from(ZONES))
    whole = draw(
        st.integers(FIRST, LAST)
        | st.builds(int.__add__, st.sampled_from(changes(zone)), st.integers(-90_000, 90_000))
    )
    return zone, whole + draw(st.sampled_from([0, 0.000001, 0.5, 0.9999997, 0.99999976]))


kinds = st.sampled_from(KINDS)
HALF_AN_HOUR_BACK = local("Australia/Lord_Howe", 2026, 4, 5, 1, 40, fold=1)


@given(kinds, moments())
@example("hour", ("UTC", 1_700_002_799.99999976))
@example("day", ("UTC", 1_700_006_399.99999976))
@example("hour", ("Australia/Lord_Howe", HALF_AN_HOUR_BACK))
def test_a_moment_lies_in_its_period(kind: str, where: tuple[str, float]) -> None:
    zone, moment = where
    period = period_at(kind, zone, moment)
    assert period.start <= moment < period.end


@given(kinds, moments(), st.data())
@example("hour", ("Australia/Lord_Howe", HALF_AN_HOUR_BACK), None)
def test_periods_tile_time_without_gap_or_overlap(
    kind: str, where: tuple[str, float], data: st.DataObject | None
) -> None:
    zone, moment = where
    period = period_at(kind, zone, moment)
    assert period_at(kind, zone, period.start) == period
    assert period_at(kind, zone, period.end - 1) == period
    assert period_at(kind, zone, period.end - 0.001) == period
    before, after = period_at(kind, zone, period.start - 1), period_at(kind, zone, period.end)
    assert before.end == period.start
    assert after.start == period.end
    assert len({before.name, period.name, after.name}) == 3
    if data is not None:
        inside = data.draw(st.integers(period.start, period.end - 1))
        assert period_at(kind, zone, inside) == period


@given(moments())
def test_days_make_weeks_and_months_and_hours_make_days(where: tuple[str, float]) -> None:
    zone, moment = where
    day = period_at("day", zone, moment)
    for kind in ("week", "month"):
        longer = period_at(kind, zone, moment)
        assert longer.start <= day.start < day.end <= longer.end
    hour = period_at("hour", zone, moment)
    assert day.start <= hour.start < hour.end <= day.end


@pytest.mark.parametrize(
    ("kind", "zone", "moment", "name", "start", "end"),
    [
        (
            *("day", "Europe/Berlin", utc(2026, 3, 29, 12), "day-2026-03-29"),
            *(utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)),  # of 23 hours
        ),
        (
            *("day", "Europe/Berlin", utc(2026, 10, 25, 12), "day-2026-10-25"),
            *(utc(2026, 10, 24, 22), utc(2026, 10, 25, 23)),  # of 25
        ),
        (
            *("day", "America/Santiago", utc(2026, 9, 6, 12), "day-2026-09-06"),
            *(utc(2026, 9, 6, 4), utc(2026, 9, 7, 3)),  # begins at 01:00
        ),
        (
            *("day", "America/Havana", utc(2026, 11, 1, 5, 30), "day-2026-11-01"),
            *(utc(2026, 11, 1, 4), utc(2026, 11, 2, 5)),  # from the first of two midnights
        ),
        (
            *("week", "UTC", utc(2027, 1, 1), "week-2026-12-28"),
            *(utc(2026, 12, 28), utc(2027, 1, 4)),  # from Monday, across the year
        ),
        (
            *("week", "America/New_York", utc(2026, 11, 2, 4, 59), "week-2026-10-26"),
            *(utc(2026, 10, 26, 4), utc(2026, 11, 2, 5)),  # Sunday is its last day
        ),
        (
            *("month", "America/New_York", utc(2027, 1, 1, 4, 59, 59), "month-2026-12-01"),
            *(utc(2026, 12, 1, 5), utc(2027, 1, 1, 5)),
        ),
        (
            *("month", "UTC", utc(2028, 2, 29, 23), "month-2028-02-01"),
            *(utc(2028, 2, 1), utc(2028, 3, 1)),
        ),
        (
            *("hour", "Asia/Kathmandu", utc(2026, 6, 1, 12, 20), f"hour-{utc(2026, 6, 1, 12, 15)}"),
            *(utc(2026, 6, 1, 12, 15), utc(2026, 6, 1, 13, 15)),
        ),
    ],
)
def test_periods_are_those_of_the_calendar_on_the_wall(
    kind: str, zone: str, moment: int, name: str, start: int, end: int
) -> None:
    assert period_at(kind, zone, moment) == Period(name, start, end)


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    first = period_at("hour", "Europe/Berlin", local("Europe/Berlin", 2026, 10, 25, 2, 30))
    again = period_at("hour", "Europe/Berlin", local("Europe/Berlin", 2026, 10, 25, 2, 30, fold=1))
    assert first.end == again.start
    assert first.name != again.name
    assert again.end - again.start == first.end - first.start == 3600


def test_where_the_clock_is_set_by_half_an_hour_no_second_is_counted_twice() -> None:
    zone = "Australia/Lord_Howe"
    day = period_at("day", zone, HALF_AN_HOUR_BACK)
    hours, at = [], day.start
    while at < day.end:
        hours.append(period_at("hour", zone, at))
        at = hours[-1].end
    lengths = [hour.end - hour.start for hour in hours]
    assert sum(lengths) == day.end - day.start == 24.5 * 3600
    assert lengths == [3600] * 24 + [1800]


@pytest.mark.parametrize("zone", ZONES)
def test_the_whole_time_never_begins_and_never_ends(zone: str) -> None:
    assert {period_at("total", zone, moment) for moment in (0, 1.5, LAST)} == {
        Period("total", 0, 0)
    }


# ---- the calendar


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float]]:
    """What the calendar had to work out."""
    asked: list[tuple[str, str, float]] = []

    def watched(kind: str, timezone: str, moment: float) -> Period:
        asked.append((kind, timezone, moment))
        return period_at(kind, timezone, moment)

    monkeypatch.setattr(budgets, "period_at", watched)
    return asked


def test_a_period_is_worked_out_once(worked_out: list[tuple[str, str, float]]) -> None:
    calendar, noon = Calendar(), utc(2026, 10, 25, 12)
    found = {calendar.period("day", "Europe/Berlin", noon + second) for second in range(1000)}
    assert found == {period_at("day", "Europe/Berlin", noon)}
    assert len(worked_out) == 1
    for moment in (0.0, noon, 1e11):
        assert calendar.period("total", "UTC", moment).name == "total"
    assert len(worked_out) == 2


def test_kinds_and_timezones_are_kept_apart(worked_out: list[tuple[str, str, float]]) -> None:
    calendar, noon = Calendar(), utc(2026, 10, 25, 12)
    for _ in range(3):
        for kind in (*KINDS, "total"):
            for zone in ZONES:
                assert calendar.period(kind, zone, noon) == period_at(kind, zone, noon)
    assert len(worked_out) == 5 * len(ZONES)


@given(kinds, st.sampled_from(ZONES), st.lists(st.integers(-5, 5), min_size=1, max_size=20))
def test_the_calendar_never_answers_with_another_period(
    kind: str, zone: str, steps: list[int]
) -> None:
    """Also when time goes back, as it may between two requests' starts."""
    calendar, boundary = Calendar(), period_at(kind, zone, 1_793_000_000).end
    for step in steps:
        moment = boundary + step / 2
        assert calendar.period(kind, zone, moment) == period_at(kind, zone, moment)


# ---- budgets as configured


def purses(*entries: Mapping[str, Any], owner: Scope | None = None) -> list[Purse]:
    return list(read_purses(owner or Scope("acme"), entries, timezone="Europe/Berlin"))


MONTH = {"amount": "10", "period": "month"}


def test_an_amount_of_money_is_counted_in_nano_units() -> None:
    (purse,) = purses({"amount": "1234.000000001", "period": "day"})
    assert purse.budgets == (Budget(1_234_000_000_001, hard=True),)
    assert (purse.unit, purse.period, purse.timezone) == ("charge", "day", "Europe/Berlin")
    assert (purse.written(purse.most), purse.per) == ("1234.000000001", "per day")


def test_an_amount_of_tokens_is_counted_in_tokens() -> None:
    (purse,) = purses({"tokens": 500, "period": "total"})
    assert (purse.unit, purse.most) == ("tokens", 500)
    assert (purse.written(purse.most), purse.per) == ("500 tokens", "in all")


def test_money_of_a_tenant_is_charge_and_of_the_gateway_cost() -> None:
    units = [purses(MONTH, owner=Scope(owner))[0].unit for owner in ("acme", "")]
    assert units == ["charge", "cost"]
    (tokens,) = purses({"tokens": 5, "period": "day"}, owner=Scope(""))
    assert tokens.unit == "tokens"


def test_budgets_that_count_the_same_share_a_purse() -> None:
    (purse,) = purses(
        {**MONTH, "amount": "30"},
        {**MONTH, "amount": "20"},
        {**MONTH, "amount": "5", "hard": False},
    )
    assert [budget.amount for budget in purse.budgets] == [30 * 10**9, 20 * 10**9, 5 * 10**9]
    assert purse.most == 20 * 10**9, "the least of the hard ones"
    assert purse.least == 5 * 10**9, "the least of all"
    assert purse.is_hard


def test_a_purse_of_soft_budgets_alone_has_no_limit() -> None:
    (purse,) = purses({**MONTH, "hard": False})
    assert purse.most == NO_LIMIT
    assert not purse.is_hard


@pytest.mark.parametrize(
    "other",
    [
        {"amount": "10", "period": "week"},
        {"tokens": 10, "period": "month"},
        {**MONTH, "timezone": "UTC"},
        {**MONTH, "scope": "user"},
        {**MONTH, "scope": "alias:pro"},
        {**MONTH, "scope": "label:team=search"},
    ],
)
def test_budgets_that_count_otherwise_have_a_purse_of_their_own(other: Mapping[str, Any]) -> None:
    found = purses(MONTH, other)
    period = Period("p", 0, 1)
    assert len(found) == 2
    keys = {purse.key(purse.scope.of_user("acme", "bob"), period) for purse in found[1:]}
    assert purses(MONTH)[0].key(Scope("acme"), period) not in keys


def test_a_timezone_that_says_the_same_shares_a_purse() -> None:
    assert len(purses(MONTH, {**MONTH, "timezone": "Europe/Berlin"})) == 1


def test_a_scope_narrows_its_owners() -> None:
    project = Scope("acme").narrowed("project", "search")
    labelled, aliased, each = purses(
        {**MONTH, "scope": "label:team=a=b"},
        {**MONTH, "scope": "alias:pro"},
        {**MONTH, "scope": "user"},
        owner=project,
    )
    assert labelled.scope.where == (("project", "search"), ("label:team", "a=b"))
    assert (labelled.label, labelled.alias) == (("team", "a=b"), None)
    assert (aliased.label, aliased.alias) == (None, "pro")
    assert (each.scope.where, each.scope.per_user) == (project.where, True)


def test_what_each_user_of_an_owner_has_stays_each_users() -> None:
    (purse,) = purses(
        {**MONTH, "scope": "alias:pro"}, owner=Scope("acme", per_user=True, tier="gold")
    )
    assert purse.scope == Scope("acme", (("alias", "pro"),), per_user=True, tier="gold")


def test_thresholds_are_amounts_lowest_first() -> None:
    (purse,) = purses({**MONTH, "amount": "0.000000007", "alert_at": ["100%", "9%", "50%"]})
    assert purse.budgets[0].alert_at == ((0, "9%"), (3, "50%"), (7, "100%"))


@given(st.integers(1, 9_000_000 * 10**9 - 1), st.integers(0, 2_000_000))
def test_a_threshold_is_its_share_of_the_amount_to_the_last_digit(amount: int, share: int) -> None:
    text = f"{share // 10_000}.{share % 10_000:04d}%"
    (purse,) = purses(
        {"amount": f"{amount // 10**9}.{amount % 10**9:09d}", "period": "day", "alert_at": [text]}
    )
    assert purse.budgets[0].alert_at == ((amount * share // 10**6, text),)


def test_an_ask_ends_with_its_period() -> None:
    (purse,) = purses(MONTH)
    period = period_at("month", "Europe/Berlin", utc(2026, 10, 15))
    ask = purse.ask(purse.scope, period, 77)
    key = f"{Scope('acme').key}|charge|Europe/Berlin|month-2026-10-01"
    assert ask == Ask(PURSE, key, 77, 10 * 10**9, until=utc(2026, 10, 31, 23))
