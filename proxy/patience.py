"""How long an attempt may stay silent before the alias finds it too slow."""

import asyncio
from typing import Any, Self

from proxy.errors import UpstreamError
from proxy.exchange import Exchange


class Patience:
    """Around one attempt: raises UpstreamError of the kind `slow` when nothing has come within so
    many seconds. What counts is the first content of a stream, the head of a whole answer. Without
    a bound it never does."""

    def __init__(self, exchange: Exchange, seconds: float | None) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if self._seconds is not None:
            self._timeout = asyncio.timeout(None)
            await self._timeout.__aenter__()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._look)
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._timeout is None or self._timer is None:
            return
        self._timer.cancel()
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise UpstreamError(
                "slow", f"The upstream sent nothing for {self._seconds:g} s (slow)."
            ) from None

    def _look(self) -> None:
        exchange = self._exchange
        heard = exchange.head_sent if exchange.stream else exchange.answer is not None
        if not heard and self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())
