"""What the dead have held is settled in their stead, once."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from billing.counters.asks import PURSE, Ask, CountersAway, Orphan, Taken, tag_of
from billing.counters.blocking import BlockingCounters
from billing.counters.redis import RedisCounters
from tests.billing.counters.engines import Desk, MemoryClock, flush, redis_engine
from tests.billing.counters.test_engines import gateway, purse, slots

LEASE = 0.5
"""Five renewals in it, on a machine that is busy with other tests."""


@pytest.fixture(params=["redis_url", "redis_cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    flush(url)
    return url


@pytest.fixture
async def living(url: str) -> AsyncIterator[Desk]:
    async with redis_engine(url, lease=LEASE) as counters:
        yield Desk(counters, MemoryClock())


@pytest.fixture
async def dying(url: str, living: Desk) -> AsyncIterator[Desk]:
    async with redis_engine(url, lease=LEASE) as counters:
        desk = Desk(counters, MemoryClock())
        desk.records = living.records
        yield desk


def die(desk: Desk) -> None:
    """Or freeze: nothing is renewed any more, and nothing is said."""
    assert isinstance(desk.counters, RedisCounters)
    for task in desk.counters._tasks:
        task.cancel()


def half(entry: bytes, takes: Sequence[Taken]) -> tuple[list[int], bytes]:
    return [take.take // 2 for take in takes], entry + b", interrupted"


async def sweep(desk: Desk, expected: int = 1) -> list[Orphan]:
    """Until so many were found, or it takes too long."""
    assert isinstance(desk.counters, RedisCounters)
    found: list[Orphan] = []
    until = time.monotonic() + (10 if expected else 3 * LEASE)
    while time.monotonic() < until and not (expected and len(found) >= expected):
        async for orphans in desk.counters.sweep(half):
            found += orphans
            ids = [orphan.record_id for orphan in orphans]
            tags = {tag for orphan in orphans for tag in orphan.tags}
            await desk.counters.committed(ids, tags)
        await asyncio.sleep(LEASE / 5)
    return found


async def test_what_a_dead_worker_held_is_settled_by_the_policy(living: Desk, dying: Desk) -> None:
    mine = await living.admitted(purse(10), gateway(10))
    hold = dying.hold(purse(600), slots(), gateway(40), entry=b"the entry")
    await dying.admit_hold(hold)
    die(dying)
    (orphan,) = await sweep(living)
    assert orphan.record_id == hold.record_id
    assert orphan.entry == b"the entry, interrupted"
    assert set(orphan.tags) == {tag_of(purse(0).key), tag_of(gateway(0).key)}
    assert await living.state(purse(0)) == (300, 10)
    assert await living.state(gateway(0)) == (20, 10)
    assert await living.state(slots()) == (0, 0)
    for tag in ("{t1}", "{gw}"):
        held = await living.counters.held(tag)
        assert hold.record_id not in held
        assert mine.record_id in held


async def test_a_worker_that_was_only_frozen_finds_its_hold_gone(living: Desk, dying: Desk) -> None:
    hold = await dying.admitted(purse(600))
    die(dying)
    assert len(await sweep(living)) == 1
    assert await dying.counters.settle(hold, [600]) is None
    assert await living.state(purse(0)) == (300, 0)


async def test_who_settles_first_decides(living: Desk, dying: Desk) -> None:
    hold = await dying.admitted(purse(600), gateway(6))
    die(dying)
    await dying.settle(hold, 1, 1)
    (orphan,) = await sweep(living)
    assert orphan.entry == b""
    assert await living.state(purse(0)) == (1, 0)
    assert await living.state(gateway(0)) == (1, 0)


async def test_a_settled_record_that_was_never_written_is_handed_on(
    living: Desk, dying: Desk
) -> None:
    hold = dying.hold(purse(600))
    await dying.admit_hold(hold)
    hold.entry = b"the final entry"
    await dying.settle(hold, 77)
    die(dying)
    (orphan,) = await sweep(living)
    assert orphan == Orphan(hold.record_id, ["{t1}"], b"the final entry")
    assert hold.record_id not in await living.counters.held("{t1}")


async def test_the_living_are_not_swept(living: Desk, dying: Desk) -> None:
    hold = await dying.admitted(purse(600))
    assert await sweep(living, expected=0) == []
    assert await dying.settle(hold, 5) == [5]


async def test_a_worker_that_could_not_renew_is_a_suspect_at_first(
    living: Desk, dying: Desk
) -> None:
    hold = await dying.admitted(purse(600))
    die(dying)
    await asyncio.sleep(LEASE * 1.2)
    assert isinstance(living.counters, RedisCounters)
    assert isinstance(dying.counters, RedisCounters)
    assert [orphans async for orphans in living.counters.sweep(half)] == []
    await dying.counters._leases.renew()
    assert [orphans async for orphans in living.counters.sweep(half)] == []
    assert await dying.settle(hold, 5) == [5]


async def test_an_entry_that_cannot_be_settled_holds_up_no_other(living: Desk, dying: Desk) -> None:
    bad, good = dying.hold(purse(10), entry=b"bad"), dying.hold(purse(20), entry=b"good")
    await dying.admit_hold(bad)
    await dying.admit_hold(good)
    die(dying)

    def settle(entry: bytes, takes: Sequence[Taken]) -> tuple[list[int], bytes]:
        if entry == b"bad":
            raise ValueError("nobody can read this")
        return half(entry, takes)

    assert isinstance(living.counters, RedisCounters)
    found = []
    until = time.monotonic() + 10
    while time.monotonic() < until and not found:
        async for orphans in living.counters.sweep(settle):
            found += [orphan.record_id for orphan in orphans]
            await living.counters.committed(found, [purse(0).key])
        await asyncio.sleep(LEASE / 5)
    assert found == [good.record_id]


async def test_two_sweepers_do_not_get_in_each_others_way(
    url: str, living: Desk, dying: Desk
) -> None:
    holds = [await dying.admitted(purse(10)) for _ in range(20)]
    die(dying)
    found: list[Orphan] = []
    async with redis_engine(url, lease=LEASE) as other:
        until = time.monotonic() + 10
        while time.monotonic() < until and len(found) < 20:
            both = [_once(living.counters), _once(other)]
            for orphans in await asyncio.gather(*both):
                found += orphans
            await asyncio.sleep(LEASE / 5)
    names = [orphan.record_id for orphan in found]
    assert sorted(names) == sorted(hold.record_id for hold in holds)
    assert await living.state(purse(0)) == (100, 0)


async def _once(counters: object) -> list[Orphan]:
    assert isinstance(counters, RedisCounters)
    found: list[Orphan] = []
    async for orphans in counters.sweep(half):
        found += orphans
        await counters.committed([orphan.record_id for orphan in orphans], [purse(0).key])
    return found


# ---- without an event loop


async def test_people_read_forget_and_sweep_without_an_event_loop(
    url: str, living: Desk, dying: Desk
) -> None:
    await living.admitted(purse(10), gateway(3))
    hold = dying.hold(purse(600), entry=b"e")
    await dying.admit_hold(hold)
    die(dying)
    assert await asyncio.to_thread(_swept, url, purse(0)) == [
        Orphan(hold.record_id, ["{t1}"], b"e, interrupted")
    ]
    asks = [gateway(0), purse(0), Ask(PURSE, "{t2}nobody", 0, 1)]
    states = await asyncio.to_thread(_read, url, asks)
    assert states == [(0, 3), (300, 10), None]
    living.records[hold.record_id] = {purse(0).key: 300}  # type: ignore[assignment]
    await asyncio.to_thread(_forget, url, purse(0))
    assert await living.counters.read([purse(0)]) == [None]


def _swept(url: str, ask: Ask) -> list[Orphan]:
    found: list[Orphan] = []
    with BlockingCounters(url, lease=LEASE) as counters:
        until = time.monotonic() + 10
        while time.monotonic() < until and not found:
            for orphans in counters.sweep(half):
                found += orphans
                counters.committed([orphan.record_id for orphan in orphans], [ask.key])
            time.sleep(LEASE / 5)
    return found


def _read(url: str, asks: list[Ask]) -> list[object]:
    with BlockingCounters(url) as counters:
        return list(counters.read(asks))


def _forget(url: str, ask: Ask) -> None:
    with BlockingCounters(url) as counters:
        counters.forget([ask.key])


def test_without_redis_people_are_told_so() -> None:
    with pytest.raises(CountersAway):
        BlockingCounters("redis://127.0.0.1:1/0")
