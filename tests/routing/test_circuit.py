"""One breaker, by a clock that stands where the test puts it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing.circuit import LONGEST_COOLDOWN, PROBE_SECONDS, Circuit
from routing.terms import Breaker

BREAKER = Breaker(failures=3, window=30.0, cooldown=15.0)


def _open(circuit: Circuit, now: float) -> None:
    for _ in range(BREAKER.failures):
        circuit.fail(now, BREAKER, "server_error")


def test_it_opens_with_the_last_of_so_many_failures() -> None:
    circuit = Circuit()
    assert [circuit.fail(now, BREAKER, "timeout") for now in (0.0, 10.0, 20.0)] == [
        False,
        False,
        True,
    ]
    assert (circuit.state(20.0), circuit.reason, circuit.wait(20.0)) == ("open", "timeout", 15.0)


def test_failures_older_than_the_window_do_not_count() -> None:
    circuit = Circuit()
    for now in (0.0, 20.0, 31.0, 51.0, 62.0):
        assert not circuit.fail(now, BREAKER, "timeout")
    assert circuit.state(60.0) == "closed"


def test_after_the_cool_down_one_probe_goes_and_the_others_wait() -> None:
    circuit = Circuit()
    _open(circuit, 0.0)
    assert circuit.wait(14.0) == 1.0
    assert (circuit.state(15.0), circuit.wait(15.0)) == ("half_open", 0.0)
    assert circuit.begin(15.0)
    assert circuit.wait(15.0) == PROBE_SECONDS


def test_a_probe_that_succeeds_closes_it() -> None:
    circuit = Circuit()
    _open(circuit, 0.0)
    circuit.begin(15.0)
    circuit.close(16.0)
    assert (circuit.state(16.0), circuit.wait(16.0)) == ("closed", 0.0)
    assert not circuit.fail(17.0, BREAKER, "timeout")


def test_a_probe_that_comes_back_without_an_answer_lets_another_go() -> None:
    circuit = Circuit()
    _open(circuit, 0.0)
    circuit.begin(15.0)
    circuit.release()
    assert circuit.wait(15.0) == 0.0


def test_a_time_that_the_provider_named_ends_by_itself() -> None:
    circuit = Circuit()
    circuit.open(0.0, 20.0, "rate_limit", needs_probe=False)
    assert circuit.wait(5.0) == 15.0
    assert (circuit.state(20.0), circuit.begin(20.0)) == ("closed", False)


def test_the_later_of_two_times_counts() -> None:
    circuit = Circuit()
    circuit.open(0.0, 20.0, "rate_limit", needs_probe=False)
    circuit.open(1.0, 5.0, "rate_limit", needs_probe=False)
    assert circuit.wait(1.0) == 19.0
    circuit.open(2.0, 60.0, "rate_limit", needs_probe=False)
    assert circuit.wait(2.0) == 60.0


@pytest.mark.parametrize("seconds", [601.0, 86_400.0, float("inf")])
def test_nobody_is_sent_away_for_ever(seconds: float) -> None:
    circuit = Circuit()
    circuit.open(0.0, seconds, "rate_limit", needs_probe=False)
    assert circuit.wait(0.0) == LONGEST_COOLDOWN


def test_what_fails_while_it_is_open_says_nothing_new() -> None:
    circuit = Circuit()
    _open(circuit, 0.0)
    _open(circuit, 5.0)
    assert circuit.wait(5.0) == 10.0


class Breakers(RuleBasedStateMachine):
    """Requests come, answer and fail in any order; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now = 0.0
        self.failed: list[float] = []
        self.probes_out = 0
        self.opened_at: float | None = None

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def fail_an_ordinary_call(self) -> None:
        was_closed = self.circuit.state(self.now) == "closed"
        recent = [at for at in self.failed if at > self.now - BREAKER.window]
        opens = self.circuit.fail(self.now, BREAKER, "server_error")
        assert opens == (was_closed and len(recent) + 1 >= BREAKER.failures)
        if opens:
            self.opened_at, self.failed = self.now, []
        elif was_closed:
            self.failed = [*recent, self.now]

    @precondition(lambda self: self.circuit.wait(self.now) == 0)
    @rule()
    def begin(self) -> None:
        self.probes_out += self.circuit.begin(self.now)

    @precondition(lambda self: self.probes_out)
    @rule()
    def the_probe_succeeds(self) -> None:
        self.circuit.release()
        self.circuit.close(self.now)
        self.probes_out -= 1
        self.opened_at, self.failed = None, []
        assert self.circuit.state(self.now) == "closed"

    @precondition(lambda self: self.probes_out)
    @rule()
    def the_probe_fails(self) -> None:
        self.circuit.release()
        self.circuit.open(self.now, BREAKER.cooldown, "server_error")
        self.probes_out -= 1
        self.opened_at = self.now
        assert self.circuit.state(self.now) == "open"

    @precondition(lambda self: self.probes_out)
    @rule()
    def the_probe_says_nothing(self) -> None:
        self.circuit.release()
        self.probes_out -= 1

    @invariant()
    def never_two_probes_at_once(self) -> None:
        assert self.probes_out in (0, 1)

    @invariant()
    def recovery_can_be_found_after_the_cool_down(self) -> None:
        if self.opened_at is not None and not self.probes_out:
            due = self.now >= self.opened_at + BREAKER.cooldown
            assert (self.circuit.wait(self.now) == 0) == due


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
