"""Who may be asked, after what has failed; by a clock that stands where the test puts it."""

import hashlib
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.circuit import HOLD_SECONDS, LONGEST_COOLDOWN
from routing.health import AUTH_SECONDS, Health
from routing.permits import Permit
from routing.snapshots import CredentialSnapshot, ModelSnapshot
from routing.subjects import name_of, named
from routing.taken_out import taken_out
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
    _fail(health, "auth", 60.0)
    _fail(health, "rate_limit", 60.0, with_=TWIN, retry_after=5)
    started = {"since": "1970-01-01T00:01:00Z", "last_probe": None}
    assert taken_out(health.circuits, 61.0) == [
        {"subject": "account:openai/org-1", "state": "open", "reason": "rate_limit",
         "seconds_left": 4.0, **started},
        {"subject": "credential:openai/main", "state": "open", "reason": "auth",
         "seconds_left": AUTH_SECONDS - 1, **started},
    ]  # fmt: skip


def test_a_probe_that_fails_shows_when_and_leaves_since_when() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _fail(health, "timeout", 15.0)
    opened = health.take_opened()
    assert [(one.since, one.until) for one in opened] == [(0.0, 15.0), (0.0, 30.0)]
    [out] = taken_out(health.circuits, 16.0)
    assert (out["last_probe"], out["seconds_left"]) == ("1970-01-01T00:00:15Z", 14.0)


def test_what_the_headers_say_is_used_up_is_a_preference() -> None:
    health = Health()
    health.note_spent(POOL, MAIN, 30.0, now=0.0)
    assert health.spent_for(POOL, TWIN, 10.0) == 20.0
    assert health.spent_for(POOL, OTHER, 10.0) == 0.0
    assert len(_ready(health, 0.0)) == 3
    assert taken_out(health.circuits, 0.0) == []


def test_whoever_was_forestalled_tries_again_a_moment_later() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    probe = _begin(health, BIG, MAIN, 15.0)
    assert [subject for subject, _ in probe.probes] == [("model", "", "big")]
    probe.forestalled(15.0)
    assert health.begin(BIG, MAIN, 15.0) is None
    assert health.wait(BIG, 15.0) == HOLD_SECONDS
    assert _begin(health, BIG, MAIN, 15.0 + HOLD_SECONDS).probes


# ---- lists of models, asked beside all requests


def _list_answered(health: Health, now: float, *, was_taken: bool = True) -> None:
    health.list_answered(POOL, MAIN, [BIG, SMALL], now, was_taken=was_taken)


def test_a_list_that_is_answered_brings_a_model_back_on_trial() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _list_answered(health, 5.0)
    assert health.wait(BIG, 5.0) == 0.0
    _fail(health, "timeout", 6.0)
    assert health.wait(BIG, 6.0) == 15.0


def test_an_answer_ends_the_trial() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _list_answered(health, 5.0)
    _begin(health, BIG, MAIN, 6.0).succeeded(6.0)
    _fail(health, "timeout", 7.0)
    assert health.wait(BIG, 7.0) == 0.0


def test_a_late_answer_does_not_end_a_trial_that_was_lost() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _list_answered(health, 5.0)
    late = _begin(health, BIG, MAIN, 6.0)
    _fail(health, "timeout", 6.0)
    late.succeeded(7.0)
    assert health.wait(BIG, 7.0) == 14.0


def test_a_list_that_was_wrong_is_not_believed_before_a_request_was_answered() -> None:
    health = Health()
    _fail(health, "timeout")
    _fail(health, "timeout")
    _list_answered(health, 5.0)
    _fail(health, "timeout", 6.0)
    _list_answered(health, 7.0)
    assert health.wait(BIG, 7.0) == 14.0
    _begin(health, BIG, MAIN, 21.0).succeeded(21.0)
    _fail(health, "timeout", 22.0)
    _fail(health, "timeout", 22.0)
    _list_answered(health, 23.0)
    assert health.wait(BIG, 23.0) == 0.0


def test_a_list_brings_back_a_refused_secret_where_it_is_taken_again() -> None:
    health = Health()
    _fail(health, "auth")
    _list_answered(health, 5.0, was_taken=False)
    assert _ready(health, 5.0) == {"twin", "other"}
    _list_answered(health, 5.0)
    assert _ready(health, 5.0) == {"main", "twin", "other"}


def test_a_list_shortens_no_pause_that_the_provider_asked_for() -> None:
    health = Health()
    _fail(health, "rate_limit", retry_after=20)
    _fail(health, "rate_limit", with_=OTHER)
    _fail(health, "rate_limit", with_=OTHER)
    _fail(health, "overloaded", with_=OTHER, now=15.0, retry_after=7)
    health.list_answered(POOL, OTHER, [BIG], 16.0, was_taken=True)
    assert (health.wait(BIG, 16.0), health.credential_wait(POOL, MAIN, 16.0)) == (6.0, 4.0)


def test_lists_that_fail_are_failures_of_the_provider() -> None:
    health = Health()
    health.list_failed(POOL, "connection", 0.0)
    assert health.wait(BIG, 0.0) == 0.0
    health.list_failed(POOL, "connection", 1.0)
    assert health.wait(SMALL, 1.0) == 15.0
    health.list_failed(POOL, "connection", 11.0)
    assert health.wait(SMALL, 11.0) == 5.0
    assert [one.subject for one in health.take_opened()] == [("provider", "", "openai")]
    health.list_answered(POOL, MAIN, [], 12.0, was_taken=False)
    assert health.wait(SMALL, 12.0) == 0.0


def test_lists_that_fail_while_requests_are_answered_are_not_believed_for_long() -> None:
    health, refused = Health(), 0
    for second in range(600):
        now = float(second)
        permit = health.begin(BIG, MAIN, now)
        if permit is None:
            refused += 1
        else:
            permit.succeeded(now)
        health.list_failed(POOL, "server_error", now)
    assert refused == 14  # one cool-down


def test_lists_are_believed_again_once_one_is_answered() -> None:
    health = Health()
    for now in (0.0, 1.0):
        health.list_failed(POOL, "server_error", now)
    _begin(health, BIG, MAIN, 20.0).succeeded(20.0)
    for now in (21.0, 22.0, 23.0):
        health.list_failed(POOL, "server_error", now)
    assert health.wait(BIG, 23.0) == 0.0
    health.list_answered(POOL, MAIN, [BIG], 24.0, was_taken=True)
    for now in (25.0, 26.0):
        health.list_failed(POOL, "server_error", now)
    assert health.wait(BIG, 26.0) == 15.0


# ---- shared


def _tell(teller: Health, *hearers: Health, now: float = 100.0) -> dict[str, str]:
    news = teller.circuits.take_news()
    for hearer in hearers:
        assert hearer.circuits.hear(news, now) == []
    return news


def test_workers_tell_each_other_what_is_out_and_what_is_back() -> None:
    ours, theirs = Health(), Health()
    _fail(ours, "auth")
    _tell(ours, theirs)
    assert theirs.credential_wait(POOL, MAIN, 0.0) == AUTH_SECONDS
    _begin(theirs, BIG, MAIN, AUTH_SECONDS).succeeded(AUTH_SECONDS)
    _tell(theirs, ours)
    assert ours.credential_wait(POOL, MAIN, AUTH_SECONDS) == 0.0
    assert taken_out(ours.circuits, AUTH_SECONDS) == taken_out(theirs.circuits, AUTH_SECONDS) == []


def test_what_was_told_and_what_was_heard_is_no_news() -> None:
    ours, theirs = Health(), Health()
    _fail(ours, "auth")
    assert list(_tell(ours, theirs)) == ["credential//openai/main"]
    assert _tell(ours) == _tell(theirs) == {}
    assert theirs.take_opened() == []


def test_what_could_not_be_told_and_what_was_lost_is_told_again() -> None:
    health = Health()
    _fail(health, "auth")
    news = _tell(health)
    health.circuits.put_back(news)
    assert _tell(health) == news
    health.circuits.tell_again([], 1.0)
    assert _tell(health) == news
    health.circuits.tell_again(news, 1.0)
    assert _tell(health) == {}


def test_an_earlier_change_does_not_undo_a_later_one() -> None:
    ours, theirs = Health(), Health()
    _fail(theirs, "rate_limit", 0.0, retry_after=10)
    _fail(ours, "rate_limit", 5.0, retry_after=10)
    _tell(theirs, ours)
    assert ours.credential_wait(POOL, MAIN, 5.0) == 10.0


def test_a_change_made_in_knowledge_of_another_wins_whatever_the_clocks_say() -> None:
    fast, slow = Health(), Health()
    _fail(fast, "timeout", 100.0)
    _fail(fast, "timeout", 100.0)
    _tell(fast, slow)
    assert slow.circuits.close(("model", "", "big"), 40.0)
    _tell(slow, fast)
    assert fast.wait(BIG, 100.0) == 0.0


def test_what_is_closed_by_hand_is_closed_for_all_workers() -> None:
    ours, theirs = Health(), Health()
    _fail(ours, "rate_limit", retry_after=60)
    _tell(ours, theirs)
    assert theirs.circuits.close(("account", "", "openai", "org-1"), 1.0)
    assert not theirs.circuits.close(("account", "", "openai", "org-1"), 1.0)
    assert not theirs.circuits.close(("model", "", "big"), 1.0)
    _tell(theirs, ours)
    assert ours.credential_wait(POOL, MAIN, 1.0) == 0.0


def test_a_clock_that_is_ahead_shuts_nobody_out_for_longer() -> None:
    ours, theirs = Health(), Health()
    for _ in range(2):
        _begin(theirs, BIG, MAIN, 3_600.0).failed("server_error", 3_600.0)
    _tell(theirs, ours, now=0.0)
    assert ours.wait(BIG, 0.0) == pytest.approx(15.0)
    assert ours.wait(BIG, 14.0) == pytest.approx(1.0)
    _begin(ours, BIG, MAIN, 15.0).succeeded(15.0)
    _tell(ours, theirs, now=3_615.0)
    assert theirs.wait(BIG, 3_615.0) == 0.0


@pytest.mark.parametrize("record", ["", "x", "1 2 3", "1 2 3 x pt - -", "a " * 7])
def test_what_is_no_record_is_named_and_changes_nothing(record: str) -> None:
    health = Health()
    assert health.circuits.hear({"model//big": record}, 0.0) == ["model//big"]
    assert health.wait(BIG, 0.0) == 0.0


def test_records_carry_no_secret_and_nothing_to_find_one_by() -> None:
    health = Health()
    _fail(health, "auth")
    [record] = _tell(health).values()
    assert MAIN.secret not in record
    for size in range(4, 65):
        assert hashlib.blake2b(MAIN.secret.encode(), digest_size=size).hexdigest() not in record


def test_what_is_long_past_is_forgotten() -> None:
    health = Health()
    _fail(health, "rate_limit", 0.0, retry_after=10)
    health.circuits.forget(20.0)
    assert len(health.circuits) == 1
    health.circuits.forget(10_000.0)
    assert health.circuits == {}


@pytest.mark.parametrize(
    "subject",
    [
        *[("model", "", "a"), ("provider", "acme", "b"), ("credential", "", "openai", "main")],
        *[("account", "acme", "openai", "a/b/c"), ("credential", "", "openai", "")],
    ],
)
def test_a_subject_is_found_again_by_its_name(subject: tuple[str, ...]) -> None:
    assert named(name_of(subject)) == subject


Event = tuple[str, CredentialSnapshot, int, int | None]

events = st.lists(
    st.tuples(
        st.sampled_from(["rate_limit", "auth", "timeout", "connection", "answer", "list", "hand"]),
        st.sampled_from([MAIN, TWIN, OTHER]),
        st.integers(0, 100),
        st.none() | st.integers(1, 50),
    ),
    max_size=12,
)


def _live(health: Health, event: Event) -> None:
    kind, with_, now, retry_after = event
    if kind == "hand":
        health.circuits.close(("model", "", "big"), now)
    elif kind == "list":
        health.list_answered(POOL, with_, [BIG], now, was_taken=bool(retry_after))
    elif permit := health.begin(BIG, with_, now):
        if kind == "answer":
            permit.succeeded(now)
        else:
            permit.failed(kind, now, retry_after=retry_after)


@given(st.lists(events, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_in_whichever_order_and_however_often_workers_hear_of_each_other_they_agree(
    lives: list[list[Event]], random: Random
) -> None:
    workers = [Health() for _ in lives]
    said: list[dict[str, str]] = []
    turns = [number for number, life in enumerate(lives) for _ in life]
    random.shuffle(turns)
    left = [sorted(life, key=lambda event: event[2]) for life in lives]
    for number in turns:  # each lives its life, and some of what was said reaches some
        _live(workers[number], left[number].pop(0))
        said.append(workers[number].circuits.take_news())
        random.choice(workers).circuits.hear(random.choice(said), 100.0)
    said += [worker.circuits.take_news() for worker in workers]
    for worker in workers:
        for news in random.sample(said, len(said)):
            worker.circuits.hear(news, 100.0)
            worker.circuits.hear(random.choice(said), 100.0)
    first, *others = workers
    for other in others:
        assert _records(other) == _records(first)
        for now in (100.0, 110.0, 500.0):
            assert taken_out(other.circuits, now) == taken_out(first.circuits, now)
            assert _ready(other, now) == _ready(first, now)


def _records(health: Health) -> dict[str, str]:
    records = {name_of(subject): one.record() for subject, one in health.circuits.items()}
    return {name: text for name, text in records.items() if not text.startswith("0" * 16)}
