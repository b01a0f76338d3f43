"""Two gateways of one installation and a real Redis: what one of them meets, the other knows."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from tests.fake_upstream import LISTED, FakeUpstream, Script, by_method, completion, failing, whole
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.private_services import ServiceUnavailable, _private_redis
from tests.proxy.configuration import books, provider
from tests.proxy.conftest import ask, calling

pytestmark = pytest.mark.once

HEARD_WITHIN = 1.0
TRIPS = {"failures": 2, "window": "30s", "cooldown": "60s"}
SOON = {**TRIPS, "cooldown": "1s"}
PLAIN = ("failing", "limited", "locked", "both", "frozen", "flushed", "by-hand")
QUICK = ("recovering", "probed", "left")
POOL = [
    {"name": "main", "secret": "sk-main", "weight": 1},
    {"name": "spare", "secret": "sk-spare", "weight": 0},
]


def _document(upstream: FakeUpstream) -> dict[str, Any]:
    providers = {
        **{name: provider(upstream.url(name), breaker=TRIPS, credentials=POOL) for name in PLAIN},
        **{name: provider(upstream.url(name), breaker=SOON) for name in QUICK},
    }
    return {
        "version": 1,
        "providers": providers,
        "models": {name: {"provider": name, "upstream": f"gpt-{name}"} for name in providers},
        "price_books": books(**{name: {"input": "1", "output": "1"} for name in providers}),
        "aliases": {name: {"routes": [{"targets": [{"model": name}]}]} for name in providers},
        "tenants": {"acme": {"price_book": "standard"}},
    }


@pytest.fixture(scope="module")
def own_redis() -> Iterator[str]:
    """One that nobody else would miss."""
    try:
        with _private_redis() as url:
            yield url
    except ServiceUnavailable as reason:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def pair(
    upstream_server: FakeUpstream, own_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    folder = tmp_path_factory.mktemp("pair")
    document = _document(upstream_server)
    with (
        GatewayProcess(
            folder,
            configuration=document,
            REDIS_URL=own_redis,
            GATEWAY_ON_STORE_FAILURE="open",  # what becomes of limits is tested elsewhere
        ) as one,
        one.another() as other,
    ):
        yield one, other


@pytest.fixture(scope="module")
def pair_key(pair: tuple[GatewayProcess, GatewayProcess]) -> IssuedKey:
    return pair[0].issue_key("acme")


@pytest.fixture
def callers(
    pair: tuple[GatewayProcess, GatewayProcess], pair_key: IssuedKey, upstream: FakeUpstream
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with calling(pair[0], pair_key) as first, calling(pair[1], pair_key) as second:
        yield first, second


def _status(caller: httpx.Client, alias: str) -> int:
    return caller.post(f"/chat/{alias}", json=ask()).status_code


def _wait_until_out(gateway: GatewayProcess, name: str, within: float = HEARD_WITHIN) -> None:
    eventually(lambda: gateway.taken_out(name) or None, within=within, what=f"news of {name}")


def _used(upstream: FakeUpstream, place: str) -> list[str]:
    headers = [request.header("authorization") or "" for request in upstream.at_path(place)]
    return [header.removeprefix("Bearer sk-") for header in headers]


def test_a_model_that_fails_in_one_worker_is_not_asked_by_the_other(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    upstream.at("failing").always_answers(failing(500))
    assert [_status(callers[0], "failing") for _ in range(2)] == [502, 502]
    time.sleep(HEARD_WITHIN)
    assert [_status(callers[1], "failing") for _ in range(3)] == [503] * 3
    assert len(upstream.at_path("failing")) == 2
    ours, theirs = (one.taken_out("failing") for one in pair)
    for one in (*ours, *theirs):
        assert 50 < one.pop("seconds_left") <= 60
    assert ours == theirs
    assert ours[0]["subject"] == "model:failing"
    assert "a model is taken out" in pair[0].log()
    assert '"subject": "failing"' not in pair[1].log()


@pytest.mark.parametrize(
    ("place", "answer"), [("limited", failing(429, retry_after="60")), ("locked", failing(401))]
)
def test_a_credential_that_one_worker_lost_is_left_to_the_spare_one_by_the_other(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
    place: str,
    answer: Script,
) -> None:
    upstream.at(place).answers(answer)
    assert _status(callers[0], place) == 200
    time.sleep(HEARD_WITHIN)
    assert _status(callers[1], place) == 200
    assert _used(upstream, place) == ["main", "spare", "spare"]


def test_what_is_out_is_known_to_who_starts_later_and_no_secret_is_told(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    own_redis: str,
    upstream: FakeUpstream,
) -> None:
    upstream.at("flushed").always_answers(failing(500))
    assert [_status(callers[0], "flushed") for _ in range(2)] == [502, 502]
    _wait_until_out(pair[1], "flushed")
    client = redis.Redis.from_url(own_redis)
    client.flushall()
    eventually(
        lambda: client.hexists("gateway:{gw}:health", "model//flushed") or None,
        within=HEARD_WITHIN,
        what="what a flushed Redis is told again",
    )
    with pair[0].another() as late:
        assert late.taken_out("flushed")
    told = b" ".join(
        part for pair_ in client.hgetall("gateway:{gw}:health").items() for part in pair_
    )
    assert b"sk-" not in told


def test_one_probe_goes_at_a_time_whoever_sends_it(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    place = upstream.at("probed")
    place.always_answers(failing(500))
    assert [_status(callers[0], "probed") for _ in range(2)] == [502, 502]
    _wait_until_out(pair[1], "probed")
    place.always_answers(whole(completion(), after=1.5))
    time.sleep(1.1)
    statuses = _crowd(callers, "probed", seconds=0.8)
    assert len(upstream.at_path("probed")) == 3
    assert set(statuses) == {200, 503}
    assert statuses.count(200) == 1
    place.always_answers(whole(completion()))
    for caller in callers:
        eventually(
            lambda caller=caller: _status(caller, "probed") == 200 or None, within=HEARD_WITHIN
        )


def _crowd(callers: tuple[httpx.Client, ...], alias: str, *, seconds: float) -> list[int]:
    """What four callers at each gateway get who ask again and again for so long."""
    statuses: list[int] = []
    ends = time.monotonic() + seconds

    def press(caller: httpx.Client) -> None:
        while time.monotonic() < ends:
            statuses.append(_status(caller, alias))
            time.sleep(0.02)

    threads = [threading.Thread(target=press, args=[caller]) for caller in callers * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_recovery_is_found_within_a_second_of_the_cool_down_by_both(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    upstream.at("recovering").answers(failing(500), failing(500))
    assert [_status(callers[0], "recovering") for _ in range(2)] == [502, 502]
    opened = time.monotonic()
    _wait_until_out(pair[1], "recovering")
    well: dict[int, float] = {}
    while len(well) < 2 and time.monotonic() - opened < 5:
        for number, caller in enumerate(callers):
            if number not in well and _status(caller, "recovering") == 200:
                well[number] = time.monotonic() - opened
        time.sleep(0.02)
    assert len(well) == 2
    assert max(well.values()) <= 1.0 + 1.0


def test_a_probe_whose_caller_leaves_makes_room_for_another_workers(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    place = upstream.at("left")
    place.answers(failing(500), failing(500), lambda wire: wire.wait_for_the_end())
    assert [_status(callers[0], "left") for _ in range(2)] == [502, 502]
    _wait_until_out(pair[1], "left")
    time.sleep(1.1)
    with pytest.raises(httpx.ReadTimeout):
        callers[0].post("/chat/left", json=ask(), timeout=0.3)
    eventually(lambda: _status(callers[1], "left") == 200 or None, within=HEARD_WITHIN)


def test_two_workers_that_take_something_out_raise_one_alert(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    upstream.at("both").always_answers(failing(500, "It failed."))
    barrier = threading.Barrier(2)

    def fail_twice(caller: httpx.Client) -> None:
        barrier.wait()
        for _ in range(2):
            _status(caller, "both")

    threads = [threading.Thread(target=fail_twice, args=[caller]) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def told() -> list[str]:
        rows = pair[0].clerk.rows("tenants.Alert", name="provider.down")
        return sorted(row["tenant"] for row in rows if row["data"]["provider"] == "both")

    eventually(lambda: len(told()) == 2 or None, within=5, what="the alerts")
    time.sleep(1.5)
    assert told() == ["", "acme"]


def test_metrics_tell_what_is_out_whichever_worker_is_asked(
    pair: tuple[GatewayProcess, GatewayProcess], callers: tuple[httpx.Client, httpx.Client]
) -> None:
    _wait_until_out(pair[1], "limited")
    for gateway in pair:
        metrics = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
        labels = 'kind="credential",state="open",subject="limited/main"'
        assert f"gateway_taken_out{{{labels}}} 1.0" in metrics


def test_while_redis_is_frozen_each_worker_goes_on_with_what_it_knows(
    pair: tuple[GatewayProcess, GatewayProcess],
    callers: tuple[httpx.Client, httpx.Client],
    own_redis: str,
    upstream: FakeUpstream,
) -> None:
    place = upstream.at("frozen")
    place.always_answers(failing(500))
    _wait_until_out(pair[1], "limited")
    pid = redis.Redis.from_url(own_redis).info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert [_status(callers[0], "frozen") for _ in range(3)] == [502, 502, 503]
        assert time.monotonic() - began < 2
        assert [_status(callers[1], "frozen") for _ in range(3)] == [502, 502, 503]
        assert pair[1].taken_out("limited")
        eventually(lambda: _problem(pair[1]) or None, within=5, what="word that Redis is away")
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: not _problem(pair[1]) or None, within=5, what="word that Redis is back")


def _problem(gateway: GatewayProcess) -> str:
    state = httpx.get(f"{gateway.url}/readyz?verbose", trust_env=False).json()
    assert state["health"]["shared"]
    return str(state["health"]["problem"])


def test_a_probe_goes_without_redis_too(
    callers: tuple[httpx.Client, httpx.Client], own_redis: str, upstream: FakeUpstream
) -> None:
    upstream.at("left").answers(failing(500), failing(500))
    pid = redis.Redis.from_url(own_redis).info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert [_status(callers[0], "left") for _ in range(2)] == [502, 502]
        time.sleep(1.05)
        began = time.monotonic()
        assert _status(callers[0], "left") == 200
        assert time.monotonic() - began < 1
    finally:
        os.kill(pid, signal.SIGCONT)


# ---- lists, asked beside requests


ASKED = ("down", "ailing", "refused", "watched")


@pytest.fixture(scope="module")
def asking(
    upstream_server: FakeUpstream, own_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two gateways that ask lists of models, each of which has a Redis database apart."""
    probe = {"interval": "1s", "timeout": "500ms"}
    providers = {
        name: provider(upstream_server.url(name), breaker=TRIPS, probe=probe) for name in ASKED
    }
    providers["watched"]["probe"] = {"interval": "1s", "path": "/up?deep=1"}
    document = {
        **_document(upstream_server),
        "providers": providers,
        "models": {name: {"provider": name, "upstream": f"gpt-{name}"} for name in ASKED},
        "price_books": books(**{name: {"input": "1", "output": "1"} for name in ASKED}),
        "aliases": {name: {"routes": [{"targets": [{"model": name}]}]} for name in ASKED},
    }
    folder = tmp_path_factory.mktemp("asking")
    apart = own_redis.removesuffix("/0") + "/1"
    with (
        GatewayProcess(folder, configuration=document, REDIS_URL=apart) as one,
        one.another() as other,
    ):
        yield one, other


@pytest.fixture
def asking_callers(
    asking: tuple[GatewayProcess, GatewayProcess], upstream: FakeUpstream
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    for name in ASKED:
        upstream.at(name).always_answers(by_method(get=LISTED, post=whole(completion())))
    key = asking[0].issue_key("acme")
    with calling(asking[0], key) as first, calling(asking[1], key) as second:
        yield first, second


def _posts(upstream: FakeUpstream, place: str) -> int:
    return sum(request.method == "POST" for request in upstream.at_path(place))


def test_one_worker_of_several_asks_and_only_for_the_list(
    asking_callers: tuple[httpx.Client, httpx.Client], upstream: FakeUpstream
) -> None:
    time.sleep(1.5)  # whoever has the turn asks by now
    before = len(upstream.at_path("watched"))
    time.sleep(3.0)
    asked = upstream.at_path("watched")[before:]
    assert 2 <= len(asked) <= 4
    assert {(one.method, one.path, one.body) for one in asked} == {
        ("GET", "/watched/v1/up?deep=1", b"")
    }
    assert {one.path for one in upstream.at_path("down")} == {"/down/v1/models"}


def test_a_model_comes_back_without_a_callers_request_being_the_probe(
    asking: tuple[GatewayProcess, GatewayProcess],
    asking_callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    place = upstream.at("ailing")
    place.always_answers(by_method(get=failing(500), post=failing(500)))
    assert [_status(asking_callers[0], "ailing") for _ in range(2)] == [502, 502]
    _wait_until_out(asking[1], "model:ailing")
    assert _posts(upstream, "ailing") == 2
    place.always_answers(by_method(get=LISTED, post=whole(completion())))
    _wait_until_back(asking, "ailing")
    assert _posts(upstream, "ailing") == 2
    assert [_status(caller, "ailing") for caller in asking_callers] == [200, 200]


def _wait_until_back(pair: tuple[GatewayProcess, GatewayProcess], name: str) -> None:
    for gateway in pair:
        eventually(
            lambda gateway=gateway: not gateway.taken_out(name) or None,
            within=6,
            what=f"the return of {name}",
        )


def test_a_refused_secret_comes_back_once_the_provider_takes_it(
    asking: tuple[GatewayProcess, GatewayProcess],
    asking_callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    place = upstream.at("refused")
    place.always_answers(by_method(get=failing(401), post=failing(401)))
    assert _status(asking_callers[0], "refused") == 502
    _wait_until_out(asking[1], "credential:refused")
    time.sleep(2.5)
    assert asking[1].taken_out("credential:refused")
    place.always_answers(by_method(get=LISTED, post=whole(completion())))
    _wait_until_back(asking, "refused")


def test_a_provider_is_found_dead_before_a_caller_finds_it_and_told_once(
    asking: tuple[GatewayProcess, GatewayProcess],
    asking_callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    upstream.at("down").always_answers(lambda wire: wire.cut("rst"))
    for gateway in asking:
        _wait_until_out(gateway, "provider:down", within=8)
    assert _status(asking_callers[1], "down") == 503
    assert _posts(upstream, "down") == 0
    told = eventually(
        lambda: (
            [
                row
                for row in asking[0].clerk.rows("tenants.Alert")
                if row["data"]["provider"] == "down"
            ]
            or None
        ),
        within=5,
    )
    assert [(row["tenant"], row["data"]["reason"]) for row in told] == [("", "connection")]
    upstream.at("down").always_answers(by_method(get=LISTED, post=whole(completion())))
    _wait_until_back(asking, "provider:down")
    assert _status(asking_callers[0], "down") == 200
    metrics = [httpx.get(f"{one.url}/metrics", trust_env=False).text for one in asking]
    assert any(
        'gateway_probes_total{outcome="connection",provider="down"}' in one for one in metrics
    )


def test_the_turn_of_a_dead_worker_passes_to_another(
    asking: tuple[GatewayProcess, GatewayProcess],
    asking_callers: tuple[httpx.Client, httpx.Client],
    upstream: FakeUpstream,
) -> None:
    def is_asked() -> None:
        before = len(upstream.at_path("watched"))
        eventually(lambda: len(upstream.at_path("watched")) > before or None, within=8)

    asking[1].kill()
    time.sleep(4.5)  # twice the interval, and the time-out of a probe
    is_asked()  # by the first, whoever had the turn before
    asking[1].start()
    asking[0].kill()
    time.sleep(0.5)  # what was under way
    is_asked()
