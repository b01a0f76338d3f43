"""Several workers and a real Redis, or a Redis Cluster: who hears what, and who may probe."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis

from routing.circuits import FORGET_SECONDS
from routing.sharing import new_sharing
from routing.sharing.alone import Alone
from routing.sharing.together import CLAIM_MS, KEY, Together
from routing.subjects import Subject, name_of
from routing.terms import Breaker
from tests.private_services import ServiceUnavailable, _private_redis

MODEL: Subject = ("model", "", "big")
TRIPS = Breaker(failures=1, window=30, cooldown=15)
HEARD_WITHIN = 0.5


@pytest.fixture(params=["redis_url", "redis_cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue(request.param)
    _flush(address)
    return address


def _flush(url: str) -> None:
    client = redis.Redis.from_url(url)
    if client.info("server")["redis_mode"] == "cluster":
        redis.RedisCluster.from_url(url).flushall(target_nodes="primaries")
    else:
        client.flushall()


@asynccontextmanager
async def _workers(url: str, count: int = 2, **options: int) -> AsyncIterator[list[Together]]:
    async with AsyncExitStack() as stack:
        workers = [Together(url, **options) for _ in range(count)]
        for worker in workers:
            await worker.start()
            stack.push_async_callback(worker.stop)
        yield workers


async def _eventually(holds: Callable[[], bool], within: float = HEARD_WITHIN) -> None:
    ends = time.monotonic() + within
    while not holds():
        assert time.monotonic() < ends, f"not within {within} s"
        await asyncio.sleep(0.01)


def _trip(worker: Together, subject: Subject = MODEL, *, at: float = 0.0) -> None:
    now = at or time.time()
    worker.circuits.of(subject, now).fail(now, TRIPS, "timeout")


def _state(worker: Together, subject: Subject = MODEL) -> str:
    circuit = worker.circuits.get(subject)
    return circuit.state(time.time()) if circuit else "never failed"


def test_without_redis_there_is_nobody_to_tell() -> None:
    assert isinstance(new_sharing(None), Alone)
    assert isinstance(new_sharing("redis://127.0.0.1:1/0"), Together)


async def test_a_lone_worker_may_always_probe() -> None:
    alone = Alone()
    assert await alone.claim_probe([MODEL])
    assert await alone.claim_turn("/openai", 1.0)
    assert not alone.problem


async def test_what_opens_and_closes_in_one_worker_reaches_the_others(url: str) -> None:
    async with _workers(url, 3) as (one, *others):
        _trip(one)
        await _eventually(lambda: all(_state(other) == "open" for other in others))
        assert all(other.circuits[MODEL].reason == "timeout" for other in others)
        others[0].circuits.close(MODEL, time.time())
        await _eventually(lambda: _state(one) == _state(others[1]) == "closed")


async def test_who_starts_learns_what_is_out(url: str) -> None:
    async with _workers(url, 1) as [one]:
        _trip(one)
        await one.exchange()
        async with _workers(url, 1) as [late]:
            assert _state(late) == "open"


async def test_the_last_news_of_who_stops_are_heard(url: str) -> None:
    async with _workers(url, 2) as (one, other):
        _trip(one)
        await one.stop()
        await _eventually(lambda: _state(other) == "open")


async def test_a_flushed_redis_is_told_again(url: str) -> None:
    async with _workers(url, 2) as (one, other):
        _trip(one)
        await _eventually(lambda: _state(other) == "open")
        _flush(url)
        await asyncio.sleep(HEARD_WITHIN)
        async with _workers(url, 1) as [late]:
            assert _state(late) == "open"
        one.circuits.close(MODEL, time.time())
        await _eventually(lambda: _state(other) == "closed")


async def test_one_of_many_may_probe_until_it_has_ended(url: str) -> None:
    async with _workers(url, 5) as workers:
        _trip(workers[0], at=time.time() - TRIPS.cooldown)
        await _eventually(lambda: all(_state(one) == "half_open" for one in workers))
        granted = await asyncio.gather(*(one.claim_probe([MODEL]) for one in workers))
        assert sum(granted) == 1
        prober = workers[granted.index(True)]
        others = [one for one in workers if one is not prober]
        assert prober.circuits[MODEL].begin(time.time())
        await asyncio.sleep(CLAIM_MS / 1000 + 0.3)  # it is renewed
        assert not any([await one.claim_probe([MODEL]) for one in others])
        prober.circuits[MODEL].release()
        await prober.exchange()
        assert await others[0].claim_probe([MODEL])


async def test_who_has_not_heard_how_a_probe_ended_may_not_probe(url: str) -> None:
    async with _workers(url, 1) as [quick]:
        _trip(quick, at=time.time() - TRIPS.cooldown)
        await quick.exchange()
        slow = Together(url)
        await slow.exchange()
        assert await quick.claim_probe([MODEL])
        quick.circuits[MODEL].open(time.time(), TRIPS.cooldown, "timeout")
        await quick.exchange()  # tells, and gives its claim back
        assert _state(slow) == "half_open"
        assert not await slow.claim_probe([MODEL])
        await slow.exchange()
        assert _state(slow) == "open"
        await slow.stop()


async def test_all_that_a_request_probes_is_claimed_or_nothing(url: str) -> None:
    other_model: Subject = ("model", "", "small")
    provider: Subject = ("provider", "", "openai")
    async with _workers(url, 2) as (one, other):
        assert await one.claim_probe([MODEL])
        one.circuits.of(MODEL, 1.0).probing = True
        assert not await other.claim_probe([provider, MODEL])
        assert await one.claim_probe([provider])
        assert await other.claim_probe([other_model])


async def test_what_a_dead_worker_claimed_is_free_after_a_second(url: str) -> None:
    async with _workers(url, 1) as [survivor]:
        dead = Together(url)
        assert await dead.claim_probe([MODEL])
        assert not await survivor.claim_probe([MODEL])
        await asyncio.sleep(CLAIM_MS / 1000)
        assert await survivor.claim_probe([MODEL])
        await dead.stop()


async def test_a_turn_stays_with_whoever_has_it(url: str) -> None:
    async with _workers(url, 2) as (one, other):
        assert await one.claim_turn("/openai", 0.3)
        assert not await other.claim_turn("/openai", 0.3)
        assert await other.claim_turn("/mistral", 0.3)
        assert await one.claim_turn("/openai", 0.3)
        await asyncio.sleep(0.35)
        assert await other.claim_turn("/openai", 0.3)


async def test_there_are_so_many_records_and_no_more(redis_url: str) -> None:
    _flush(redis_url)
    client = redis.Redis.from_url(redis_url)
    async with _workers(redis_url, 2, most=10) as (one, other):
        for number in range(30):
            _trip(one, ("model", "", f"m{number}"))
        await one.exchange()
        assert client.hlen(KEY) == 10 + 2
        await _eventually(lambda: len(other.circuits) == 10)
        assert len(one.circuits) == 30
        assert 0 < client.pttl(KEY) <= FORGET_SECONDS * 1000


async def test_what_is_long_past_makes_room_and_is_not_taken(redis_url: str) -> None:
    _flush(redis_url)
    client = redis.Redis.from_url(redis_url)
    ancient = ("model", "", "ancient")
    async with _workers(redis_url, 1, most=3) as [one]:
        _trip(one, ancient, at=time.time() - 2 * FORGET_SECONDS)
        await one.exchange()
        assert not client.hexists(KEY, name_of(ancient))
        client.hset(KEY, name_of(ancient), one.circuits[ancient].record())
        for number in range(3):
            _trip(one, ("model", "", f"m{number}"))
            await one.exchange()
        assert not client.hexists(KEY, name_of(ancient))
        assert client.hexists(KEY, "model//m2")


async def test_nonsense_in_redis_is_passed_over(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    _flush(redis_url)
    client = redis.Redis.from_url(redis_url)
    async with _workers(redis_url, 2) as (one, other):
        client.hset(KEY, "model//odd", "nonsense")
        _trip(one)
        await _eventually(lambda: _state(other) == "open")
        assert not other.problem
    assert "model//odd" in caplog.text


async def test_while_redis_is_away_each_goes_on_and_afterwards_they_agree() -> None:
    try:
        server = _private_redis()
        url = server.__enter__()
    except ServiceUnavailable as reason:
        pytest.skip(str(reason))
    try:
        pid = redis.Redis.from_url(url).info()["process_id"]
        async with _workers(url, 2) as (one, other):
            _trip(one)
            await _eventually(lambda: _state(other) == "open")
            os.kill(pid, signal.SIGSTOP)
            try:
                _trip(other, ("provider", "", "openai"))
                began = time.monotonic()
                assert await one.claim_probe([MODEL])
                assert await other.claim_probe([MODEL])
                assert time.monotonic() - began < 0.5
                await _eventually(lambda: bool(one.problem), within=3)
                assert (_state(one), _state(other)) == ("open", "open")
            finally:
                os.kill(pid, signal.SIGCONT)
            await _eventually(lambda: _state(one, ("provider", "", "openai")) == "open", within=3)
            assert not one.problem
    finally:
        server.__exit__(None, None, None)


async def test_a_start_without_redis_takes_a_moment_and_does_not_fail() -> None:
    worker = Together("redis://127.0.0.1:1/0")
    began = time.monotonic()
    await worker.start()
    assert worker.problem
    assert time.monotonic() - began < 3
    await worker.stop()


async def test_news_are_told_later_where_whoever_waited_for_it_left(redis_url: str) -> None:
    _flush(redis_url)
    client = redis.Redis.from_url(redis_url)
    worker = Together(redis_url)
    await worker.exchange()
    _trip(worker)
    leaving = asyncio.create_task(worker.exchange())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await worker.exchange()
    assert client.hexists(KEY, name_of(MODEL))
    await worker.stop()
