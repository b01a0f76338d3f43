"""One HTTP/1.1 connection to an upstream: a request out, an answer in, over httptools' parser.

Strategy: the parser's callbacks only store; whoever reads takes everything that has arrived in one
piece, so a hundred small chunks that came together cost one wake-up and leave in one write. Reading
from the socket pauses while BUFFER_BYTES wait to be taken. Which errors an upstream can make is
decided here and said as UpstreamError; how late is too late belongs to the callers, who say it with
each wait. One timer of the connection looks when somebody could be late, and again when the one who
waits by then would be: so a wait that ends in time costs no timer of its own.
"""

import asyncio
import math
from typing import cast

import httptools

from proxy.errors import UpstreamError

BUFFER_BYTES = 256_000
HEAD_BYTES = 64_000


class Connection(asyncio.Protocol):
    """Carries one exchange at a time, and many in a row while both sides keep it alive."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.exchanges = 0
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._late_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf
        self._error: UpstreamError | None = None
        self.is_open = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._head_size = 0
        self._paused = False
        self._sized = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.has_head = False
        self.is_complete = False
        self.keeps_alive = False
        self.heard = False

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self.is_complete:
            # Bytes that nobody asked for: the connection cannot be trusted for another exchange.
            self.keeps_alive = False
            self.abort()
            return
        self.heard = True
        if not self.has_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(
                "server_error", f"The upstream's answer is not HTTP that can be read: {error}."
            )
        except httptools.HttpParserUpgrade:
            self._fail("server_error", "The upstream wants to speak another protocol than HTTP.")
        else:
            if not self.has_head and self._head_size > HEAD_BYTES:
                self._fail("server_error", f"The upstream's headers are over {HEAD_BYTES} bytes.")
            elif self._waiting > BUFFER_BYTES and not self._paused and self.transport:
                self._paused = True
                self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._look_at(math.inf)
        if not self.is_complete and self._error is None:
            if self.has_head and not self._sized and error is None:
                self.is_complete = True  # an answer without a length lasts until the end
            else:
                reason = f": {error}" if error else ""
                self._error = UpstreamError(
                    "connection",
                    f"The upstream closed the connection before its answer was complete{reason}.",
                )
        self._wake()

    # ---- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()
            return
        self._sized = (
            b"content-length" in self.headers
            or b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        )
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._waiting += len(body)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True
            self.keeps_alive = self._sized and self._parser.should_keep_alive()

    # ---- what callers do

    def send(self, request: bytes) -> None:
        """Starts an exchange. Raises UpstreamError when the connection has gone."""
        if not self.is_open or self.transport is None:
            raise UpstreamError("connection", "The connection to the upstream had ended.")
        if self.exchanges:
            self._begin()
        self.exchanges += 1
        self.transport.write(request)

    async def read_head(self, late_at: float) -> None:
        """Waits for status and headers. Raises UpstreamError, or TimeoutError at the loop's time
        `late_at`."""
        while not self.has_head:
            if self._error is not None:
                raise self._error
            await self._arrival(late_at)

    async def read(self, late_at: float) -> bytes | None:
        """All of the body that has arrived, at least one byte of it; None after the last. Raises
        UpstreamError where the upstream stopped in the middle, TimeoutError at `late_at`."""
        while not self._pieces:
            if self.is_complete:
                return None
            if self._error is not None:
                raise self._error
            await self._arrival(late_at)
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        if self._paused and self.transport is not None and self.is_open:
            self._paused = False
            self.transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Ends the connection now."""
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()

    async def _arrival(self, late_at: float) -> None:
        self._late_at = late_at
        if late_at < self._looks_at:
            self._look_at(late_at)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at(self, when: float) -> None:
        """Sets the timer; for ever off is off."""
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = when
        self._timer = None if when == math.inf else self._loop.call_at(when, self._look)

    def _look(self) -> None:
        waits = self._waiter is not None and not self._waiter.done()
        if waits and self._loop.time() < self._late_at:
            self._look_at(self._late_at)
            return
        self._look_at(math.inf)
        if waits and self._waiter is not None:
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, kind: str, message: str) -> None:
        self._error = UpstreamError(kind, message)
        self.abort()
