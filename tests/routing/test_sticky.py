"""The same caller stays on its side."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.facts import Facts
from routing.snapshots import RouteSnapshot
from routing.sticky import caller_of, in_sticky_order
from tests.routing.snapshots_by_hand import alias, route, usable

CALLERS = 10_000
MODELS = {name: usable(name) for name in "abcd"}


def _route(weights: dict[str, int], *, position: int = 0, sticky: str = "user") -> RouteSnapshot:
    targets = [(MODELS[name], weight) for name, weight in weights.items()]
    return route(*targets, position=position, sticky=sticky)


def _sides(weights: dict[str, int], *, name: str = "pro", position: int = 0) -> list[str]:
    """Where each of many users is, first choice."""
    of = _route(weights, position=position)
    whose = alias(of, name=name)
    return [
        in_sticky_order(whose, of, Facts(tenant="acme", user=f"user-{n}"))[0].model.name
        for n in range(CALLERS)
    ]


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1},
        {"a": 90, "b": 10},
        {"a": 99, "b": 1},
        {"a": 5, "b": 3, "c": 2},
        {"a": 0, "b": 7, "c": 3},
        {"a": 70, "b": 20, "c": 10},
        {"a": 1_000_000, "b": 1},
    ],
)
def test_shares_are_within_one_percent_over_ten_thousand_callers(weights: dict[str, int]) -> None:
    found, total = Counter(_sides(weights)), sum(weights.values())
    for name, weight in weights.items():
        assert abs(found[name] / CALLERS - weight / total) < 0.01
        assert weight > 0 or name not in found


def test_the_same_caller_is_always_on_the_same_side() -> None:
    weights = {"a": 1, "b": 1}
    assert _sides(weights) == _sides(weights)


def test_raising_a_weight_moves_callers_to_that_target_alone_and_no_more_than_needed() -> None:
    before, after = _sides({"a": 95, "b": 5}), _sides({"a": 95, "b": 15})
    moved = [(was, now) for was, now in zip(before, after, strict=True) if was != now]
    assert set(moved) == {("a", "b")}
    gained = 15 / 110 - 5 / 100
    assert len(moved) / CALLERS == pytest.approx(gained, abs=0.01)


def test_taking_a_target_out_moves_only_its_own_callers() -> None:
    before, after = _sides({"a": 1, "b": 1, "c": 1}), _sides({"a": 1, "b": 1})
    assert {was for was, now in zip(before, after, strict=True) if was != now} == {"c"}


def test_the_order_in_which_targets_are_written_does_not_matter() -> None:
    assert _sides({"a": 3, "b": 1}) == _sides({"b": 1, "a": 3})


def test_two_routes_or_aliases_put_their_callers_on_sides_independently() -> None:
    weights = {"a": 1, "b": 1}
    for other in (_sides(weights, position=1), _sides(weights, name="mini")):
        same = sum(one == two for one, two in zip(_sides(weights), other, strict=True))
        assert abs(same / CALLERS - 0.5) < 0.02


def test_a_caller_whose_target_is_out_goes_where_it_would_be_without_that_target() -> None:
    whole, without = _route({"a": 1, "b": 1, "c": 1}), _route({"b": 1, "c": 1})
    for n in range(200):
        facts = Facts(tenant="acme", user=f"user-{n}")
        order = [one.model.name for one in in_sticky_order(alias(whole), whole, facts)]
        rest = [one.model.name for one in in_sticky_order(alias(without), without, facts)]
        assert [name for name in order if name != "a"] == rest


def test_without_a_user_the_key_decides_and_without_a_key_the_tenant() -> None:
    ada = Facts(tenant="acme", user="ada", key="frontend")
    assert caller_of(ada, "user") == "acme/user/ada"
    assert caller_of(Facts(tenant="acme", key="frontend"), "user") == "acme/key/frontend"
    assert caller_of(Facts(tenant="acme"), "user") == "acme"
    assert caller_of(ada, "tenant") == "acme"


def test_sticky_by_tenant_keeps_all_users_of_a_tenant_together() -> None:
    of = _route({"a": 1, "b": 1}, sticky="tenant")
    for tenant in ("acme", "globex", "initech"):
        firsts = {
            in_sticky_order(alias(of), of, Facts(tenant=tenant, user=f"{n}"))[0].model.name
            for n in range(50)
        }
        assert len(firsts) == 1


@given(st.text(), st.text())
def test_whatever_users_are_called_they_have_a_side(tenant: str, user: str) -> None:
    of = _route({"a": 2, "b": 1, "c": 0})
    order = in_sticky_order(alias(of), of, Facts(tenant=tenant, user=user))
    assert sorted(one.model.name for one in order) == ["a", "b", "c"]
    assert order[-1].model.name == "c"
