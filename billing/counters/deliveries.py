"""What Redis must still be told: tried again in the background until it has been."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from billing.counters.asks import CountersAway
from billing.counters.tally import Tally

log = logging.getLogger(__name__)

MOST = 100_000
SECONDS_BETWEEN_TRIES = 0.25

Delivery = Callable[[], Awaitable[object]]
"""May be called again after it raised CountersAway; nothing must change by being said twice."""


class Deliveries:
    def __init__(self, tally: Tally, most: int = MOST) -> None:
        self._tally, self._most = tally, most
        self._waiting: deque[Delivery] = deque()
        self._later: deque[tuple[float, Delivery]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery) -> None:
        if len(self._waiting) >= self._most:
            self._tally.dropped += 1
            log.error("too much waits for Redis: a hold stays open until this worker ends")
            self._waiting.popleft()
        self._waiting.append(delivery)

    def add_later(self, seconds: float, delivery: Delivery) -> None:
        """For tidying up, always the same time ahead; lost when the worker ends."""
        self._later.append((asyncio.get_running_loop().time() + seconds, delivery))

    async def deliver(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_TRIES)
            await self.try_all()

    async def try_all(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            self.add(self._later.popleft()[1])
        for _ in range(len(self._waiting)):
            delivery = self._waiting.popleft()
            try:
                self._tally.retried += 1
                await delivery()
            except (CountersAway, asyncio.CancelledError) as reason:
                self._waiting.append(delivery)
                if isinstance(reason, CountersAway):
                    return
                raise
            except Exception:
                log.exception("Redis cannot be told")
                self._tally.dropped += 1

    async def last(self, seconds: float) -> None:
        """Before the worker ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await self.try_all()
                    await asyncio.sleep(SECONDS_BETWEEN_TRIES / 10)
