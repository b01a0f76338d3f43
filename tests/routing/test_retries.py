"""Whether the same target is asked again, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.retries import (
    DEFAULT_BACKOFF,
    FLOOR_PER_SECOND,
    LONGEST_BACKOFF,
    LONGEST_WAIT,
    MOST_SAVED,
    RETRY_SHARE,
    RetryBudget,
    RetryBudgets,
    RetryPolicy,
    covers,
    policy_of,
    wait_before_retry,
)
from routing.terms import DEFAULT_RETRY_ON, Retries

ALWAYS = RetryPolicy(attempts=2, retry_on=frozenset({"timeout", "server_error"}), backoff=0.5)


def _wait(
    kind: str = "timeout",
    *,
    retries: int = 0,
    retry_after: float | None = None,
    time_left: float = 600.0,
    draw: float = 0.5,
    policy: RetryPolicy = ALWAYS,
) -> float | None:
    return wait_before_retry(
        policy,
        kind=kind,
        retries=retries,
        retry_after=retry_after,
        time_left=time_left,
        draw=draw,
    )


def test_it_is_asked_again_as_often_as_declared() -> None:
    assert [_wait(retries=n) is not None for n in range(4)] == [True, True, False, False]


def test_only_the_declared_kinds_are_retried_and_server_errors_mean_overload_too() -> None:
    kinds = ("timeout", "server_error", "overloaded", "rate_limit", "auth", "invalid_request")
    assert [_wait(kind) is not None for kind in kinds] == [True, True, True, False, False, False]
    assert not covers(frozenset({"overloaded"}), "server_error")


def test_the_wait_is_drawn_up_to_a_backoff_that_doubles() -> None:
    assert _wait(draw=0.0) == 0.0
    assert _wait(draw=0.5) == 0.25
    assert _wait(draw=0.5, retries=1) == 0.5


def test_the_backoff_has_an_end() -> None:
    patient = RetryPolicy(attempts=10, retry_on=frozenset({"timeout"}), backoff=5.0)
    assert _wait(retries=9, draw=0.999, policy=patient) == pytest.approx(0.999 * LONGEST_BACKOFF)


def test_a_provider_that_says_when_is_taken_at_its_word() -> None:
    assert _wait(retry_after=3.0) == 3.0
    assert _wait(retry_after=0.0, draw=0.5) == 0.25


def test_who_is_told_to_come_back_much_later_goes_elsewhere() -> None:
    assert _wait(retry_after=LONGEST_WAIT) == LONGEST_WAIT
    assert _wait(retry_after=LONGEST_WAIT + 1) is None


def test_nobody_waits_beyond_the_deadline() -> None:
    assert _wait(retry_after=3.0, time_left=3.0) is None
    assert _wait(retry_after=3.0, time_left=3.1) == 3.0
    assert _wait(draw=0.9, time_left=0.1) is None
    assert _wait(draw=0.0, time_left=0.0) is None


@given(
    st.integers(0, 12),
    st.none() | st.floats(0, 1_000),
    st.floats(-10, 1_000),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_never_late_and_never_shorter_than_told(
    retries: int, retry_after: float | None, time_left: float, draw: float
) -> None:
    wait = _wait(retries=retries, retry_after=retry_after, time_left=time_left, draw=draw)
    if wait is not None:
        assert 0 <= wait < time_left
        assert wait <= LONGEST_WAIT
        assert retries < ALWAYS.attempts
        assert retry_after is None or wait >= retry_after


# ---- what is in force


def test_the_alias_overrides_its_provider_field_by_field() -> None:
    of_provider = Retries(2, frozenset({"timeout"}), 1.0)
    assert policy_of(Retries(), of_provider) == RetryPolicy(2, frozenset({"timeout"}), 1.0)
    assert policy_of(Retries(attempts=0), of_provider).attempts == 0
    assert policy_of(Retries(retry_on=frozenset()), of_provider).retry_on == frozenset()
    assert policy_of(Retries(backoff=0.0), of_provider).backoff == 0.0


def test_nothing_is_retried_that_nobody_asked_to() -> None:
    assert policy_of(Retries(), Retries()) == RetryPolicy(0, DEFAULT_RETRY_ON, DEFAULT_BACKOFF)


# ---- the budget


def test_a_dying_provider_gets_a_share_of_its_requests_as_retries() -> None:
    budget, granted = RetryBudget(), 0
    for _ in range(1_000):
        budget.request()
        granted += budget.spend(0.0) + budget.spend(0.0)
    assert granted == pytest.approx(1_000 * RETRY_SHARE + MOST_SAVED, abs=1)


def test_a_provider_of_little_traffic_may_retry_all_the_same() -> None:
    budget = RetryBudget(saved=0.0)
    assert not budget.spend(0.0)
    assert budget.spend(1 / FLOOR_PER_SECOND)
    assert not budget.spend(1 / FLOOR_PER_SECOND)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_no_more_is_ever_granted_than_the_budget_says(events: list[tuple[bool, float]]) -> None:
    budget, now, requests, granted = RetryBudget(), 0.0, 0, 0
    for is_request, pause in events:
        now += pause
        if is_request:
            requests += 1
            budget.request()
        else:
            granted += budget.spend(now)
        bound = MOST_SAVED + RETRY_SHARE * requests + FLOOR_PER_SECOND * now
        assert granted <= bound + 1e-6


def test_each_provider_has_its_own_budget() -> None:
    budgets = RetryBudgets()
    assert budgets.of("", "openai") is budgets.of("", "openai")
    assert budgets.of("", "openai") is not budgets.of("acme", "openai")
