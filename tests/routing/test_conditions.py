"""Which conditions of a route hold, and what is found out for them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.conditions import CONDITIONS, holds, read_when
from routing.facts import Facts

ANYBODY = Facts(tenant="acme")


FACTS = Facts(
    tenant="acme",
    tier="pro",
    project="search",
    user="ada",
    scopes=frozenset({"usage:read", "alias:pro"}),
    labels={"team": "search", "env": "prod"},
)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"tier": "pro"}, True),
        ({"tier": ["free", "pro"]}, True),
        ({"tier": "free"}, False),
        ({"tier": []}, False),
        ({"tenant": "acme"}, True),
        ({"tenant": ["globex"]}, False),
        ({"project": "search"}, True),
        ({"project": "sear"}, False),
        ({"user": "ada"}, True),
        ({"user": ["bob"]}, False),
        ({"scope": "usage:read"}, True),
        ({"scope": ["usage:read", "alias:pro"]}, True),
        ({"scope": ["usage:read", "keys:write"]}, False),
        ({"label": {"team": "search"}}, True),
        ({"label": {"team": "search", "env": "prod"}}, True),
        ({"label": {"team": "search", "env": "test"}}, False),
        ({"label": {"colour": "red"}}, False),
        ({"tier": "pro", "tenant": "acme", "label": {"env": "prod"}}, True),
        ({"tier": "pro", "tenant": "globex"}, False),
    ],
)
def test_a_route_holds_when_all_its_conditions_do(when: dict[str, Any], expected: bool) -> None:
    assert holds(when, FACTS) is expected


def test_a_fact_that_is_unknown_fulfils_no_condition() -> None:
    for condition in ("tier", "project", "user"):
        assert not holds({condition: ["pro", "search", "ada"]}, ANYBODY)
    assert not holds({"scope": "usage:read"}, ANYBODY)
    assert not holds({"label": {"team": "search"}}, ANYBODY)


holding = st.sampled_from([{}, {"tier": "pro"}, {"user": "ada", "scope": "usage:read"}])


@given(holding, st.text().filter(lambda name: name not in CONDITIONS), st.none() | st.text())
def test_a_condition_that_is_unknown_never_holds(
    when: dict[str, Any], name: str, wanted: str | None
) -> None:
    assert holds(when, FACTS)
    assert not holds({**when, name: wanted}, FACTS)


# ---- hours


def _at(text: str, timezone: str = "UTC", tenants: str = "UTC") -> Facts:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone))
    return Facts(tenant="acme", moment=moment.timestamp(), timezone=tenants)


@pytest.mark.parametrize(
    ("hours", "time", "expected"),
    [
        ("09:00-17:30", "08:59:59", False),
        ("09:00-17:30", "09:00:00", True),
        ("09:00-17:30", "17:29:59", True),
        ("09:00-17:30", "17:30:00", False),
        ("22:00-06:00", "21:59:59", False),
        ("22:00-06:00", "22:00:00", True),
        ("22:00-06:00", "00:00:00", True),
        ("22:00-06:00", "05:59:59", True),
        ("22:00-06:00", "06:00:00", False),
        ("00:00-00:00", "12:00:00", True),
        ("00:00-23:59", "23:59:30", False),
    ],
)
def test_hours_begin_with_their_start_and_end_before_their_end(
    hours: str, time: str, expected: bool
) -> None:
    assert holds(read_when({"time": hours}), _at(f"2026-11-21T{time}")) is expected


def test_hours_are_those_of_the_named_time_zone_and_else_of_the_tenants() -> None:
    night = {"time": "22:00-06:00"}
    at_21_utc = _at("2026-11-21T21:30")
    assert not holds(read_when(night), at_21_utc)
    assert holds(read_when({**night, "timezone": "Europe/Berlin"}), at_21_utc)
    assert holds(read_when(night), _at("2026-11-21T21:30", tenants="Europe/Berlin"))
    berlin = _at("2026-11-21T21:30", tenants="Europe/Berlin")
    assert not holds(read_when({**night, "timezone": "UTC"}), berlin)


def test_hours_follow_summer_time() -> None:
    when = read_when({"time": "09:00-10:00", "timezone": "Europe/Berlin"})
    assert holds(when, _at("2026-01-15T08:30"))
    assert not holds(when, _at("2026-07-15T08:30"))
    assert holds(when, _at("2026-07-15T07:30"))


@given(
    st.integers(0, 2**31),
    st.sampled_from(["UTC", "Asia/Kolkata"]),
)
def test_a_moment_is_either_in_hours_or_in_those_that_complete_the_day(
    moment: int, timezone: str
) -> None:
    facts = Facts(tenant="acme", moment=moment, timezone=timezone)
    night = holds(read_when({"time": "22:00-06:00"}), facts)
    assert night is not holds(read_when({"time": "06:00-22:00"}), facts)


# ---- what costs something to know


@pytest.mark.parametrize(
    ("tokens", "expected"), [(99, False), (100, True), (150, True), (200, True), (201, False)]
)
def test_both_ends_of_a_range_belong_to_it(tokens: int, expected: bool) -> None:
    facts = Facts(tenant="acme", count_tokens=lambda: tokens)
    assert holds(read_when({"input_tokens": {"min": 100, "max": 200}}), facts) is expected


@pytest.mark.parametrize(
    ("used", "expected"), [(0.0, False), (0.899, False), (0.9, True), (1.7, True), (None, False)]
)
def test_a_route_can_ask_how_much_of_the_budget_is_used(used: float | None, expected: bool) -> None:
    facts = Facts(tenant="acme", weigh_budget=lambda: used)
    assert holds(read_when({"budget_used": {"min": "90%"}}), facts) is expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["images"], True),
        (["images", "tools"], True),
        (["audio"], False),
        (["tools", "audio"], False),
    ],
)
def test_a_request_has_all_that_a_route_asks(wanted: list[str], expected: bool) -> None:
    facts = Facts(tenant="acme", look_inside=lambda: frozenset({"images", "tools"}))
    assert holds(read_when({"has": wanted}), facts) is expected


def test_a_route_can_ask_how_hard_a_question_is() -> None:
    facts = Facts(tenant="acme", judge=lambda: "simple")
    assert holds(read_when({"complexity": "simple"}), facts)
    assert not holds(read_when({"complexity": "complex"}), facts)


def test_what_nobody_can_know_fulfils_no_condition() -> None:
    for when in (
        {"input_tokens": {"max": 10}},
        {"budget_used": {"max": "50%"}},
        {"has": ["images"]},
        {"complexity": "simple"},
    ):
        assert not holds(read_when(when), ANYBODY)


def test_costly_facts_are_found_out_once_and_only_where_all_else_holds() -> None:
    asked = []

    def answer(name: str, value: Any) -> Callable[[], Any]:
        def find_out() -> Any:
            asked.append(name)
            return value

        return find_out

    facts = Facts(
        tenant="acme",
        tier="pro",
        count_tokens=answer("tokens", 10),
        look_inside=answer("inside", frozenset({"tools"})),
        judge=answer("complexity", "complex"),
    )
    few = {"input_tokens": {"max": 100}}
    assert not holds(read_when({**few, "has": ["tools"], "tier": "free"}), facts)
    assert asked == []
    assert not holds(read_when({"complexity": "simple", **few, "tier": "pro"}), facts)
    assert asked == ["tokens", "complexity"]
    assert holds(read_when({"complexity": "complex", **few, "has": ["tools"]}), facts)
    assert asked == ["tokens", "complexity", "inside"]
