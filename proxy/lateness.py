"""Idle and total time-outs of an answer."""

import asyncio
from typing import Any, Self

from proxy.errors import UpstreamError
from proxy.upstream import TOTAL_TIMEOUT

EARLY = 0.005
"""Seconds by which a timer of the loop may be too early."""


class Clock:
    """Idle and total time-outs of a stream that passes, around the code that reads and writes it.

    Strategy: what has arrived is only noted. A timer looks when the upstream could be late, and
    again at that distance from what was noted last; so a piece costs no timer of its own.
    """

    def __init__(self, idle: float, total_at: float) -> None:
        self._idle = idle
        self._total_at = total_at
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._timeout = asyncio.timeout_at(total_at)
        self._timer: asyncio.TimerHandle | None = None
        self.waits_for_caller = False
        """The caller takes its time; the upstream cannot be idle meanwhile."""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._look()
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Raises UpstreamError for a time-out."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise late(self._idle, self._total_at) from None

    def tick(self) -> None:
        """Something has arrived."""
        self._heard_at = self._loop.time()

    def _look(self) -> None:
        now = self._loop.time()
        if self.waits_for_caller:
            self._heard_at = now
        if now < self._heard_at + self._idle:
            self._timer = self._loop.call_at(self._heard_at + self._idle, self._look)
        elif not self._timeout.expired():
            self._timeout.reschedule(now)


def late(idle: float, total_at: float) -> UpstreamError:
    """The error of an upstream that took too long, one way or the other."""
    if asyncio.get_running_loop().time() >= total_at - EARLY:
        return UpstreamError("timeout", TOTAL_TIMEOUT)
    return UpstreamError("timeout", f"The upstream sent nothing for {idle:g} s (idle).")
