"""What the records say that a cold counter should hold."""

import datetime
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from django.utils import timezone

from billing.budgets import Period, Purse, period_at, read_purses
from billing.counters.asks import LARGEST
from billing.limits import Limit, read_limits
from billing.models import UsageRecord
from billing.rebuild import (
    ADJUSTED_LATELY,
    adjusted,
    adjusted_lately,
    settled_in,
    used_by_users,
    used_lately,
)
from billing.scopes import Scope
from tests.factories import NOON, AttemptFactory, BudgetAdjustmentFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db

ACME, GATEWAY = Scope("acme"), Scope("")
ALWAYS = Period("total", 0, 0)


def record(charge: int, **facts: Any) -> UsageRecord:
    """A request of acme's that was charged so much, and cost a tenth of it."""
    made: UsageRecord = UsageRecordFactory(charge=charge, cost=charge // 10, **facts)
    return made


def purse(owner: Scope = ACME, **entry: Any) -> Purse:
    budget = {"period": "month", **({} if "tokens" in entry else {"amount": "1"}), **entry}
    (found,) = read_purses(owner, [budget], timezone="UTC")
    return found


def limit(name: str) -> Limit:
    (found,) = read_limits(ACME, {name: 10})
    return found


def settled(
    scope: Scope = ACME,
    period: Period = ALWAYS,
    rule: Purse | None = None,
    apart_from: Iterable[str] = (),
) -> int:
    rule = rule or purse(Scope(scope.owner))
    key = rule.key(scope, period)
    return settled_in(rule, scope, period, key=key, apart_from=list(apart_from))


# ---- whose


@pytest.mark.parametrize(
    ("scope", "charged"),
    [
        (ACME, 1 + 20 + 300),
        (ACME.narrowed("project", "search"), 20),
        (ACME.narrowed("key", "web"), 20 + 300),
        (ACME.narrowed("alias", "pro"), 1 + 20),
        (ACME.narrowed("key", "web").narrowed("alias", "pro"), 20),
        (ACME.of_user("acme", "bob"), 300),
        (ACME.of_user("acme", ""), 1),
        (ACME.narrowed("project", "search").of_user("acme", "ann"), 20),
        (ACME.narrowed("project", "search").of_user("acme", "bob"), 0),
        (Scope("globex").of_user("globex", "bob"), 4000),
        (Scope("nobody"), 0),
    ],
)
def test_a_scope_counts_its_own_records_alone(scope: Scope, charged: int) -> None:
    record(1, user="", project="", key="app", alias="pro")
    record(20, user="ann", project="search", key="web", alias="pro")
    record(300, user="bob", project="", key="web", alias="mini")
    record(4000, user="bob", project="search", key="web", alias="pro", tenant="globex")
    assert settled(scope) == charged


def test_the_gateways_money_is_cost_of_all_tenants() -> None:
    record(100)
    record(4000, tenant="globex", model="mini")
    assert settled(GATEWAY) == 410
    assert settled(GATEWAY.narrowed("model", "mini")) == 400
    assert settled(GATEWAY.of_user("globex", "ada")) == 400


@pytest.mark.parametrize(
    "name", ["team", "2026", "0", "007", "a.b", "a-b", "a_b", "1.5", "null", "true"]
)
def test_a_label_is_found_whatever_it_is_called(name: str) -> None:
    """A name of digits alone is no place in a list."""
    record(1, labels={name: "search", "other": "x"})
    record(20, labels={name: "other", "search": name})
    record(300, labels={"other": "search"})
    record(4000)
    assert settled(ACME.narrowed(f"label:{name}", "search")) == 1


@pytest.mark.parametrize(
    "value", ["", "search", "2026", "1.0", "true", "null", '"', "a b:/+@-", "Käse", "{}", "it's %s"]
)
def test_a_label_is_found_whatever_it_says(value: str) -> None:
    record(1, labels={"team": value})
    record(20, labels={"team": f"{value}."})
    record(300, labels={})
    assert settled(ACME.narrowed("label:team", value)) == 1


def test_of_two_labels_both_must_be_there() -> None:
    record(1, labels={"team": "search", "env": "prod"})
    record(20, labels={"team": "search"})
    assert settled(ACME.narrowed("label:team", "search").narrowed("label:env", "prod")) == 1


# ---- when


def test_a_period_counts_from_its_first_second_to_its_last() -> None:
    period = period_at("day", "Asia/Tokyo", NOON.timestamp())
    start = datetime.datetime.fromtimestamp(period.start, datetime.UTC)
    end = datetime.datetime.fromtimestamp(period.end, datetime.UTC)
    tick = datetime.timedelta(microseconds=1)
    record(1, started_at=start - tick)
    record(20, started_at=start)
    record(300, started_at=end - tick)
    record(4000, started_at=end)
    assert settled(period=period) == 320
    assert settled(period=ALWAYS) == 4321


# ---- how much


def test_tokens_are_those_of_every_bucket() -> None:
    buckets = {
        "input_tokens": 1,
        "cached_input_tokens": 20,
        "cache_write_tokens": 300,
        "output_tokens": 4_000,
        "reasoning_tokens": 50_000,
    }
    record(7, **buckets)
    record(7, **buckets)
    assert settled(rule=purse(tokens=10)) == 2 * 54_321


def test_amounts_are_whole_however_large() -> None:
    for _ in range(3):
        record(LARGEST)
    assert settled() == 3 * LARGEST


def test_what_has_no_price_yet_counts_nothing() -> None:
    record(5)
    UsageRecordFactory(charge=None, cost=None, quarantined=True)
    assert settled() == 5


def test_nothing_is_nothing() -> None:
    assert settled() == 0
    assert used_lately(limit("tokens_per_day"), ACME, apart_from=()) == 0


# ---- apart from whom


def test_what_is_counted_elsewhere_is_left_out() -> None:
    """Holds count for themselves until they are forgotten."""
    held, other = record(1), record(20)
    assert settled(apart_from=[str(held.record_id)]) == 20
    assert settled(apart_from=[str(held.record_id), str(other.record_id)]) == 0
    assert settled(apart_from=[str(uuid.uuid4()) for _ in range(500)]) == 21


# ---- adjustments


def test_an_adjustment_counts_in_its_own_purse_and_period_alone() -> None:
    record(100)
    day = period_at("day", "UTC", NOON.timestamp())
    rule = purse()
    for amount in (7, -30):
        BudgetAdjustmentFactory(counter=rule.key(ACME, day), amount=amount)
    BudgetAdjustmentFactory(counter=rule.key(ACME.of_user("acme", "bob"), day), amount=1000)
    assert settled(period=day) == 77
    assert settled(period=ALWAYS) == 100
    assert settled(ACME.of_user("acme", "bob"), period=day) == 1000
    keys = [rule.key(ACME, day), "{t1}nobody||charge|UTC|total"]
    assert adjusted(keys) == {rule.key(ACME, day): -23}
    assert adjusted([]) == {}


def test_who_adjusts_is_heard_for_a_while() -> None:
    now = timezone.now()
    long_ago = now - ADJUSTED_LATELY - datetime.timedelta(seconds=5)
    BudgetAdjustmentFactory(counter="old", created_at=long_ago)
    for _ in range(2):
        BudgetAdjustmentFactory(counter="new", created_at=now - ADJUSTED_LATELY / 2)
    assert adjusted_lately() == {"new"}


# ---- limits


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("requests_per_second", 1),
        ("requests_per_minute", 2),
        ("requests_per_hour", 3),
        ("requests_per_day", 4),
        ("tokens_per_minute", 2 * 120),
        ("tokens_per_day", 4 * 120),
    ],
)
def test_a_limit_knows_what_its_last_window_used(name: str, used: int) -> None:
    now = timezone.now()
    for seconds in (-1, 50, 3_000, 80_000, 90_000):  # the first by a clock ahead of ours
        record(1, started_at=now - datetime.timedelta(seconds=seconds))
    record(1, started_at=now, tenant="globex")
    assert used_lately(limit(name), ACME, apart_from=()) == used


def test_a_limit_leaves_out_what_is_held() -> None:
    held = record(1, started_at=timezone.now())
    record(1, started_at=timezone.now())
    rule = limit("requests_per_day")
    assert used_lately(rule, ACME, apart_from=[str(held.record_id)]) == 1


# ---- users


def test_the_users_who_used_most_come_first() -> None:
    for user, charge in [("ann", 5), ("bob", 7), ("ann", 5), ("cid", 1), ("", 3)]:
        record(charge, user=user)
    record(50, user="bob", tenant="globex")
    each = purse(ACME, scope="user")
    found = used_by_users(each, ALWAYS, most=3)
    assert list(found.items()) == [(("acme", "ann"), 10), (("acme", "bob"), 7), (("acme", ""), 3)]
    assert used_by_users(each, ALWAYS, most=9, user="cid") == {("acme", "cid"): 1}
    assert used_by_users(each, ALWAYS, most=9, user="nobody") == {}


def test_users_of_the_gateway_are_apart_by_tenant_and_those_without_a_price_last() -> None:
    record(50, user="bob", tenant="globex")
    record(20, user="bob")
    UsageRecordFactory(user="zoe", cost=None, charge=None)
    found = used_by_users(purse(GATEWAY, scope="user"), ALWAYS, most=9)
    assert list(found.items()) == [
        (("globex", "bob"), 5),
        (("acme", "bob"), 2),
        (("acme", "zoe"), 0),
    ]


def test_users_may_be_those_of_some_keys() -> None:
    record(1, key_id="one")
    record(20, key_id="two", user="ann")
    assert used_by_users(limit("requests_per_day"), ALWAYS, most=9, keys={"two"}) == {
        ("acme", "ann"): 1
    }
    assert used_by_users(limit("requests_per_day"), ALWAYS, most=9, keys=()) == {}


# ---- copies


def mirror(of: UsageRecord, cost: int) -> None:
    AttemptFactory(record_id=of.record_id, ordinal=2, role="mirror", cost=cost, charge=0)


def test_what_copies_cost_counts_in_the_gateways_budgets_alone() -> None:
    one, other = record(1000), record(1000, alias="mini")
    mirror(one, 30)
    mirror(other, 7)
    assert settled(GATEWAY) == 237
    assert settled(ACME) == 2000
    mini = GATEWAY.narrowed("alias", "mini")
    assert settled(mini) == 107


def test_a_copy_counts_in_the_period_of_its_request() -> None:
    late = NOON + datetime.timedelta(days=40)
    mirror(record(1000), 30)
    mirror(record(1000, started_at=late), 7)
    assert settled(GATEWAY, period_at("month", "UTC", late.timestamp())) == 107


def test_a_copy_that_is_held_is_not_counted_twice() -> None:
    made = record(1000)
    mirror(made, 30)
    assert settled(GATEWAY, apart_from=[f"mirror:{made.record_id}"]) == 100
    assert settled(GATEWAY, apart_from=[str(made.record_id)]) == 30


def test_a_hedge_is_part_of_its_record() -> None:
    made = record(1000)
    AttemptFactory(record_id=made.record_id, role="hedge", cost=30, charge=300)
    assert settled(GATEWAY) == 100
