"""In which order targets are tried, by each strategy."""

import random
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.config.schema_aliases import Route
from routing.load import Load
from routing.models import STRATEGIES as NAMES
from routing.snapshots import ModelSnapshot, RouteTargetSnapshot
from routing.strategies import STRATEGIES, Means, in_order
from tests.routing.snapshots_by_hand import usable

ROUTE = ("", "pro", "0")
MODELS = {name: usable(name) for name in "abcd"}


def _targets(**weights: int) -> list[RouteTargetSnapshot]:
    return [RouteTargetSnapshot(MODELS[name], weight) for name, weight in weights.items()]


def _order(strategy: str, means: Means | None = None, **weights: int) -> str:
    found = in_order(strategy, _targets(**weights), means or Means(), ROUTE)
    return "".join(target.model.name for target in found)


def _slow(load: Load, name: str, seconds: float) -> None:
    load.begin(MODELS[name].identity, 0.0).first_token(seconds)


def test_every_strategy_that_can_be_configured_is_there() -> None:
    assert set(STRATEGIES) == set(NAMES)
    assert set(STRATEGIES) == set(get_args(Route.model_fields["strategy"].annotation))


@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_every_target_comes_once_and_those_of_weight_0_last(
    strategy: str, weights: list[int], rng: random.Random
) -> None:
    named = dict(zip("abcd", weights, strict=False))
    found = _order(strategy, Means(draw=rng.random), **named)
    assert sorted(found) == sorted(named)
    spares = "".join(name for name, weight in named.items() if not weight)
    assert found.endswith(spares)


def test_priority_is_the_order_that_is_written() -> None:
    assert _order("priority", c=1, a=9, b=5) == "cab"


def test_round_robin_gives_each_its_turn() -> None:
    means = Means()
    assert [_order("round_robin", means, a=1, b=9, c=1) for _ in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]


def test_the_least_busy_has_the_fewest_calls_in_flight() -> None:
    load = Load()
    for name in "aab":
        load.begin(MODELS[name].identity, 0.0)
    assert _order("least_busy", Means(load=load), a=1, b=1, c=1) == "cba"


def test_a_target_of_twice_the_weight_is_as_busy_with_twice_the_calls() -> None:
    load = Load()
    for name in "aaab":
        load.begin(MODELS[name].identity, 0.0)
    assert _order("least_busy", Means(load=load), a=4, b=1) == "ab"


def test_equally_busy_targets_share_by_draw() -> None:
    means = Means(draw=random.Random(1).random)
    firsts = Counter(_order("least_busy", means, a=1, b=1)[0] for _ in range(2_000))
    assert abs(firsts["a"] / 2_000 - 0.5) < 0.05


def test_latency_takes_the_quicker_of_two() -> None:
    load = Load()
    _slow(load, "a", 2.0)
    _slow(load, "b", 0.5)
    assert _order("latency", Means(load=load, now=2.0), a=1, b=1) == "ba"


def test_latency_counts_waiting_behind_others_as_time() -> None:
    load = Load()
    _slow(load, "a", 0.5)
    _slow(load, "b", 1.0)
    for _ in range(5):
        load.begin(MODELS["a"].identity, 1.0)
    assert _order("latency", Means(load=load, now=1.0), a=1, b=1) == "ba"


def test_of_many_the_slowest_is_never_first_and_the_quickest_most_often_but_not_always() -> None:
    load = Load()
    for name, seconds in zip("abcd", (0.2, 0.4, 0.6, 5.0), strict=True):
        _slow(load, name, seconds)
    means = Means(draw=random.Random(2).random, load=load, now=5.0)
    firsts = Counter(_order("latency", means, a=1, b=1, c=1, d=1)[0] for _ in range(2_000))
    assert firsts["d"] == 0
    assert abs(firsts["a"] / 2_000 - 1 / 2) < 0.05
    assert abs(firsts["b"] / 2_000 - 1 / 3) < 0.05


def test_a_target_that_nobody_knows_is_tried() -> None:
    load = Load()
    _slow(load, "a", 0.1)
    assert _order("latency", Means(load=load, now=0.1), a=1, b=1) == "ba"


PRICES = {"a": 300, "b": 100, "c": 200}


@pytest.mark.parametrize(("unpriced", "expected"), [("", "bca"), ("b", "cab"), ("abc", "abc")])
def test_cost_takes_the_cheapest_first_and_what_has_no_price_last(
    unpriced: str, expected: str
) -> None:
    def price(model: ModelSnapshot) -> int | None:
        return None if model.name in unpriced else PRICES[model.name]

    assert _order("cost", Means(price=price), a=1, b=1, c=1) == expected
