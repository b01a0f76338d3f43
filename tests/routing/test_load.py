"""How busy and how quick targets are, by a clock that stands where the test puts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import load
from routing.load import FAILED_SECONDS, FEWEST_TOKENS, HALF_LIFE, PACE_SECONDS, Load

A, B = ("", "a"), ("", "b")


def _answered(state: Load, *, began: float, seconds: float) -> None:
    call = state.begin(A, began)
    call.first_token(began + seconds)
    call.end(began + seconds)


def test_calls_are_in_flight_from_their_begin_to_their_end() -> None:
    state = Load()
    first, second = state.begin(A, 0.0), state.begin(A, 0.0)
    assert (state.in_flight(A), state.in_flight(B)) == (2, 0)
    first.end(1.0)
    first.end(2.0)
    assert state.in_flight(A) == 1
    second.end(1.0, failed=True)
    assert state.in_flight(A) == 0


def test_a_slower_answer_counts_at_once() -> None:
    state = Load()
    _answered(state, began=0.0, seconds=0.1)
    _answered(state, began=1.0, seconds=2.0)
    assert state.latency(A, 3.0) == pytest.approx(2.0)


def test_a_faster_answer_counts_only_as_the_slower_one_fades() -> None:
    state = Load()
    _answered(state, began=0.0, seconds=2.0)
    _answered(state, began=2.0, seconds=0.1)
    assert state.latency(A, 2.1) > 1.8
    for second in range(60):
        _answered(state, began=3.0 + second, seconds=0.1)
    assert state.latency(A, 62.1) == pytest.approx(0.1, abs=0.1)


def test_what_was_seen_loses_half_its_weight_in_a_half_life() -> None:
    state = Load()
    _answered(state, began=0.0, seconds=2.0)
    assert state.latency(A, 2.0 + HALF_LIFE) == pytest.approx(1.0)
    assert state.latency(A, 2.0 + 3 * HALF_LIFE) == pytest.approx(0.25)


def test_nothing_is_known_of_a_target_that_nobody_called() -> None:
    assert Load().latency(A, 5.0) == 0.0


def test_a_quick_failure_is_no_quick_answer() -> None:
    state = Load()
    state.begin(A, 0.0).end(0.01, failed=True)
    assert state.latency(A, 0.01) == pytest.approx(FAILED_SECONDS)


def test_a_slow_failure_counts_as_long_as_it_took() -> None:
    state = Load()
    state.begin(A, 0.0).end(60.0, failed=True)
    assert state.latency(A, 60.0) == pytest.approx(60.0)


def test_a_caller_who_leaves_says_nothing_about_the_target() -> None:
    state = Load()
    state.begin(A, 0.0).end(30.0)
    assert state.latency(A, 30.0) == 0.0


def test_a_failure_after_the_first_token_keeps_the_time_of_the_token() -> None:
    state = Load()
    call = state.begin(A, 0.0)
    call.first_token(0.2)
    call.first_token(9.0)
    call.end(9.0, failed=True)
    assert state.latency(A, 0.2) == pytest.approx(0.2)


def test_each_route_has_its_own_turns() -> None:
    state = Load()
    assert [state.take_turn(("", "pro", "0")) for _ in range(3)] == [0, 1, 2]
    assert state.take_turn(("", "pro", "1")) == 0


def test_memory_is_bounded_and_what_is_busy_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MOST_TARGETS", 10)
    state = Load()
    busy = state.begin(("", "busy"), 0.0)
    for number in range(100):
        state.begin(("", str(number)), 0.0).end(1.0)
        state.take_turn(("", str(number)))
    assert len(state._targets) <= 11
    assert len(state._turns) <= 10
    assert state.in_flight(("", "busy")) == 1
    busy.end(1.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 120)), min_size=1, max_size=30))
def test_the_latency_lies_between_nothing_and_the_slowest_answer(
    answers: list[tuple[float, float]],
) -> None:
    state, now = Load(), 0.0
    for pause, seconds in answers:
        now += pause
        _answered(state, began=now, seconds=seconds)
        now += seconds
        latency = state.latency(A, now)
        assert latency >= seconds - 1e-9
        assert latency <= max(seconds for _, seconds in answers) + 1e-9
    assert state.in_flight(A) == 0


def test_a_pace_is_that_of_the_last_answers() -> None:
    load = Load()
    load.begin(("", "m"), 0.0)
    assert load.pace(("", "m"), 0.0) is None
    load.note_pace(("", "m"), 100, 10.0, now=10.0)
    assert load.pace(("", "m"), 10.0) == 10
    load.note_pace(("", "m"), 100, 2.0, now=12.0)
    assert load.pace(("", "m"), 12.0) == 30


def test_a_short_answer_says_nothing_of_the_pace() -> None:
    load = Load()
    load.begin(("", "m"), 0.0)
    load.note_pace(("", "m"), FEWEST_TOKENS - 1, 60.0, now=60.0)
    assert load.pace(("", "m"), 60.0) is None


def test_an_old_pace_is_forgotten_so_that_the_model_is_asked_again() -> None:
    load = Load()
    load.begin(("", "m"), 0.0)
    load.note_pace(("", "m"), 100, 100.0, now=0.0)
    assert load.pace(("", "m"), PACE_SECONDS - 1) == 1
    assert load.pace(("", "m"), PACE_SECONDS) is None
    load.note_pace(("", "m"), 100, 1.0, now=PACE_SECONDS)
    assert load.pace(("", "m"), PACE_SECONDS) == 100
