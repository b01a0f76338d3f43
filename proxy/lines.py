"""Requests that wait their turn for a provider's limit, fairly between tenants.

Start-time fair queuing (Goyal, Vin and Cheng, 1996): each request gets a start tag, the later of
the line's own time and the end of its tenant's last request, which is 1/weight after its start. Who
has the least tag is next, and the line's time is that tag. So tenants that always have somebody
waiting are served in proportion to their weights, however many they send; and one that comes seldom
does not wait behind another's crowd. When the line is full, the tenant with the most waiting for
its weight loses its last.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

from proxy.errors import Overloaded
from routing.snapshots import Queue

LOOK_SECONDS = 0.25
"""Between two looks at a limit whose next release nobody here knows of."""
SHORTEST_LOOK = 0.002

Try = Callable[[], Awaitable[int | None]]
"""Takes what is waited for: None once it is taken, else milliseconds until it may be there, -1 for
unknown. Raises what ends the waiting."""


class _Waiter:
    """`leave` undoes what was taken for somebody who has left meanwhile."""

    def __init__(
        self, tenant: str, start: float, attempt: Try, leave: Callable[[], Awaitable[None]]
    ) -> None:
        self.tenant, self.start = tenant, start
        self.attempt, self.leave = attempt, leave
        self.served: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Line:
    """Who waits for one provider."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Waiter]] = []
        self._numbers = count()
        self._waiting: Counter[str] = Counter()
        self._weights: dict[str, int] = {}
        self._ends: dict[str, float] = {}
        self._time = 0.0
        self._serving: asyncio.Task[None] | None = None
        self._released = asyncio.Event()

    def __len__(self) -> int:
        return self._waiting.total()

    def release(self) -> None:
        """Something was given back: the next may have its turn."""
        self._released.set()

    async def wait(
        self,
        queue: Queue,
        *,
        tenant: str,
        weight: int,
        attempt: Try,
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        """Returns once `attempt` has taken what it wants. Raises Overloaded when the line is full
        or the wait too long, and whatever `attempt` raises."""
        self._weights[tenant] = weight
        if len(self) >= queue.max_waiting:
            self._make_room(tenant)
        start = max(self._time, self._ends.get(tenant, 0.0))
        self._ends[tenant] = start + 1 / weight
        waiter = _Waiter(tenant, start, attempt, leave)
        heapq.heappush(self._heap, (start, next(self._numbers), waiter))
        self._waiting[tenant] += 1
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout(queue.max_wait):
                await waiter.served
        except TimeoutError:
            raise Overloaded(
                f"The request waited for its provider for longer than {queue.max_wait:g} s.",
                retry_after=1,
            ) from None
        finally:
            waiter.served.cancel()
            self._waiting[tenant] -= 1
            self._forget_idle()

    def _make_room(self, tenant: str) -> None:
        """The longest crowd loses its last; the newcomer, if that crowd is its own."""
        most = max(self._waiting, key=lambda name: self._waiting[name] / self._weights[name])
        crowd = self._waiting[most] / self._weights[most]
        full = Overloaded("Too many requests wait for this provider.", retry_after=1)
        if crowd <= (self._waiting[tenant] + 1) / self._weights[tenant]:
            raise full
        waiting = [entry for entry in self._heap if not entry[2].served.done()]
        last = max((entry for entry in waiting if entry[2].tenant == most), default=None)
        if last is None:
            raise full
        last[2].served.set_exception(full)
        self._ends[most] = last[0]

    def _forget_idle(self) -> None:
        if not len(self):
            self._heap.clear()
            self._waiting.clear()
            self._ends.clear()
            self._time = 0.0

    async def _serve(self) -> None:
        """Gives turns until nobody waits."""
        while self._heap:
            start, _, head = self._heap[0]
            if head.served.done():
                heapq.heappop(self._heap)
                continue
            self._released.clear()
            try:
                wait = await head.attempt()
            except Exception as error:  # noqa: BLE001  (it is the waiter's to raise)
                if not head.served.done():
                    head.served.set_exception(error)
                continue
            if wait is None:
                await self._served(start, head)
            else:
                await self._pause(wait)

    async def _served(self, start: float, head: _Waiter) -> None:
        self._time = max(self._time, start)
        if head.served.done():
            await head.leave()
        else:
            head.served.set_result(None)

    async def _pause(self, wait: int) -> None:
        seconds = LOOK_SECONDS if wait < 0 else min(max(wait / 1000, SHORTEST_LOOK), LOOK_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._released.wait()
        except TimeoutError:
            pass
