"""Which targets may answer, and in which order: weights, fallbacks, conditions, credentials."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.choose import choose, in_weighted_order
from routing.facts import Facts
from routing.snapshots import (
    DEFAULT_FALLBACK_ON,
    AliasSnapshot,
    CredentialSnapshot,
    ModelSnapshot,
    ProviderSnapshot,
    RouteSnapshot,
    RouteTargetSnapshot,
    Timeouts,
)

ANYBODY = Facts(tenant="acme")
DRAWS = 20_000
WITHIN = 0.02
"""Five standard deviations of a share that is drawn DRAWS times, and some."""


def _credential(name: str, weight: int = 1) -> CredentialSnapshot:
    return CredentialSnapshot(name, f"secret of {name}", "", weight)


def _model(
    name: str, *credentials: CredentialSnapshot, needs_credential: bool = True
) -> ModelSnapshot:
    provider = ProviderSnapshot(
        name=f"{name}'s provider",
        tenant="",
        dialect="openai",
        base_url="https://api.example",
        credentials=credentials,
        needs_credential=needs_credential,
        inject_headers={},
        timeouts=Timeouts(5, 60, 60, 600),
        options={},
    )
    return ModelSnapshot(name, "", provider, name, "chat", None, None)


def _usable(name: str) -> ModelSnapshot:
    return _model(name, _credential("main"))


def _without_credential(name: str) -> ModelSnapshot:
    return _model(name)


def _alias(*routes: RouteSnapshot, fallbacks: tuple[ModelSnapshot, ...] = ()) -> AliasSnapshot:
    return AliasSnapshot("pro", "", "", "chat", routes, fallbacks, DEFAULT_FALLBACK_ON)


def _route(
    *targets: tuple[ModelSnapshot, int], position: int = 0, when: dict[str, Any] | None = None
) -> RouteSnapshot:
    pairs = tuple(RouteTargetSnapshot(model, weight) for model, weight in targets)
    return RouteSnapshot(position, when or {}, pairs)


def _names(alias: AliasSnapshot, draw: Callable[[], float] = random.random) -> list[str]:
    return [target.model.name for target in choose(alias, ANYBODY, draw=draw).targets]


# ---- weights


@pytest.mark.parametrize(
    "weights", [(1, 1), (9, 1), (1, 9), (5, 3, 2), (100, 1, 1), (1, 0), (0, 7, 3), (1_000_000, 1)]
)
def test_each_target_comes_first_as_often_as_its_weight_says(weights: tuple[int, ...]) -> None:
    draw = random.Random(1).random
    targets = [RouteTargetSnapshot(_usable(str(n)), weight) for n, weight in enumerate(weights)]
    firsts = Counter(in_weighted_order(targets, draw)[0].model.name for _ in range(DRAWS))
    for number, weight in enumerate(weights):
        share = firsts[str(number)] / DRAWS
        assert abs(share - weight / sum(weights)) < WITHIN
        assert weight > 0 or share == 0


def test_the_second_place_is_drawn_by_weight_among_those_that_are_left() -> None:
    draw = random.Random(2).random
    targets = [RouteTargetSnapshot(_usable(name), w) for name, w in [("a", 6), ("b", 3), ("c", 1)]]
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
    targets = [RouteTargetSnapshot(_usable(str(n)), w) for n, w in enumerate(given_weights)]
    order = in_weighted_order(targets, lambda: data.draw(draws))
    assert sorted(t.model.name for t in order) == sorted(t.model.name for t in targets)
    spares = [target for target in targets if target.weight == 0]
    assert order[len(order) - len(spares) :] == spares


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-53])
def test_the_ends_of_what_can_be_drawn_choose_a_target_with_weight(drawn: float) -> None:
    targets = [RouteTargetSnapshot(_usable(name), w) for name, w in [("a", 0), ("b", 3), ("c", 7)]]
    order = [target.model.name for target in in_weighted_order(targets, lambda: drawn)]
    assert order == (["b", "c", "a"] if drawn == 0 else ["c", "b", "a"])


@pytest.mark.parametrize(
    ("drawn", "first"), [(0.0, "a"), (0.249, "a"), (0.25, "b"), (0.749, "b"), (0.75, "c")]
)
def test_each_weight_has_its_own_stretch_of_what_can_be_drawn(drawn: float, first: str) -> None:
    targets = [RouteTargetSnapshot(_usable(name), w) for name, w in [("a", 1), ("b", 2), ("c", 1)]]
    assert in_weighted_order(targets, lambda: drawn)[0].model.name == first
    pool = [_credential(target.model.name, target.weight) for target in targets]
    choice = choose(_alias(_route((_model("m", *pool), 1))), ANYBODY, draw=lambda: drawn)
    credential = choice.targets[0].credential
    assert credential is not None
    assert credential.name == first


# ---- targets and fallbacks


models = st.sampled_from([_usable(n) for n in "abc"] + [_without_credential(n) for n in "xy"])


@given(st.lists(st.tuples(models, st.integers(0, 3)), min_size=1), st.lists(models), st.data())
def test_every_usable_target_and_fallback_comes_exactly_once_and_nothing_else(
    targets: list[tuple[ModelSnapshot, int]], fallbacks: list[ModelSnapshot], data: st.DataObject
) -> None:
    alias = _alias(_route(*targets), fallbacks=tuple(fallbacks))
    choice = choose(alias, ANYBODY, draw=lambda: data.draw(draws))
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
    a, b, c, d = (_usable(name) for name in "abcd")
    alias = _alias(_route((b, 1)), fallbacks=(d, a, b, d, c))
    choice = choose(alias, ANYBODY)
    assert [(t.model.name, t.is_fallback) for t in choice.targets] == [
        ("b", False),
        ("d", True),
        ("a", True),
        ("c", True),
    ]


def test_a_target_without_a_credential_in_force_is_left_out() -> None:
    alias = _alias(_route((_without_credential("x"), 9), (_usable("a"), 1)))
    assert _names(alias) == ["a"]


def test_nothing_usable_leaves_a_choice_without_targets() -> None:
    choice = choose(_alias(_route((_without_credential("x"), 1))), ANYBODY)
    assert (choice.route, choice.targets) == (0, ())


def test_a_provider_that_needs_no_credential_is_used_without_one() -> None:
    choice = choose(_alias(_route((_model("local", needs_credential=False), 1))), ANYBODY)
    assert [target.credential for target in choice.targets] == [None]


# ---- credentials


@pytest.mark.parametrize("pool", [(1, 1), (3, 1), (0, 2, 2), (5, 0)])
def test_credentials_are_drawn_by_weight(pool: tuple[int, ...]) -> None:
    draw = random.Random(3).random
    model = _model("m", *(_credential(str(n), weight) for n, weight in enumerate(pool)))
    alias = _alias(_route((model, 1)))
    used: Counter[str] = Counter()
    for _ in range(DRAWS):
        credential = choose(alias, ANYBODY, draw=draw).targets[0].credential
        assert credential is not None
        used[credential.name] += 1
    for number, weight in enumerate(pool):
        assert abs(used[str(number)] / DRAWS - weight / sum(pool)) < WITHIN
        assert weight > 0 or used[str(number)] == 0


def test_spare_credentials_serve_where_there_is_no_other() -> None:
    model = _model("m", _credential("first", 0), _credential("second", 0))
    credential = choose(_alias(_route((model, 1))), ANYBODY).targets[0].credential
    assert credential is not None
    assert credential.name == "first"


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
def test_a_spare_credential_is_never_drawn_beside_others(drawn: float) -> None:
    pool = [_credential("spare", 0), _credential("main", 1), _credential("other spare", 0)]
    credential = (
        choose(_alias(_route((_model("m", *pool), 1))), ANYBODY, draw=lambda: drawn)
        .targets[0]
        .credential
    )
    assert credential is not None
    assert credential.name == "main"


def test_a_credential_does_not_show_its_secret() -> None:
    choice = choose(_alias(_route((_usable("a"), 1))), ANYBODY)
    assert "secret" not in repr(choice)


# ---- routes and their conditions


def test_the_first_route_that_holds_decides() -> None:
    a, b, c = (_usable(name) for name in "abc")
    alias = _alias(
        _route((a, 1), position=0, when={"tier": "enterprise"}),
        _route((b, 1), position=1, when={"tenant": ["acme", "globex"]}),
        _route((c, 1), position=2),
    )
    for facts, route, name in [
        (Facts(tenant="acme", tier="enterprise"), 0, "a"),
        (Facts(tenant="globex"), 1, "b"),
        (Facts(tenant="initech"), 2, "c"),
    ]:
        choice = choose(alias, facts)
        assert (choice.route, choice.targets[0].model.name) == (route, name)


def test_a_route_that_holds_decides_even_when_nothing_in_it_is_usable() -> None:
    alias = _alias(_route((_without_credential("x"), 1)), _route((_usable("a"), 1), position=1))
    assert choose(alias, ANYBODY).route == 0
    assert _names(alias) == []


def test_no_route_that_holds_means_no_choice_and_no_fallback() -> None:
    alias = _alias(_route((_usable("a"), 1), when={"tier": "pro"}), fallbacks=(_usable("b"),))
    choice = choose(alias, ANYBODY)
    assert (choice.route, choice.targets) == (None, ())
