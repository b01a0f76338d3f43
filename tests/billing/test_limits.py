"""Limits as configured: what they are called, what they ask, and what they let through."""

from typing import Any

import pytest

from billing.counters.asks import BUCKET, SLOTS, Admitted, Ask, Refused
from billing.limits import WINDOWS, Limit, read_caller_limits, read_limits
from billing.scopes import Scope
from tests.billing.counters.engines import Desk, memory_desk

ACME = Scope("acme")


def limit(name: str, value: Any, scope: Scope = ACME) -> Limit:
    (found,) = read_limits(scope, {name: value})
    return found


# ---- reading


@pytest.mark.parametrize("per", WINDOWS)
@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_every_window_is_read_and_named_as_it_is_spelled(unit: str, per: str) -> None:
    found = limit(f"{unit}_per_{per}", 600)
    assert found == Limit(ACME, unit, 600, 600, WINDOWS[per], f"{ACME.key}|{unit}|{WINDOWS[per]}")
    assert found.name == f"{unit}_per_{per}"
    assert found.said(ACME) == f"600 {unit} per {per} of the tenant acme"


def test_a_burst_sets_the_bucket_below_the_amount() -> None:
    found = limit("requests_per_minute", {"amount": 600, "burst": 100})
    assert (found.amount, found.most) == (600, 100)
    assert found.said(ACME) == "600 requests per minute (at most 100 at once) of the tenant acme"


@pytest.mark.parametrize("value", [600, {"amount": 600}, {"amount": 600, "burst": None}])
def test_without_a_burst_the_bucket_holds_the_amount(value: Any) -> None:
    assert limit("requests_per_minute", value).most == 600


def test_concurrency_has_no_window() -> None:
    found = limit("concurrency", 5)
    assert (found.unit, found.amount, found.most, found.window) == ("concurrency", 5, 5, 0)
    assert found.name == "concurrency"
    assert found.said(ACME) == "5 concurrent requests of the tenant acme"


def test_each_limit_of_a_scope_has_a_counter_of_its_own() -> None:
    configured = {f"{unit}_per_{per}": 1 for unit in ("requests", "tokens") for per in WINDOWS}
    found = list(read_limits(ACME, {**configured, "concurrency": 1}))
    assert len({one.key for one in found}) == len(found) == 9


def test_what_is_inside_per_user_is_each_users() -> None:
    configured = {"requests_per_day": 9, "per_user": {"requests_per_day": 2, "concurrency": 1}}
    own, *each = read_caller_limits(ACME, configured, "pro")
    assert (own.scope, own.amount) == (ACME, 9)
    assert [(one.scope.per_user, one.name, one.amount) for one in each] == [
        (True, "requests_per_day", 2),
        (True, "concurrency", 1),
    ]


def test_what_is_inside_per_alias_is_that_aliass_alone() -> None:
    configured = {"per_alias": {"pro": {"tokens_per_day": 5}, "mini": {"tokens_per_day": 7}}}
    (found,) = read_caller_limits(ACME, configured, "pro")
    assert (found.scope, found.amount) == (ACME.narrowed("alias", "pro"), 5)
    assert list(read_caller_limits(ACME, configured, "other")) == []


def test_limits_of_models_are_not_the_callers() -> None:
    configured = {"per_model": {"gpt-4o": {"requests_per_day": 5}}}
    assert list(read_caller_limits(ACME, configured, "pro")) == []


# ---- asking


@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_a_bucket_is_asked_for_one_at_a_time(unit: str) -> None:
    found = limit(f"{unit}_per_minute", {"amount": 600, "burst": 100})
    assert found.ask(ACME) == Ask(BUCKET, found.key, 1, 100, 600, 60_000)


def test_concurrency_asks_for_one_slot() -> None:
    found = limit("concurrency", 5)
    assert found.ask(ACME) == Ask(SLOTS, found.key, 1, 5)


def test_each_user_asks_a_counter_of_its_own() -> None:
    found = limit("concurrency", 5, ACME._replace(per_user=True))
    users = ("ann", "bob", "", "ann")
    keys = [found.ask(found.scope.of_user("acme", user)).key for user in users]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3
    assert limit("concurrency", 5).ask(ACME).key not in keys


# ---- endless demand: in any window of t at most N + N·t/window, and nearly all of that


class Demand:
    """Somebody who asks again as soon as it may help. Every use is noted with its moment."""

    def __init__(self, desk: Desk, rule: Limit, *, estimate: int = 1, used: int = 1) -> None:
        self.desk, self.rule = desk, rule
        self.used = used
        self.ask = rule.ask(rule.scope)._replace(take=min(estimate, rule.most))
        self.uses: list[tuple[int, int]] = []
        self.began = desk.clock.now

    async def press(self, milliseconds: int) -> None:
        clock = self.desk.clock
        while (left := self.began + milliseconds - clock.now) >= 0:
            hold, answer = await self.desk.admit(self.ask)
            if isinstance(answer, Refused):
                clock.advance(max(1, min(answer.short[0].wait, left + 1)))
                continue
            assert isinstance(answer, Admitted)
            self.uses.append((clock.now, self.used))
            await self.desk.settle(hold, self.used)
            await self.desk.commit(hold)

    @property
    def total(self) -> int:
        return sum(amount for _, amount in self.uses)

    def most_beyond(self) -> float:
        """How far the worst of all windows went beyond what flows in during it: at most what the
        bucket holds."""
        rate = self.rule.amount / self.rule.window
        worst, least, so_far = 0.0, 0.0, 0
        for at, amount in self.uses:
            flown = (at - self.began) * rate
            least = min(least, so_far - flown)
            so_far += amount
            worst = max(worst, so_far - flown - least)
        return worst


@pytest.mark.parametrize(
    ("name", "amount", "burst", "windows"),
    [
        ("requests_per_second", 200, 200, 5),
        ("requests_per_second", 200, 1, 5),
        ("requests_per_second", 200, 20, 5),
        ("requests_per_minute", 600, 600, 1),
        ("requests_per_minute", 600, 7, 1),
        ("requests_per_hour", 500, 50, 2),
        ("requests_per_day", 333, 333, 2),
        ("requests_per_day", 333, 1, 2),
    ],
)
async def test_endless_demand_uses_a_limit_of_requests_and_never_more(
    name: str, amount: int, burst: int, windows: int
) -> None:
    rule = limit(name, {"amount": amount, "burst": burst})
    demand = Demand(memory_desk(), rule)
    await demand.press(windows * rule.window)
    allowed = burst + amount * windows
    assert 0.98 * allowed <= demand.total <= allowed
    assert demand.most_beyond() <= burst + 1e-6


@pytest.mark.parametrize(
    ("name", "amount", "burst", "windows"),
    [
        ("tokens_per_second", 8_400, 8_400, 3),
        ("tokens_per_second", 8_400, 100, 3),
        ("tokens_per_minute", 10_000, 10_000, 3),
        ("tokens_per_hour", 9_999, 600, 3),
        ("tokens_per_day", 12_345, 12_345, 2),
    ],
)
@pytest.mark.parametrize(("estimate", "used"), [(42, 42), (97, 42)])
async def test_endless_demand_uses_a_limit_of_tokens_and_never_more(
    name: str, amount: int, burst: int, windows: int, estimate: int, used: int
) -> None:
    """What was taken beyond the use comes back when it is known."""
    rule = limit(name, {"amount": amount, "burst": burst})
    demand = Demand(memory_desk(), rule, estimate=estimate, used=used)
    await demand.press(windows * rule.window)
    allowed = burst + amount * windows
    assert 0.98 * allowed <= demand.total <= allowed
    assert demand.most_beyond() <= burst + 1e-6


async def test_who_used_more_than_was_taken_waits_for_it_afterwards() -> None:
    rule = limit("tokens_per_minute", 600)
    demand = Demand(memory_desk(), rule, estimate=10, used=300)
    await demand.press(10 * rule.window)
    assert demand.total <= 600 + 600 * 10 + (300 - 10)


async def test_a_wait_that_is_told_is_long_enough_and_no_longer() -> None:
    desk, rule = memory_desk(), limit("requests_per_minute", {"amount": 7, "burst": 2})
    for _ in range(2):
        await desk.admitted(rule.ask(ACME))
    _, refused = await desk.admit(rule.ask(ACME))
    assert isinstance(refused, Refused)
    wait = refused.short[0].wait
    desk.clock.advance(wait - 1)
    assert isinstance((await desk.admit(rule.ask(ACME)))[1], Refused)
    desk.clock.advance(1)
    await desk.admitted(rule.ask(ACME))
