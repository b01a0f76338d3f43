"""A Redis that loses its counters, or stops answering, admits nothing by accident."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from billing.counters.asks import Admitted, Cold, CountersAway, Hold, State
from billing.counters.redis import EvictionAllowed, RedisCounters
from tests.billing.counters.engines import Desk, MemoryClock, client_of, redis_engine
from tests.billing.counters.test_engines import bucket, gateway, purse, short_of, slots
from tests.cut_line import Line
from tests.private_services import ServiceUnavailable, _private_redis

REGISTER_MS = 600
"""Longer than two heartbeats."""


@contextlib.contextmanager
def own_redis() -> Iterator[str]:
    """One that a test may stop, whatever Redis the others were given."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(_private_redis())
        except ServiceUnavailable as reason:
            pytest.skip(str(reason))
        yield url


@pytest.fixture
def url() -> Iterator[str]:
    with own_redis() as url:
        yield url


@pytest.fixture
async def desk(url: str) -> AsyncIterator[Desk]:
    async with redis_engine(url, register_ms=REGISTER_MS) as counters:
        yield Desk(counters, MemoryClock())


async def test_what_a_flush_has_lost_is_rebuilt_from_records_and_holds(
    url: str, desk: Desk
) -> None:
    committed = await desk.admitted(purse(100), gateway(5))
    settled = await desk.admitted(purse(100), gateway(5))
    open_hold = await desk.admitted(purse(100), slots(), gateway(5))
    await desk.settle(committed, 11, 1)
    await desk.commit(committed)
    await desk.settle(settled, 22, 2)
    client_of(url).flushall()
    began = time.monotonic()
    hold, answer = await desk.admit(purse(1), slots(), gateway(1))
    assert time.monotonic() - began < 2.5
    assert answer == Admitted([11 + 22 + 100 + 1, 0, 1 + 2 + 5 + 1])
    assert await desk.state(purse(0)) == (33, 101)
    assert await desk.settle(open_hold, 44, 0, 4) == [33 + 44, 0, 3 + 4]
    await desk.settle(hold, 0, 0, 0)
    await desk.commit(settled, open_hold, hold)
    assert await desk.state(purse(0)) == (77, 0)
    assert not {settled.record_id, hold.record_id} & set(await desk.counters.held("{t1}"))


async def test_every_worker_tells_a_new_epoch_of_its_holds(url: str, desk: Desk) -> None:
    async with redis_engine(url, register_ms=REGISTER_MS) as other:
        others = Desk(other, desk.clock)
        others.records = desk.records
        await desk.warm(purse(0))
        theirs = await others.admitted(purse(600), slots(2))
        client_of(url).flushall()
        short = short_of((await desk.admit(purse(401), slots()))[1])
        assert [place.room for place in short] == [400, 0]
        assert await others.settle(theirs, 100, 0) == [100, 0]


async def test_a_worker_that_was_frozen_tells_of_its_holds_when_it_comes_back(
    url: str, desk: Desk
) -> None:
    async with redis_engine(url, register_ms=REGISTER_MS) as other:
        others = Desk(other, desk.clock)
        await desk.warm(purse(0))
        theirs = await others.admitted(purse(600), slots())
        for task in other._tasks:
            task.cancel()
        client_of(url).flushall()
        assert (await desk.admit(purse(1), slots()))[1] == Admitted([1, 1])
        assert await others.settle(theirs, 100, 0) is not None
        assert theirs.record_id in await desk.counters.held("{t1}")
        await desk.warm(purse(0))
        assert await desk.state(purse(0)) == (100, 1)
        assert await desk.state(slots()) == (1, 0)


async def test_a_hold_that_settles_during_a_loss_is_counted(url: str, desk: Desk) -> None:
    hold = await desk.admitted(purse(600))
    client_of(url).flushall()
    assert await desk.settle(hold, 500) is not None
    await desk.warm(purse(0))
    assert await desk.state(purse(0)) == (500, 0)


async def test_young_buckets_are_cold_after_a_loss(url: str, desk: Desk) -> None:
    assert isinstance(await desk.counters.admit(desk.hold(bucket(1))), Cold)
    await desk.admitted(bucket(10))
    client_of(url).flushall()
    assert isinstance(await desk.counters.admit(desk.hold(bucket(1))), Cold)
    assert [short.room for short in short_of((await desk.admit(bucket(1)))[1])] == [0]


async def test_scripts_that_were_flushed_are_loaded_again(url: str, desk: Desk) -> None:
    hold = await desk.admitted(purse(1))
    client_of(url).script_flush()
    answers = await asyncio.gather(*(desk.admit(purse(1)) for _ in range(20)))
    assert all(isinstance(answer, Admitted) for _, answer in answers)
    await desk.settle(hold, 1)
    assert await desk.state(purse(0)) == (1, 20)


async def test_a_restarted_redis_is_another_one(desk: Desk, url: str) -> None:
    with own_redis() as first, own_redis() as second, Line() as line:
        async with redis_engine(line.to(first), register_ms=REGISTER_MS) as counters:
            desk = Desk(counters, desk.clock)
            hold = await desk.admitted(purse(700))
            line.cut()
            line.to(second)
            answer = await _patiently(desk, purse(400))
            assert [short.room for short in short_of(answer)] == [300]
            assert await desk.settle(hold, 1) == [1]


async def test_a_replica_that_was_behind_is_not_believed(desk: Desk) -> None:
    with own_redis() as first, own_redis() as second, Line() as line:
        master, replica = client_of(first), client_of(second)
        async with redis_engine(line.to(first), register_ms=REGISTER_MS) as counters:
            desk = Desk(counters, desk.clock)
            stale, lost = await _behind(desk, master, replica)
            line.cut()
            replica.replicaof("NO", "ONE")
            line.to(second)
            answer = await _patiently(desk, purse(1_000))
            # What the replica missed: one hold was settled (40) and written, another admitted.
            assert [short.room for short in short_of(answer)] == [1_000 - 40 - 300]
            assert await desk.counters.read([slots()]) == [State(1, 0)]
            assert stale.record_id not in await counters.held("{t1}")
            assert await desk.settle(lost, 200, 0) == [240, 0]


async def _behind(desk: Desk, master: redis.Redis, replica: redis.Redis) -> tuple[Hold, Hold]:
    """A hold that the replica believes to be open, and one that it does not know."""
    stale = await desk.admitted(purse(500), slots())
    host, port = master.connection_pool.connection_kwargs["host"], 0
    port = master.connection_pool.connection_kwargs["port"]
    replica.replicaof(host, port)
    for _ in range(500):
        if replica.info("replication").get("master_link_status") == "up":
            break
        await asyncio.sleep(0.02)
    assert replica.hexists("gateway:{t1}:held", stale.record_id)
    replica.replicaof("NO", "ONE")
    await desk.settle(stale, 40, 0)
    await desk.commit(stale)
    return stale, await desk.admitted(purse(300), slots())


async def _patiently(desk: Desk, *asks: object) -> object:
    for _ in range(50):
        try:
            return (await desk.admit(*asks))[1]  # type: ignore[arg-type]
        except CountersAway:
            await asyncio.sleep(0.1)
    raise AssertionError("the counters stay away")


# ---- a Redis that does not answer


@pytest.fixture
async def hasty(url: str) -> AsyncIterator[Desk]:
    """With the deadline of production."""
    async with redis_engine(url, deadline=0.05, register_ms=100) as counters:
        yield Desk(counters, MemoryClock())


def _pid(url: str) -> int:
    return int(client_of(url).info("server")["process_id"])


async def test_a_frozen_redis_is_given_up_in_time_and_found_again(url: str, hasty: Desk) -> None:
    counters = hasty.counters
    assert isinstance(counters, RedisCounters)
    await _patiently(hasty, purse(100))
    hold, other = hasty.hold(purse(100)), hasty.hold(purse(50))
    assert isinstance(await hasty.admit_hold(hold), Admitted)
    assert isinstance(await hasty.admit_hold(other), Admitted)
    pid = _pid(url)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(8):
            began = time.monotonic()
            with pytest.raises(CountersAway):
                await hasty.admit(purse(100))
            assert time.monotonic() - began < 0.5
        assert counters.tally.breaker_opened == 1
        began = time.monotonic()
        with pytest.raises(CountersAway):
            await counters.settle(hold, [30])
        assert time.monotonic() - began < 0.02
    finally:
        os.kill(pid, signal.SIGCONT)
    # What was settled meanwhile is delivered; what was asked and given up holds nothing.
    for _ in range(100):
        with contextlib.suppress(CountersAway):
            if await hasty.state(purse(0)) == (30, 150):
                break
        await asyncio.sleep(0.05)
    assert await hasty.state(purse(0)) == (30, 150)
    assert await hasty.settle(other, 1) == [31]
    assert not counters.deliveries


async def test_a_settle_that_was_not_delivered_is_known_to_be_in_the_database(
    url: str, hasty: Desk
) -> None:
    await _patiently(hasty, purse(0))
    hold = hasty.hold(purse(100))
    assert isinstance(await hasty.admit_hold(hold), Admitted)
    pid = _pid(url)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CountersAway):
            await hasty.counters.settle(hold, [30])
        await hasty.counters.committed([hold.record_id], [purse(0).key])
    finally:
        os.kill(pid, signal.SIGCONT)
    for _ in range(100):
        with contextlib.suppress(CountersAway):
            if hold.record_id not in await hasty.counters.held("{t1}"):
                break
        await asyncio.sleep(0.05)
    assert hold.record_id not in await hasty.counters.held("{t1}")
    assert await hasty.state(purse(0)) == (30, 0)


async def test_without_redis_every_call_says_so_and_none_hangs() -> None:
    async with redis_engine_that_is_away() as counters:
        began = time.monotonic()
        for call in (
            lambda: counters.admit(Hold("r", [purse(1)])),
            lambda: counters.held("{t1}"),
            lambda: counters.read([purse(1)]),
            lambda: counters.forget([purse(1).key]),
            lambda: counters.warm(purse(1), 0, []),
        ):
            with pytest.raises(CountersAway):
                await call()
        assert time.monotonic() - began < 2


@contextlib.asynccontextmanager
async def redis_engine_that_is_away() -> AsyncIterator[RedisCounters]:
    counters = RedisCounters("redis://127.0.0.1:1/0")
    await counters.start()
    yield counters
    await counters.stop()


async def test_a_redis_that_may_evict_counters_is_refused(url: str) -> None:
    client_of(url).config_set("maxmemory-policy", "allkeys-lru")
    counters = RedisCounters(url, deadline=5)
    with pytest.raises(EvictionAllowed, match="set it to noeviction"):
        await counters.start(insist=True)
    await counters.start()
    assert "allkeys-lru" in counters.faults()[0]
    await counters.stop()
