"""How long an attempt may stay silent where another target could answer instead."""

import asyncio
from typing import Any, NamedTuple, Self

from proxy.errors import UpstreamError
from proxy.exchange import Exchange


class Impatience(NamedTuple):
    """How many seconds a target may be silent, and whether the call leaves it when it is taken out
    for its time-outs."""

    seconds: float | None = None
    may_leave: bool = False


ENDLESS = Impatience()


class Patience:
    """Around one attempt: raises UpstreamError of the kind `slow` when nothing has come within so
    many seconds, and of the kind `timeout` when its target is taken out meanwhile and it
    `may_leave`. What counts is the first content of a stream, the head of a whole answer. Without
    either it never does."""

    def __init__(self, exchange: Exchange, impatience: Impatience) -> None:
        self._exchange = exchange
        self._seconds, self.may_leave = impatience
        self._is_taken_out = False
        self._timeout: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if self._seconds is not None or self.may_leave:
            self._timeout = asyncio.timeout(None)
            await self._timeout.__aenter__()
        if self._seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._look)
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._timeout is None:
            return
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            if self._is_taken_out:
                message = "The upstream was taken out before it had sent anything."
                raise UpstreamError("timeout", message) from None
            raise UpstreamError(
                "slow", f"The upstream sent nothing for {self._seconds:g} s (slow)."
            ) from None

    def leave(self) -> None:
        """The target has been found to answer nobody."""
        self._is_taken_out = True
        self._look()

    def _look(self) -> None:
        exchange = self._exchange
        heard = exchange.head_sent if exchange.stream else exchange.answer is not None
        timeout = self._timeout
        if not heard and timeout is not None and not timeout.expired():
            timeout.reschedule(asyncio.get_running_loop().time())
