"""What requests reveal that somebody should hear of."""

from typing import Any, cast

import pytest

from billing.budgets import period_at, read_purses
from billing.claims import Claim
from billing.limits import read_limits
from billing.scopes import Scope
from proxy import notices
from proxy.exchange import Exchange, Rates
from proxy.notices import SUSTAINED_GAP, SUSTAINED_SECONDS, Notices
from proxy.store import Store
from tenants.events import Event
from tests.billing.rows import record
from tests.proxy.asking import STARTED, exchange, rate

ACME = Scope("acme")


class Clock:
    """The time that the notices go by."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(notices, "time", clock)
    return clock


class Outbox:
    """Keeps what a store would hand on."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def raise_alert(self, event: Event) -> None:
        self.events.append(event)

    @property
    def store(self) -> Store:
        return cast(Store, self)


def limited(name: str = "requests_per_minute", user: str = "ann") -> Claim:
    (limit,) = read_limits(ACME._replace(per_user=True), {name: 10})
    own = ACME.of_user("acme", user)
    return Claim(limit, own, None, limit.ask(own))


def budgeted(*entries: Any, owner: Scope = ACME, moment: float = STARTED) -> Claim:
    (purse,) = read_purses(owner, entries, timezone="UTC")
    period = period_at(purse.period, purse.timezone, moment)
    return Claim(purse, purse.scope, period, purse.ask(purse.scope, period, 0))


def settled(*claims: Claim, **facts: Any) -> Exchange:
    made = exchange("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    made.claims = list(claims)
    made.record = record(charge_currency="EUR", cost_currency="USD", **facts)
    return made


# ---- limits that keep refusing


class Refusing:
    """Limits that refuse, on a clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.notices, self.outbox = clock, Notices(), Outbox()

    def refuse(self, claim: Claim, *, every: float, times: int) -> None:
        for _ in range(times):
            self.notices.limited(claim, self.outbox.store)
            self.clock.now += every

    @property
    def told(self) -> list[Event]:
        return self.outbox.events


def test_a_limit_that_refuses_for_a_minute_is_told(clock: Clock) -> None:
    refusing = Refusing(clock)
    refusing.refuse(limited(), every=1, times=60)
    assert refusing.told == []
    refusing.refuse(limited(), every=1, times=1)
    (event,) = refusing.told
    assert (event.name, event.tenant) == ("limit.sustained", "acme")
    assert event.data == {
        "scope": "the user ann of the tenant acme",
        "limit": "requests_per_minute",
        "amount": 10,
        "refused": 61,
    }


def test_as_long_as_it_goes_on_it_is_one_event_an_hour(clock: Clock) -> None:
    refusing = Refusing(clock)
    refusing.refuse(limited(), every=SUSTAINED_GAP, times=5)
    assert len(refusing.told) == 3
    assert len({(event.tenant, event.name, event.key[:-20]) for event in refusing.told}) == 1
    assert [event.data["refused"] for event in refusing.told] == [3, 4, 5]


def test_a_pause_begins_it_anew(clock: Clock) -> None:
    refusing = Refusing(clock)
    refusing.refuse(limited(), every=1, times=59)
    clock.now += SUSTAINED_GAP
    refusing.refuse(limited(), every=1, times=59)
    clock.now += SUSTAINED_GAP + 1
    assert refusing.told == []
    refusing.refuse(limited(), every=1, times=61)
    (event,) = refusing.told
    assert event.data["refused"] == 61


def test_a_refusal_now_and_then_is_not_worth_a_word(clock: Clock) -> None:
    refusing = Refusing(clock)
    refusing.refuse(limited(), every=SUSTAINED_GAP + 0.1, times=500)
    assert refusing.told == []


def test_each_counter_is_told_of_for_itself(clock: Clock) -> None:
    refusing = Refusing(clock)
    for _ in range(31):
        for claim in (limited(user="ann"), limited(user="bob"), limited("tokens_per_day")):
            refusing.refuse(claim, every=SUSTAINED_SECONDS / 90, times=1)
    found = {(event.data["scope"], event.data["limit"]) for event in refusing.told}
    assert found == {
        ("the user ann of the tenant acme", "requests_per_minute"),
        ("the user bob of the tenant acme", "requests_per_minute"),
        ("the user ann of the tenant acme", "tokens_per_day"),
    }


def test_a_flood_of_names_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "REMEMBERED", 100)
    refusing = Refusing(clock)
    for number in range(1_000):
        refusing.refuse(limited(user=f"user-{number}"), every=0, times=1)
    assert len(refusing.notices._runs) <= 100


# ---- budgets that fill


HALF = {"amount": "10", "period": "month", "alert_at": ["50%", "100%"]}


def test_each_threshold_is_told_once_when_it_is_reached() -> None:
    told, outbox, claim = Notices(), Outbox(), budgeted(HALF)
    for used in (4_999_999_999, 5_000_000_000, 6_000_000_000, 10_000_000_000, 11_000_000_000):
        told.settled(settled(claim), [used], outbox.store)
    assert [(e.data["threshold"], e.data["used"]) for e in outbox.events] == [
        ("50%", "5"),
        ("100%", "10"),
    ]
    event = outbox.events[0]
    assert event.name == "budget.threshold"
    assert event.data == {
        "budget": "the tenant acme",
        "period": "month",
        "period_start": "2026-10-01T00:00:00Z",
        "resets_at": "2026-11-01T00:00:00Z",
        "amount": "10",
        "used": "5",
        "unit": "EUR",
        "threshold": "50%",
    }


def test_one_request_may_reach_several_thresholds_of_several_budgets() -> None:
    outbox = Outbox()
    claim = budgeted(HALF, {**HALF, "amount": "20", "hard": False})
    Notices().settled(settled(claim), [10 * 10**9], outbox.store)
    found = [(event.data["amount"], event.data["threshold"]) for event in outbox.events]
    assert found == [("10", "50%"), ("10", "100%"), ("20", "50%")]


def test_the_next_period_is_told_anew() -> None:
    told, outbox = Notices(), Outbox()
    for moment in (STARTED, STARTED, STARTED + 40 * 86_400):
        told.settled(settled(budgeted(HALF, moment=moment)), [5 * 10**9], outbox.store)
    assert len(outbox.events) == 2
    assert len({event.key for event in outbox.events}) == 2


def test_tokens_and_the_gateways_cost_are_told_in_their_units() -> None:
    outbox = Outbox()
    tokens = budgeted({"tokens": 100, "period": "total", "alert_at": ["10%"]})
    cost = budgeted(HALF, owner=Scope(""))
    Notices().settled(settled(tokens, cost), [10, 5 * 10**9], outbox.store)
    first, second = outbox.events
    assert (first.data["unit"], first.data["used"], first.data["resets_at"]) == (
        "tokens",
        "10",
        None,
    )
    assert (second.data["unit"], second.tenant) == ("USD", "")


def test_limits_are_no_budgets() -> None:
    outbox = Outbox()
    Notices().settled(settled(limited(), budgeted(HALF)), [10**15, 0], outbox.store)
    assert outbox.events == []


def test_a_budget_without_room_tells_how_much_is_used() -> None:
    outbox, claim = Outbox(), budgeted(HALF, {**HALF, "amount": "30"})
    asked = settled(claim)
    asked.rates = {("", "gpt-4o"): Rates(cost=None, charge=rate())}
    Notices().exhausted(asked, claim, 250_000_000, outbox.store)
    (event,) = outbox.events
    assert event.name == "budget.exhausted"
    assert (event.data["amount"], event.data["used"], event.data["unit"]) == ("10", "9.75", "USD")


def test_what_is_absorbed_is_told_to_the_tenant_and_to_the_gateway() -> None:
    outbox = Outbox()
    facts = {"provider": "openai", "model": "gpt-4o", "absorbed": 1_500_000_000}
    Notices().settled(settled(**facts), [], outbox.store)
    assert [(event.name, event.tenant) for event in outbox.events] == [
        ("usage.absorbed", "acme"),
        ("usage.absorbed", ""),
    ]
    assert (outbox.events[0].data["amount"], outbox.events[0].data["unit"]) == ("1.5", "EUR")
    Notices().settled(settled(absorbed=None), [], outbox.store)
    assert len(outbox.events) == 2
