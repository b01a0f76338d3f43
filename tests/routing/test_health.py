"""Who may be asked, after what has failed; by a clock that stands where the test puts it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.circuit import LONGEST_COOLDOWN
from routing.health import AUTH_SECONDS, Health, Permit
from routing.snapshots import CredentialSnapshot, ModelSnapshot
from routing.terms import Breaker
from tests.routing.snapshots_by_hand import credential, model, provider, usable

MAIN = credential("main", account="org-1")
TWIN = credential("twin", account="org-1")
OTHER = credential("other")
POOL = provider("openai", MAIN, TWIN, OTHER, breaker=Breaker(failures=2, window=30, cooldown=15))
BIG, SMALL = model("big", of=POOL), model("small", of=POOL)


def _begin(health: Health, target: ModelSnapshot, with_: CredentialSnapshot, now: float) -> Permit:
    permit = health.begin(target, with_, now)
    assert permit is not None
    return permit


def _fail(
    health: Health,
    kind: str,
    now: float = 0.0,
    *,
    target: ModelSnapshot = BIG,
    with_: CredentialSnapshot = MAIN,
    retry_after: float | None = None,
) -> None:
    _begin(health, target, with_, now).failed(kind, now, retry_after=retry_after)


def _ready(health: Health, now: float) -> set[str]:
    return {c.name for c in POOL.credentials if not health.credential_wait(POOL, c, now)}


# ---- what a failure is a failure of


def test_a_rate_limit_cools_down_all_credentials_of_its_account_for_as_long_as_it_says() -> None:
    health = Health()
    _fail(health, "rate_limit", retry_after=20)
    assert _ready(health, 0.0) == {"other"}
    assert health.credential_wait(POOL, TWIN, 5.0) == 15.0
    assert health.wait(BIG, 0.0) == 0.0
    assert _ready(health, 20.0) == {"main", "twin", "other"}


def test_a_credential_without_an_account_cools_down_alone() -> None:
    health = Health()
    _fail(health, "rate_limit", with_=OTHER, retry_after=20)
    assert _ready(health, 0.0) == {"main", "twin"}


def test_a_rate_limit_that_names_no_time_counts_as_a_failure_of_the_account() -> None:
    health = Health()
    _fail(health, "rate_limit")
    assert len(_ready(health, 0.0)) == 3
    _fail(health, "rate_limit", with_=TWIN)
    assert _ready(health, 0.0) == {"other"}
    assert health.credential_wait(POOL, MAIN, 0.0) == 15.0


def test_a_pause_is_bounded() -> None:
    health = Health()
    _fail(health, "rate_limit", retry_after=86_400)
    assert health.credential_wait(POOL, MAIN, 0.0) == LONGEST_COOLDOWN


def test_a_refused_secret_takes_its_credential_out_and_nobody_else() -> None:
    health = Health()
    _fail(health, "auth")
    assert _ready(health, 0.0) == {"twin", "other"}
    assert health.credential_wait(POOL, MAIN, 0.0) == AUTH_SECONDS


def test_a_refused_secret_is_tried_once_again_after_a_long_while() -> None:
    health = Health()
    _fail(health, "auth")
    probe = _begin(health, BIG, MAIN, AUTH_SECONDS)
    assert health.begin(BIG, MAIN, AUTH_SECONDS) is None
    probe.failed("auth", AUTH_SECONDS)
    assert health.credential_wait(POOL, MAIN, AUTH_SECONDS) == AUTH_SECONDS


def test_a_new_secret_is_tried_at_once() -> None:
    health = Health()
    _fail(health, "auth")
    renewed = replace(MAIN, secret="another")
    assert health.credential_wait(POOL, renewed, 1.0) == 0.0
    _begin(health, BIG, renewed, 1.0).succeeded(1.0)


@pytest.mark.parametrize("kind", ["server_error", "overloaded", "timeout"])
def test_failures_of_a_model_open_it_for_every_credential_but_leave_other_models(kind: str) -> None:
    health = Health()
    _fail(health, kind)
    _fail(health, kind, with_=OTHER)
    assert health.wait(BIG, 0.0) == 15.0
    assert (health.wait(SMALL, 0.0), len(_ready(health, 0.0))) == (0.0, 3)


def test_connections_that_fail_open_the_provider_with_all_its_models() -> None:
    health = Health()
    _fail(health, "connection")
    _fail(health, "connection", target=SMALL)
    assert (health.wait(BIG, 0.0), health.wait(SMALL, 0.0)) == (15.0, 15.0)
    assert health.wait(usable("elsewhere"), 0.0) == 0.0


@pytest.mark.parametrize("kind", ["invalid_request", "context_window", "content_filter", "slow"])
def test_what_is_the_requests_fault_is_nobody_elses(kind: str) -> None:
    health = Health()
    for _ in range(10):
        _fail(health, kind)
    assert (health.wait(BIG, 0.0), len(_ready(health, 0.0))) == (0.0, 3)


def test_an_overloaded_model_that_names_a_time_is_left_alone_for_it() -> None:
    health = Health()
    _fail(health, "overloaded", retry_after=7)
    assert health.wait(BIG, 0.0) == 7.0
    assert health.wait(BIG, 7.0) == 0.0


# ---- probes


def test_the_model_is_probed_by_one_request_and_closes_when_that_is_answered() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    probe = _begin(health, BIG, MAIN, 15.0)
    assert health.begin(BIG, OTHER, 15.0) is None
    assert health.begin(SMALL, OTHER, 15.0) is not None
    probe.succeeded(16.0)
    assert health.begin(BIG, OTHER, 16.0) is not None


def test_a_probe_that_fails_opens_at_once() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _fail(health, "timeout", 15.0)
    assert health.wait(BIG, 15.0) == 15.0


def test_a_probe_whose_caller_leaves_makes_room_for_the_next() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _begin(health, BIG, MAIN, 15.0).abandoned()
    assert health.wait(BIG, 15.0) == 0.0


def test_a_failure_of_something_else_says_nothing_about_what_was_probed() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _fail(health, "rate_limit", 15.0, retry_after=20)
    assert health.wait(BIG, 15.0) == 0.0
    assert health.credential_wait(POOL, MAIN, 15.0) == 20.0


def test_a_call_from_before_closes_nothing() -> None:
    health = Health()
    early = _begin(health, BIG, MAIN, 0.0)
    _fail(health, "timeout")
    _fail(health, "timeout")
    early.succeeded(1.0)
    assert health.wait(BIG, 1.0) == 14.0


def test_a_stream_that_breaks_after_its_first_content_is_a_failure_and_counts_once() -> None:
    health = Health()
    permit = _begin(health, BIG, MAIN, 0.0)
    permit.succeeded(0.5)
    permit.failed("server_error", 1.0)
    permit.failed("server_error", 1.0)
    assert health.wait(BIG, 1.0) == 0.0
    _fail(health, "server_error", 2.0)
    assert health.wait(BIG, 2.0) == 15.0


# ---- what is told


def test_what_opens_is_told_once_and_says_whether_something_is_down() -> None:
    health = Health()
    _fail(health, "auth")
    _fail(health, "rate_limit", with_=OTHER, retry_after=5)
    opened = health.take_opened()
    assert [(one.subject[0], one.reason, one.is_down) for one in opened] == [
        ("credential", "auth", True),
        ("credential", "rate_limit", False),
    ]
    assert opened[0].subject == ("credential", "", "openai", "main")
    assert opened[0].provider == "openai"
    assert health.take_opened() == []


def test_the_state_names_what_is_out_and_why_and_no_secret() -> None:
    health = Health()
    _fail(health, "auth")
    _fail(health, "rate_limit", with_=TWIN, retry_after=5)
    assert health.state(1.0) == [
        {"subject": "account:openai/org-1", "state": "open", "reason": "rate_limit",
         "seconds_left": 4.0},
        {"subject": "credential:openai/main", "state": "open", "reason": "auth",
         "seconds_left": AUTH_SECONDS - 1},
    ]  # fmt: skip
    assert MAIN.secret not in repr(health.exported(1.0))


def test_what_the_headers_say_is_used_up_is_a_preference() -> None:
    health = Health()
    health.note_spent(POOL, MAIN, 30.0, now=0.0)
    assert health.spent_for(POOL, TWIN, 10.0) == 20.0
    assert health.spent_for(POOL, OTHER, 10.0) == 0.0
    assert len(_ready(health, 0.0)) == 3
    assert health.state(0.0) == []


# ---- shared


def test_workers_tell_each_other_what_is_out_and_what_is_back() -> None:
    ours, theirs = Health(), Health()
    _fail(ours, "auth")
    theirs.take_in(ours.exported(0.0))
    assert theirs.credential_wait(POOL, MAIN, 0.0) == AUTH_SECONDS
    _begin(theirs, BIG, MAIN, AUTH_SECONDS).succeeded(AUTH_SECONDS)
    ours.take_in(theirs.exported(AUTH_SECONDS))
    assert ours.credential_wait(POOL, MAIN, AUTH_SECONDS) == 0.0
    assert ours.exported(AUTH_SECONDS) == theirs.exported(AUTH_SECONDS)


def test_an_earlier_change_does_not_undo_a_later_one() -> None:
    ours, theirs = Health(), Health()
    _fail(theirs, "rate_limit", 0.0, retry_after=10)
    _fail(ours, "rate_limit", 5.0, retry_after=10)
    ours.take_in(theirs.exported(5.0))
    assert ours.credential_wait(POOL, MAIN, 5.0) == 10.0


def test_what_is_long_past_is_forgotten() -> None:
    health = Health()
    _fail(health, "rate_limit", 0.0, retry_after=10)
    assert len(health.exported(20.0)) == 1
    assert health.exported(10_000.0) == {}


failures = st.lists(
    st.tuples(
        st.sampled_from(["rate_limit", "auth", "timeout", "connection"]),
        st.sampled_from([MAIN, TWIN, OTHER]),
        st.integers(0, 100),
        st.none() | st.integers(1, 50),
    ),
    max_size=12,
)


def _after(events: list[tuple[str, CredentialSnapshot, int, int | None]]) -> Health:
    health = Health()
    for kind, with_, now, retry_after in sorted(events, key=lambda event: event[2]):
        permit = health.begin(BIG, with_, now)
        if permit is not None:
            permit.failed(kind, now, retry_after=retry_after)
    return health


@given(failures, failures)
def test_in_whichever_order_workers_hear_of_each_other_they_agree(
    first: list[tuple[str, CredentialSnapshot, int, int | None]],
    second: list[tuple[str, CredentialSnapshot, int, int | None]],
) -> None:
    a, b = _after(first), _after(second)
    from_a, from_b = a.exported(100.0), b.exported(100.0)
    a.take_in(from_b)
    b.take_in(from_a)
    b.take_in(from_a)
    for now in (100.0, 110.0, 500.0):
        assert a.state(now) == b.state(now)
        assert _ready(a, now) == _ready(b, now)
