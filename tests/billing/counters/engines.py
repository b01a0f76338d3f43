"""Engines to test, on a clock of the test's own."""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis

from billing.counters.asks import Admitted, Answer, Ask, Cold, Counters, Hold, tag_of
from billing.counters.memory import MemoryCounters
from billing.counters.nodes import TAGS
from billing.counters.redis import RedisCounters
from billing.counters.scripts import load

CLOCK = """
local function microseconds()
  local now = redis.call('GET', string.sub(KEYS[1], 1, -5) .. 'clock')
  if now then return tonumber(now) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""
WHILE = 5.0
"""A deadline for machines that are busy with other tests."""


class MemoryClock:
    def __init__(self) -> None:
        self.now = 1_790_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


class RedisClock(MemoryClock):
    """What scripts take for the time; `client` is a synchronous one."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client
        self.advance(0)

    def advance(self, milliseconds: int) -> None:
        super().advance(milliseconds)
        pipeline = self._client.pipeline(transaction=False)
        for tag in TAGS:
            pipeline.set(f"gateway:{tag}:clock", self.now * 1000)
        pipeline.execute()


def client_of(url: str) -> Any:
    with redis.Redis.from_url(url) as client:
        if client.info("server")["redis_mode"] == "cluster":
            return redis.RedisCluster.from_url(url)
    return redis.Redis.from_url(url)


def flush(url: str) -> None:
    """Of a server that is ours alone, or of our database in one that was given."""
    client = client_of(url)
    if isinstance(client, redis.RedisCluster):
        client.flushall(target_nodes="primaries")
    else:
        client.flushdb()
    client.close()


@asynccontextmanager
async def redis_engine(url: str, **settings: Any) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(url, **{"deadline": WHILE, "register_ms": 0, **settings})
    await counters.start()
    try:
        await counters.ready()
        yield counters
    finally:
        await counters.stop()


class Desk:
    """An engine with the records of a database beside it, as admission has them."""

    def __init__(self, counters: Counters, clock: MemoryClock) -> None:
        self.counters, self.clock = counters, clock
        self.records: dict[str, Counter[str]] = {}
        """What each committed record used, by key."""
        self._settled: dict[str, Counter[str]] = {}

    def hold(self, *asks: Ask, entry: bytes = b"") -> Hold:
        return Hold(str(uuid.uuid4()), list(asks), entry)

    async def admit(self, *asks: Ask) -> tuple[Hold, Answer]:
        hold = self.hold(*asks)
        return hold, await self.admit_hold(hold)

    async def admit_hold(self, hold: Hold) -> Answer:
        while True:
            answer = await self.counters.admit(hold)
            if not isinstance(answer, Cold):
                return answer
            for index in answer.places:
                await self.warm(hold.asks[index])

    async def admitted(self, *asks: Ask) -> Hold:
        hold, answer = await self.admit(*asks)
        assert isinstance(answer, Admitted), answer
        return hold

    async def warm(self, ask: Ask) -> None:
        while True:
            held = await self.counters.held(tag_of(ask.key))
            if await self.counters.warm(ask, self.total(ask.key, held), held):
                return

    def total(self, key: str, apart_from: Collection[str]) -> int:
        records = (used for name, used in self.records.items() if name not in apart_from)
        return sum(used[key] for used in records)

    async def settle(self, hold: Hold, *used: int) -> Sequence[int] | None:
        self.will_commit(hold, used)
        return await self.counters.settle(hold, list(used))

    def will_commit(self, hold: Hold, used: Sequence[int]) -> None:
        amounts: Counter[str] = Counter()
        for ask, amount in zip(hold.asks, used, strict=True):
            amounts[ask.key] += amount
        self._settled[hold.record_id] = amounts

    async def commit(self, *holds: Hold) -> None:
        """The database has them; and is told so."""
        for hold in holds:
            self.records[hold.record_id] = self._settled.pop(hold.record_id)
        tags = {tag_of(key) for hold in holds for key in self.records[hold.record_id]}
        await self.counters.committed([hold.record_id for hold in holds], tags)

    async def state(self, ask: Ask) -> tuple[int, int]:
        (state,) = await self.counters.read([ask])
        assert state is not None
        return tuple(state)


def memory_desk() -> Desk:
    clock = MemoryClock()
    return Desk(MemoryCounters(clock), clock)


@asynccontextmanager
async def redis_desk(url: str, **settings: Any) -> AsyncIterator[Desk]:
    """On an emptied Redis, with a clock that stands still."""
    flush(url)
    client = client_of(url)
    clock = RedisClock(client)
    async with redis_engine(url, scripts=load(CLOCK), **settings) as counters:
        yield Desk(counters, clock)
    client.close()


def eventually(seconds: float = 10.0) -> Any:
    """Tries until something holds: `for _ in eventually(): ...`; ends without a word."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)
