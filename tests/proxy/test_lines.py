"""Waiting for a provider's limit: fair between tenants, bounded, ended when callers leave."""

import asyncio
from collections import Counter

import pytest

from proxy.errors import Overloaded, RateLimitExceeded
from proxy.lines import Line
from routing.snapshots import Queue

ROOMY = Queue(max_waiting=10_000, max_wait=60)


class Slots:
    """A limit of concurrency, with nobody but this line to take from it."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.line = Line()

    async def take(self) -> int | None:
        await asyncio.sleep(0)
        if self.free <= 0:
            return -1
        self.free -= 1
        return None

    def give_back(self) -> None:
        self.free += 1
        self.line.release()

    async def leave(self) -> None:
        self.give_back()

    async def wait(self, tenant: str, weight: int = 1, queue: Queue = ROOMY) -> None:
        await self.line.wait(
            queue, tenant=tenant, weight=weight, attempt=self.take, leave=self.leave
        )


async def served_in_order(slots: Slots, crowd: list[tuple[str, int]], served: int) -> Counter[str]:
    """Everybody lines up at once; each turn is given back as soon as it is taken."""
    turns: list[str] = []
    enough = asyncio.Event()

    async def one(tenant: str, weight: int) -> None:
        await slots.wait(tenant, weight)
        turns.append(tenant)
        if len(turns) >= served:
            enough.set()
        await asyncio.sleep(0)
        slots.give_back()

    tasks = [asyncio.create_task(one(*who)) for who in crowd]
    await enough.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Counter(turns[:served])


async def test_a_tenants_flood_does_not_starve_another() -> None:
    crowd = [("flood", 1)] * 2000 + [("quiet", 1)] * 100
    turns = await served_in_order(Slots(4), crowd, 200)
    assert 95 <= turns["quiet"] <= 105


async def test_turns_are_given_by_weight() -> None:
    crowd = [("small", 1)] * 500 + [("large", 4)] * 500
    turns = await served_in_order(Slots(3), crowd, 400)
    assert 304 <= turns["large"] <= 336


async def test_who_comes_seldom_is_served_next() -> None:
    slots = Slots(0)
    crowd = [asyncio.create_task(slots.wait("flood")) for _ in range(50)]
    await asyncio.sleep(0.01)
    for _ in range(10):
        slots.give_back()
    await asyncio.sleep(0.05)
    late = asyncio.create_task(slots.wait("quiet"))
    await asyncio.sleep(0)
    slots.give_back()
    await asyncio.sleep(0.05)
    slots.give_back()
    await asyncio.wait_for(late, 1)
    assert sum(task.done() for task in crowd) <= 11
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_a_full_line_refuses() -> None:
    slots, queue = Slots(0), Queue(max_waiting=2, max_wait=60)
    waiting = [asyncio.create_task(slots.wait("a", queue=queue)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="Too many requests wait"):
        await slots.wait("a", queue=queue)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(slots.line) == 0


async def test_a_full_line_takes_the_place_from_the_longest_crowd() -> None:
    slots, queue = Slots(0), Queue(max_waiting=4, max_wait=60)
    crowd = [asyncio.create_task(slots.wait("flood", queue=queue)) for _ in range(4)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(slots.wait("quiet", queue=queue))
    await asyncio.sleep(0.01)
    assert [task.done() for task in crowd] == [False, False, False, True]
    assert isinstance(crowd[3].exception(), Overloaded)
    slots.give_back()
    slots.give_back()
    await asyncio.wait_for(quiet, 1)
    for task in crowd[:3]:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_waiting_too_long_is_refused() -> None:
    slots = Slots(0)
    with pytest.raises(Overloaded, match=r"longer than 0\.05 s"):
        await slots.wait("a", queue=Queue(max_waiting=5, max_wait=0.05))
    assert len(slots.line) == 0


async def test_what_was_taken_for_somebody_who_left_is_given_back() -> None:
    slots = Slots(0)
    leaving = asyncio.create_task(slots.wait("a"))
    await asyncio.sleep(0.01)
    slots.free = 1
    slots.line.release()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(slots.wait("b"), 1)


async def test_an_error_ends_the_waiting_of_one_alone() -> None:
    slots = Slots(0)

    async def refused() -> int | None:
        raise RateLimitExceeded("your own limit", retry_after=1)

    bad = asyncio.create_task(
        slots.line.wait(ROOMY, tenant="a", weight=1, attempt=refused, leave=slots.leave)
    )
    good = asyncio.create_task(slots.wait("b"))
    await asyncio.sleep(0.01)
    slots.give_back()
    await asyncio.wait_for(good, 1)
    with pytest.raises(RateLimitExceeded):
        await bad
