"""What one request asks of limits and budgets."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.budgets import Calendar, period_at
from billing.claims import Claim, Outline, limit_claims, purse_claims, strictest
from billing.counters.asks import NO_LIMIT, Ask
from billing.limits import Limit
from billing.plans import NO_TERMS, Asking, Plan, Terms, caller_plan, owners
from billing.scopes import Scope
from proxy.bounds import Bound, Exposure
from proxy.claims import ASSUMED_OUTPUT, Plans, Wanted
from proxy.exchange import Exchange, Rates
from proxy.snapshot import Snapshot
from routing.choose import Target
from routing.snapshots import AliasSnapshot
from tests.proxy.asking import STARTED, exchange, model, rate, tenant

CHAT = {"model": "pro", "messages": [{"role": "user", "content": "Hi"}]}
MONTH = {"amount": "10", "period": "month"}


def plan(limits: Any = None, *budgets: Any) -> Plan:
    asking = Asking("acme", "", "web", "")
    own = Terms(limits or {}, budgets)
    owned = owners(asking, gateway=NO_TERMS, tenant=own, project=None, key=None, tier=None)
    return caller_plan(owned, alias="pro", timezone="UTC")


def claims(found: Plan, asked: Exchange | None = None) -> list[Claim]:
    asked = asked or exchange("/v1/chat/completions", CHAT)
    return [
        *limit_claims(found.limits, "acme", asked.user),
        *purse_claims(
            found,
            Calendar(),
            tenant="acme",
            user=asked.user,
            labels=asked.labels,
            moment=asked.started_at,
        ),
    ]


def exposure(size: int, output: int | None, price: int = 10) -> Exposure:
    return Exposure(Bound(size, output), Rates(cost=rate(2, 2), charge=rate(1, price)))


def wanted(*exposures: Exposure, answers: int = 1, asked: int | None = None) -> Wanted:
    return Wanted(exposures, answers=answers, asked=asked)


# ---- what would be used at most


def test_money_and_tokens_are_those_of_the_dearest_target() -> None:
    want = wanted(exposure(100, 10), exposure(50, 30), asked=10)
    assert (want.most("tokens"), want.most("charge"), want.most("cost")) == (110, 350_000, 220_000)
    assert want.tokens == 110


def test_what_was_asked_for_is_taken_as_it_is() -> None:
    assert wanted(exposure(100, 40_000), asked=40_000).tokens == 40_100


@pytest.mark.parametrize(
    ("output", "answers", "tokens"),
    [
        (None, 1, 100 + ASSUMED_OUTPUT),
        (None, 3, 100 + 3 * ASSUMED_OUTPUT),
        (16_384, 1, 100 + ASSUMED_OUTPUT),
        (2 * 16_384, 2, 100 + 2 * ASSUMED_OUTPUT),
        (20, 1, 120),
        (0, 1, 100),
    ],
)
def test_a_limit_takes_a_usual_answer_where_none_was_named(
    output: int | None, answers: int, tokens: int
) -> None:
    assert wanted(exposure(100, output), answers=answers).tokens == tokens


def test_a_budget_is_never_content_with_a_usual_answer() -> None:
    assert wanted(exposure(100, 16_384)).most("tokens") == 16_484
    assert wanted(exposure(100, None)).most("charge") is None


def test_it_is_worked_out_once() -> None:
    bounded = exposure(100, 10)
    want = wanted(bounded, asked=10)
    before = want.most("charge")
    bounded.bound.output = 99
    assert want.most("charge") == before


# ---- claims


def test_each_limit_and_budget_makes_a_claim_of_the_requests_user() -> None:
    found = plan(
        {"concurrency": 1, "per_user": {"requests_per_day": 2}}, {**MONTH, "scope": "user"}
    )
    asked = exchange("/v1/chat/completions", CHAT, user="ann")
    slots, requests, purse = claims(found, asked)
    ann = Scope("acme").of_user("acme", "ann")
    assert [claim.scope for claim in (slots, requests, purse)] == [Scope("acme"), ann, ann]
    assert requests.ask.key.startswith(ann.key)
    assert purse.period == period_at("month", "UTC", STARTED)
    assert purse.ask.take == 0


def test_a_label_budget_counts_requests_that_bear_it() -> None:
    found = plan({}, {**MONTH, "scope": "label:team=search"})
    for labels, count in [({}, 0), ({"team": "other"}, 0), ({"team": "search", "env": "x"}, 1)]:
        asked = exchange("/v1/chat/completions", CHAT, labels=labels)
        assert len(claims(found, asked)) == count


# ---- of two rules in one counter, the narrower


def claim(most: int, amount: int = 10, key: str = "{t1}a||requests|60000") -> Claim:
    return Claim(cast(Limit, None), Scope("a"), None, Ask(0, key, 1, most, amount, 60_000))


def test_the_narrower_of_two_rules_is_asked() -> None:
    for pair in ([claim(5), claim(3)], [claim(3), claim(5)]):
        assert strictest(pair) == [claim(3)]


def test_of_equal_buckets_the_slower_is_asked() -> None:
    assert strictest([claim(5, 20), claim(5, 10), claim(5, 30)]) == [claim(5, 10)]


def test_a_soft_budget_never_stands_before_a_hard_one() -> None:
    for pair in ([claim(NO_LIMIT), claim(5)], [claim(5), claim(NO_LIMIT)]):
        assert strictest(pair) == [claim(5)]
    assert strictest([claim(NO_LIMIT), claim(NO_LIMIT)]) == [claim(NO_LIMIT)]


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(1, 3), st.sampled_from("abc"))))
def test_every_counter_is_asked_once_by_its_narrowest_rule(
    given_rules: list[tuple[int, int, str]],
) -> None:
    made = [claim(*rule) for rule in given_rules]
    found = strictest(made)
    keys = [one.ask.key for one in found]
    assert sorted(keys) == sorted({one.ask.key for one in made})
    for one in found:
        others = [other.ask for other in made if other.ask.key == one.ask.key]
        hard = [other.most for other in others if other.most >= 0]
        assert one.ask.most == min(hard, default=NO_LIMIT)


# ---- filled in


def filled(found: Plan, want: Wanted, *, is_free: bool = False) -> dict[str, int]:
    made = Outline(claims(found)).claims(want, is_free=is_free)
    return {one.rule.unit: one.ask.take for one in made}


ALL = plan(
    {"concurrency": 4, "requests_per_day": 10, "tokens_per_day": {"amount": 900, "burst": 300}},
    MONTH,
    {"tokens": 5_000, "period": "day"},
)


def test_a_request_takes_one_its_tokens_and_its_worst() -> None:
    assert filled(ALL, wanted(exposure(100, 10), asked=10)) == {
        "concurrency": 1,
        "requests": 1,
        "tokens": 110,
        "charge": 200_000,
    }


def test_of_a_bucket_that_is_too_small_all_is_taken() -> None:
    limits = plan({"tokens_per_day": {"amount": 900, "burst": 300}})
    assert filled(limits, wanted(exposure(250, 200), asked=200)) == {"tokens": 300}


def test_what_is_free_takes_no_tokens_and_no_money() -> None:
    want = wanted(exposure(100, 10), asked=10)
    assert filled(ALL, want, is_free=True) == {"concurrency": 1, "requests": 1}


def test_without_a_bound_a_hard_budget_has_no_room_and_a_soft_one_holds_nothing() -> None:
    boundless = wanted(exposure(100, None))
    assert filled(plan({}, MONTH), boundless) == {"charge": 10 * 10**9 + 1}
    assert filled(plan({}, {**MONTH, "hard": False}), boundless) == {"charge": 0}


def test_the_smallest_bucket_of_tokens_is_known() -> None:
    found = plan({"tokens_per_day": 900, "tokens_per_hour": {"amount": 800, "burst": 70}})
    smallest = Outline(claims(found)).smallest
    assert smallest is not None
    assert smallest.ask.most == 70
    assert Outline(claims(plan({"concurrency": 1}))).smallest is None


# ---- made once


def asked_at(moment: float, snapshot: Snapshot, **facts: Any) -> Exchange:
    made = exchange("/v1/chat/completions", CHAT, **facts)
    made.started_at, made.snapshot = moment, snapshot
    budgets = [{"amount": "1", "period": "day"}, {"amount": "1", "period": "hour"}]
    assert made.caller is not None
    own = tenant(terms=Terms({"concurrency": 4}, [*budgets, {**MONTH, "scope": "label:a=b"}]))
    made.caller = dataclasses.replace(made.caller, tenant=own)
    made.alias = AliasSnapshot("pro", "", "", "chat", (), (), frozenset())
    return made


@pytest.fixture
def snapshot() -> Snapshot:
    """As much of one as plans look at."""
    return cast(Snapshot, SimpleNamespace(routing=SimpleNamespace(terms=NO_TERMS), tiers={}))


class Asker:
    """Who asks for outlines, one request after another."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.plans, self.snapshot = Plans(), snapshot
        self.target = Target(model(), None)

    def outline(self, moment: float, **facts: Any) -> Outline:
        asked = asked_at(moment, self.snapshot, **facts)
        plan = self.plans.of_caller(asked)
        return self.plans.outline(asked, plan, self.target)

    def periods(self, moment: float) -> list[str]:
        want = wanted(exposure(1, 1))
        made = self.outline(moment).claims(want, is_free=False)
        return [one.period.name for one in made if one.period is not None]


def expected(moment: float) -> list[str]:
    return [period_at(kind, "UTC", moment).name for kind in ("day", "hour")]


def test_requests_alike_share_an_outline(snapshot: Snapshot) -> None:
    asker = Asker(snapshot)
    assert asker.outline(STARTED) is asker.outline(STARTED + 1)
    assert asker.outline(STARTED) is not asker.outline(STARTED, user="ann")
    assert asker.outline(STARTED) is not asker.outline(STARTED, labels={"a": "b"})


def test_an_outline_ends_with_the_first_of_its_periods(snapshot: Snapshot) -> None:
    asker = Asker(snapshot)
    ends = period_at("hour", "UTC", STARTED).end
    for moment in (STARTED, ends - 0.001, ends, ends + 86_400):
        assert asker.periods(moment) == expected(moment)


def test_a_request_counts_in_the_period_in_which_it_began_however_late_it_is_admitted(
    snapshot: Snapshot,
) -> None:
    """Its body took long, or it waited in a line; others came after it and were quicker."""
    asker = Asker(snapshot)
    midnight = period_at("day", "UTC", STARTED).end
    for moment in (midnight + 0.2, midnight - 0.1, midnight + 0.3, midnight - 3_700):
        assert asker.periods(moment) == expected(moment)
