"""Which targets may answer, and in which order: weights, fallbacks, conditions, credentials."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.choose import Choice, State, choose
from routing.facts import Facts
from routing.health import Health
from routing.load import Load
from routing.snapshots import AliasSnapshot, ModelSnapshot, RouteTargetSnapshot
from routing.strategies import Means, in_weighted_order
from routing.terms import Slow
from tests.routing.snapshots_by_hand import alias as an_alias
from tests.routing.snapshots_by_hand import credential as a_credential
from tests.routing.snapshots_by_hand import model as a_model
from tests.routing.snapshots_by_hand import provider as a_provider
from tests.routing.snapshots_by_hand import route as a_route
from tests.routing.snapshots_by_hand import usable

ANYBODY = Facts(tenant="acme")
DRAWS = 20_000
WITHIN = 0.02
"""Five standard deviations of a share that is drawn DRAWS times, and some."""


def _without_credential(name: str) -> ModelSnapshot:
    return a_model(name)


def _position(choice: Choice) -> int | None:
    return choice.route.position if choice.route else None


def _drawing(draw: Callable[[], float]) -> State:
    return State(means=Means(draw=draw))


def _names(alias: AliasSnapshot, draw: Callable[[], float] = random.random) -> list[str]:
    return [target.model.name for target in choose(alias, ANYBODY, _drawing(draw)).targets]


# ---- weights


@pytest.mark.parametrize(
    "weights", [(1, 1), (9, 1), (1, 9), (5, 3, 2), (100, 1, 1), (1, 0), (0, 7, 3), (1_000_000, 1)]
)
def test_each_target_comes_first_as_often_as_its_weight_says(weights: tuple[int, ...]) -> None:
    draw = random.Random(1).random
    targets = [RouteTargetSnapshot(usable(str(n)), weight) for n, weight in enumerate(weights)]
    firsts = Counter(in_weighted_order(targets, draw)[0].model.name for _ in range(DRAWS))
    for number, weight in enumerate(weights):
        share = firsts[str(number)] / DRAWS
        assert abs(share - weight / sum(weights)) < WITHIN
        assert weight > 0 or share == 0


def test_the_second_place_is_drawn_by_weight_among_those_that_are_left() -> None:
    draw = random.Random(2).random
    targets = [RouteTargetSnapshot(usable(name), w) for name, w in [("a", 6), ("b", 3), ("c", 1)]]
    seconds: Counter[str] = Counter()
    for _ in range(DRAWS):
        order = in_weighted_order(targets, draw)
        if order[0].model.name == "a":
            seconds[order[1].model.name] += 1
    assert abs(seconds["b"] / seconds.total() - 0.75) < WITHIN


weights = st.lists(st.integers(0, 5) | st.integers(0, 2**31), min_size=1, max_size=8)
draws = st.floats(0, 1, exclude_max=True)


@given(weights, st.data())
def test_every_target_is_tried_once_and_those_of_weight_0_last(
    given_weights: list[int], data: st.DataObject
) -> None:
    targets = [RouteTargetSnapshot(usable(str(n)), w) for n, w in enumerate(given_weights)]
    order = in_weighted_order(targets, lambda: data.draw(draws))
    assert sorted(t.model.name for t in order) == sorted(t.model.name for t in targets)
    spares = [target for target in targets if target.weight == 0]
    assert order[len(order) - len(spares) :] == spares


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-53])
def test_the_ends_of_what_can_be_drawn_choose_a_target_with_weight(drawn: float) -> None:
    targets = [RouteTargetSnapshot(usable(name), w) for name, w in [("a", 0), ("b", 3), ("c", 7)]]
    order = [target.model.name for target in in_weighted_order(targets, lambda: drawn)]
    assert order == (["b", "c", "a"] if drawn == 0 else ["c", "b", "a"])


@pytest.mark.parametrize(
    ("drawn", "first"), [(0.0, "a"), (0.249, "a"), (0.25, "b"), (0.749, "b"), (0.75, "c")]
)
def test_each_weight_has_its_own_stretch_of_what_can_be_drawn(drawn: float, first: str) -> None:
    targets = [RouteTargetSnapshot(usable(name), w) for name, w in [("a", 1), ("b", 2), ("c", 1)]]
    assert in_weighted_order(targets, lambda: drawn)[0].model.name == first
    pool = [a_credential(target.model.name, target.weight) for target in targets]
    choice = choose(an_alias(a_route((a_model("m", *pool), 1))), ANYBODY, _drawing(lambda: drawn))
    credential = choice.targets[0].credential
    assert credential is not None
    assert credential.name == first


# ---- targets and fallbacks


models = st.sampled_from([usable(n) for n in "abc"] + [_without_credential(n) for n in "xy"])


@given(st.lists(st.tuples(models, st.integers(0, 3)), min_size=1), st.lists(models), st.data())
def test_every_usable_target_and_fallback_comes_exactly_once_and_nothing_else(
    targets: list[tuple[ModelSnapshot, int]], fallbacks: list[ModelSnapshot], data: st.DataObject
) -> None:
    alias = an_alias(a_route(*targets), fallbacks=tuple(fallbacks))
    choice = choose(alias, ANYBODY, _drawing(lambda: data.draw(draws)))
    chosen = [target.model.name for target in choice.targets]
    ours = {model.name for model, _ in targets} & set("abc")
    all_usable = ours | {model.name for model in fallbacks} & set("abc")
    assert sorted(chosen) == sorted(all_usable)
    assert set(chosen[: len(ours)]) == ours
    assert [target.is_fallback for target in choice.targets] == [
        name not in ours for name in chosen
    ]
    assert all(target.credential is not None for target in choice.targets)


def test_fallbacks_follow_in_their_own_order() -> None:
    a, b, c, d = (usable(name) for name in "abcd")
    alias = an_alias(a_route((b, 1)), fallbacks=(d, a, b, d, c))
    choice = choose(alias, ANYBODY)
    assert [(t.model.name, t.is_fallback) for t in choice.targets] == [
        ("b", False),
        ("d", True),
        ("a", True),
        ("c", True),
    ]


def test_a_target_without_a_credential_in_force_is_left_out() -> None:
    alias = an_alias(a_route((_without_credential("x"), 9), (usable("a"), 1)))
    assert _names(alias) == ["a"]


def test_nothing_usable_leaves_a_choice_without_targets() -> None:
    choice = choose(an_alias(a_route((_without_credential("x"), 1))), ANYBODY)
    assert (_position(choice), choice.targets) == (0, ())


def test_a_provider_that_needs_no_credential_is_used_without_one() -> None:
    choice = choose(an_alias(a_route((a_model("local", needs_credential=False), 1))), ANYBODY)
    assert [target.credential for target in choice.targets] == [None]


# ---- credentials


@pytest.mark.parametrize("pool", [(1, 1), (3, 1), (0, 2, 2), (5, 0)])
def test_credentials_are_drawn_by_weight(pool: tuple[int, ...]) -> None:
    draw = random.Random(3).random
    model = a_model("m", *(a_credential(str(n), weight) for n, weight in enumerate(pool)))
    alias = an_alias(a_route((model, 1)))
    used: Counter[str] = Counter()
    for _ in range(DRAWS):
        credential = choose(alias, ANYBODY, _drawing(draw)).targets[0].credential
        assert credential is not None
        used[credential.name] += 1
    for number, weight in enumerate(pool):
        assert abs(used[str(number)] / DRAWS - weight / sum(pool)) < WITHIN
        assert weight > 0 or used[str(number)] == 0


def test_spare_credentials_serve_where_there_is_no_other() -> None:
    model = a_model("m", a_credential("first", 0), a_credential("second", 0))
    credential = choose(an_alias(a_route((model, 1))), ANYBODY).targets[0].credential
    assert credential is not None
    assert credential.name == "first"


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
def test_a_spare_credential_is_never_drawn_beside_others(drawn: float) -> None:
    pool = [a_credential("spare", 0), a_credential("main", 1), a_credential("other spare", 0)]
    credential = (
        choose(an_alias(a_route((a_model("m", *pool), 1))), ANYBODY, _drawing(lambda: drawn))
        .targets[0]
        .credential
    )
    assert credential is not None
    assert credential.name == "main"


def test_a_credential_does_not_show_its_secret() -> None:
    choice = choose(an_alias(a_route((usable("a"), 1))), ANYBODY)
    assert "secret" not in repr(choice)


# ---- routes and their conditions


def test_the_first_route_that_holds_decides() -> None:
    a, b, c = (usable(name) for name in "abc")
    alias = an_alias(
        a_route((a, 1), position=0, when={"tier": "enterprise"}),
        a_route((b, 1), position=1, when={"tenant": ["acme", "globex"]}),
        a_route((c, 1), position=2),
    )
    for facts, route, name in [
        (Facts(tenant="acme", tier="enterprise"), 0, "a"),
        (Facts(tenant="globex"), 1, "b"),
        (Facts(tenant="initech"), 2, "c"),
    ]:
        choice = choose(alias, facts)
        assert (_position(choice), choice.targets[0].model.name) == (route, name)


def test_a_route_that_holds_decides_even_when_nothing_in_it_isusable() -> None:
    alias = an_alias(a_route((_without_credential("x"), 1)), a_route((usable("a"), 1), position=1))
    assert _position(choose(alias, ANYBODY)) == 0
    assert _names(alias) == []


def test_no_route_that_holds_means_no_choice_and_no_fallback() -> None:
    alias = an_alias(a_route((usable("a"), 1), when={"tier": "pro"}), fallbacks=(usable("b"),))
    choice = choose(alias, ANYBODY)
    assert (choice.route, choice.targets) == (None, ())


# ---- sticky


def test_a_sticky_caller_meets_the_same_model_first_whatever_the_strategy() -> None:
    for strategy in ("weighted", "latency", "round_robin"):
        route = a_route((usable("a"), 1), (usable("b"), 1), sticky="user", strategy=strategy)
        for user in ("ada", "bob", "eve"):
            facts = Facts(tenant="acme", user=user)
            firsts = {choose(an_alias(route), facts).targets[0].model.name for _ in range(20)}
            assert len(firsts) == 1


# ---- health


def _fail(health: Health, model: ModelSnapshot, kind: str, *, retry_after: float = 60.0) -> None:
    permit = health.begin(model, model.provider.credentials[0], 0.0)
    assert permit is not None
    permit.failed(kind, 0.0, retry_after=retry_after)


def _choose(alias: AliasSnapshot, health: Health, now: float = 0.0, **facts: Any) -> Choice:
    return choose(alias, Facts(tenant="acme", **facts), State(health, now, Means()))


def _out(choice: Choice) -> list[tuple[str, str]]:
    return [(one.model.name, one.reason) for one in choice.passed_over]


def test_a_model_that_is_ill_is_left_out_until_it_is_well() -> None:
    a, b, health = usable("a"), usable("b"), Health()
    alias = an_alias(a_route((a, 1), (b, 1), strategy="priority"))
    _fail(health, a, "overloaded")
    choice = _choose(alias, health)
    assert [target.model.name for target in choice.targets] == ["b"]
    assert _out(choice) == [("a", "ill")]
    assert choice.passed_over[0].detail == "60.0s"
    assert [t.model.name for t in _choose(alias, health, 60.0).targets] == ["a", "b"]


def test_when_all_are_ill_the_choice_says_when_the_first_comes_back() -> None:
    a, b, health = usable("a"), usable("b"), Health()
    _fail(health, a, "overloaded", retry_after=40.0)
    _fail(health, b, "rate_limit", retry_after=20.0)
    choice = _choose(an_alias(a_route((a, 1)), fallbacks=(b,)), health, 5.0)
    assert (choice.targets, choice.retry_after, choice.is_too_dear) == ((), 15.0, False)


def test_a_cooled_down_credential_is_not_in_the_pool_and_its_account_neither() -> None:
    pool = [
        a_credential("main", account="org-1"),
        a_credential("twin", account="org-1"),
        a_credential("other"),
    ]
    model, health = a_model("m", *pool), Health()
    alias = an_alias(a_route((model, 1)))
    assert len(_choose(alias, health).targets[0].others) == 2
    _fail(health, model, "rate_limit")
    [target] = _choose(alias, health).targets
    assert (target.credential, target.others) == (pool[2], ())


def test_spare_credentials_serve_when_the_others_are_cooled_down() -> None:
    main, spare = a_credential("main"), a_credential("spare", 0)
    model, health = a_model("m", main, spare), Health()
    alias = an_alias(a_route((model, 1)))
    [target] = _choose(alias, health).targets
    assert (target.credential, target.others) == (main, (spare,))
    _fail(health, model, "rate_limit")
    [target] = _choose(alias, health).targets
    assert (target.credential, target.others) == (spare, ())
    permit = health.begin(model, spare, 0.0)
    assert permit is not None
    permit.failed("rate_limit", 0.0, retry_after=10.0)
    assert _choose(alias, health).retry_after == 10.0


def test_a_credential_of_which_nothing_is_left_is_the_last_but_not_out() -> None:
    main, spare = a_credential("main"), a_credential("spare", 0)
    model, health = a_model("m", main, spare), Health()
    health.note_spent(model.provider, main, 60.0, now=0.0)
    [target] = _choose(an_alias(a_route((model, 1))), health).targets
    assert (target.credential, target.others) == (spare, (main,))
    alone, health = usable("alone"), Health()
    health.note_spent(alone.provider, alone.provider.credentials[0], 60.0, now=0.0)
    assert len(_choose(an_alias(a_route((alone, 1))), health).targets) == 1


def test_a_provider_without_credentials_can_be_ill_too() -> None:
    model, health = a_model("local", needs_credential=False), Health()
    permit = health.begin(model, None, 0.0)
    assert permit is not None
    permit.failed("rate_limit", 0.0, retry_after=30.0)
    assert _choose(an_alias(a_route((model, 1))), health).retry_after == 30.0


def test_a_refused_credential_is_asked_only_where_nothing_else_is_left() -> None:
    a, b, health = usable("a"), usable("b"), Health()
    alias = an_alias(a_route((a, 1)), fallbacks=(b,))
    _fail(health, a, "auth")
    assert [target.model.name for target in _choose(alias, health).targets] == ["b"]
    _fail(health, b, "overloaded")
    [target] = _choose(alias, health).targets
    assert (target.model.name, target.is_last_resort) == ("a", True)
    assert health.begin(a, target.credential, 0.0) is None
    permit = health.begin(a, target.credential, 0.0, is_last_resort=True)
    assert permit is not None
    permit.succeeded(1.0)
    assert [target.is_last_resort for target in _choose(alias, health).targets] == [False]


def test_after_a_credential_comes_the_next_of_another_account() -> None:
    pool = [
        a_credential("main", 9, account="org-1"),
        a_credential("twin", 0, account="org-1"),
        a_credential("spare", 0),
    ]
    of = a_provider("openai", *pool)
    [target] = choose(an_alias(a_route((a_model("m", of=of), 1))), ANYBODY).targets
    following = target.with_next_credential()
    assert following is not None
    assert (following.credential, following.others) == (pool[2], ())
    assert following.with_next_credential() is None
    twin = target.with_next_credential(of_other_account=False)
    assert twin is not None
    assert (twin.credential, twin.others) == (pool[1], (pool[2],))


# ---- what a model can take


def test_a_model_whose_window_is_too_small_is_left_out_where_another_can_take_the_input() -> None:
    small, large = usable("small", window=1_000), usable("large", window=100_000)
    alias = an_alias(a_route((small, 1)), fallbacks=(large,))
    long = {"bytes": 8_000, "count_tokens": lambda: 2_000}
    choice = _choose(alias, Health(), **long)
    assert [target.model.name for target in choice.targets] == ["large"]
    assert _out(choice) == [("small", "cannot_take_it")]
    assert choice.passed_over[0].detail == "context_window"
    assert len(_choose(alias, Health(), bytes=8_000, count_tokens=lambda: 900).targets) == 2


def test_where_none_can_take_the_input_the_provider_says_so() -> None:
    small, smaller = usable("small", window=1_000), usable("smaller", window=500)
    alias = an_alias(a_route((small, 1)), fallbacks=(smaller,))
    assert len(_choose(alias, Health(), bytes=8_000, count_tokens=lambda: 2_000).targets) == 2


def test_tokens_are_not_counted_where_bytes_say_enough() -> None:
    def count() -> int:
        raise AssertionError

    alias = an_alias(a_route((usable("a", window=1_000), 1), (usable("b", window=2_000), 1)))
    assert len(_choose(alias, Health(), bytes=1_000, count_tokens=count).targets) == 2


def test_a_model_without_a_capability_is_left_out_where_another_has_it() -> None:
    blind = usable("blind", capabilities=frozenset({"tools"}))
    seeing = usable("seeing", capabilities=frozenset({"tools", "images"}))
    alias = an_alias(a_route((blind, 1)), fallbacks=(seeing, usable("undeclared")))
    with_images = _choose(alias, Health(), look_inside=lambda: frozenset({"images"}))
    assert [target.model.name for target in with_images.targets] == ["seeing", "undeclared"]
    assert [(one.reason, one.detail) for one in with_images.passed_over] == [
        ("cannot_take_it", "images")
    ]
    assert len(_choose(alias, Health()).targets) == 3


# ---- what a request may cost


PRICES = {"cheap": 100, "dear": 900, "dearest": 1_000}


def _priced(alias: AliasSnapshot, health: Health | None = None) -> Choice:
    state = State(health or Health(), worst=lambda model: PRICES.get(model.name))
    return choose(alias, ANYBODY, state)


def test_what_may_cost_too_much_is_left_out() -> None:
    cheap, dear, unknown = usable("cheap"), usable("dear"), usable("unknown")
    route = a_route((dear, 1), (cheap, 1), (unknown, 1), strategy="priority")
    choice = _priced(an_alias(route, max_cost_per_request=500))
    assert [target.model.name for target in choice.targets] == ["cheap", "unknown"]
    assert _out(choice) == [("dear", "too_dear")]
    assert len(_priced(an_alias(route, max_cost_per_request=900)).targets) == 3
    assert len(_priced(an_alias(route)).targets) == 3


def test_when_all_cost_too_much_the_choice_says_so() -> None:
    route = a_route((usable("dear"), 1))
    alias = an_alias(route, fallbacks=(usable("dearest"),), max_cost_per_request=500)
    choice = _priced(alias)
    assert (choice.targets, choice.is_too_dear, choice.retry_after) == ((), True, None)


def test_when_the_affordable_are_ill_waiting_helps() -> None:
    cheap, health = usable("cheap"), Health()
    _fail(health, cheap, "overloaded")
    alias = an_alias(a_route((usable("dear"), 1), (cheap, 1)), max_cost_per_request=500)
    choice = _priced(alias, health)
    assert (choice.targets, choice.is_too_dear, choice.retry_after) == ((), False, 60.0)


# ---- slow


def _paced(alias: AliasSnapshot, **pace: int) -> Choice:
    """A choice where these models spoke so many tokens a second lately."""
    load = Load()
    for name, tokens in pace.items():
        load.begin(("", name), 0.0)
        load.note_pace(("", name), tokens * 100, 100.0, 0.0)
    return choose(alias, Facts(tenant="acme"), State(means=Means(load=load)))


def _floor(*, of: float = 5.0, **fields: Any) -> AliasSnapshot:
    route = a_route((usable("a"), 1), (usable("b"), 1), strategy="priority")
    alias = an_alias(route, slow=Slow(tokens_per_second=of), **fields)
    return replace(alias, fallback_on=frozenset({"slow"}))


def test_a_model_that_speaks_too_slowly_is_asked_last() -> None:
    choice = _paced(_floor(), a=4)
    assert [target.model.name for target in choice.targets] == ["b", "a"]
    assert _out(choice) == [("a", "slow")]


def test_a_model_that_keeps_the_pace_stays_where_it_is() -> None:
    choice = _paced(_floor(), a=5, b=100)
    assert [target.model.name for target in choice.targets] == ["a", "b"]
    assert not choice.passed_over


def test_where_all_are_slow_the_order_stands() -> None:
    choice = _paced(_floor(), a=1, b=2)
    assert [target.model.name for target in choice.targets] == ["a", "b"]
    assert not choice.passed_over


def test_an_alias_that_does_not_fall_back_on_slow_has_no_floor() -> None:
    alias = replace(_floor(), fallback_on=frozenset({"timeout"}))
    assert [target.model.name for target in _paced(alias, a=1).targets] == ["a", "b"]
