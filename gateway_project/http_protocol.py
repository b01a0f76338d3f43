"""How callers' HTTP/1.1 is read and written: uvicorn's protocol over httptools, with less to do for
each request.

Three things differ. A head waits for the first bytes of its body, and both leave in one write. One
timer of a connection looks whether it has been idle for too long, instead of one for each request.
And whoever answers may ask to be called back when the caller hangs up, which costs no task: the
ASGI extension of proxy/departure.py. Of a caller who has sent several requests ahead no more is
read, and it is heard when their turn comes.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from proxy.departure import EXTENSION

_WITHOUT_BODY = (204, 304)
_TEXT = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))
"""What a head may hold beside its line ends."""


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    head = b""
    """Of an answer that has begun, until its first bytes take it along."""
    departed: Callable[[], None] | None = None

    def tell_departure(self, departed: Callable[[], None] | None) -> None:
        """Whom to call, once, in the loop's turn in which the caller hangs up before it has its
        answer; at once where it has left already. None: nobody any more."""
        self.departed = departed
        if departed is not None:
            self.flow.resume_reading()  # who is not read from cannot be heard to leave
        if self.disconnected:
            self.hang_up()

    def hang_up(self) -> None:
        departed, self.departed = self.departed, None
        if departed is not None:
            departed()

    async def run_asgi(self, app: Any) -> None:
        await super().run_asgi(partial(self._run, app))

    async def _run(self, app: Any, *call: Any) -> Any:
        try:
            return await app(*call)
        finally:
            if self.head:  # of an answer that failed before anything had left: there may be another
                self.head, self.response_started = b"", False
                self.chunked_encoding, self.expected_content_length = None, 0

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected or self.response_complete:
            raise RuntimeError(f"{message['type']!r} comes out of turn")
        if self.response_started:
            self._send_body(message.get("body", b""), ends=not message.get("more_body", False))
        else:
            self.head = self._written(message["status"], message.get("headers", ()))
            self.response_started, self.waiting_for_100_continue = True, False

    def _written(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head, and from it how the body is framed."""
        fields = [*self.default_headers, *headers]
        said = {name.lower(): value.lower() for name, value in fields}
        lines = [STATUS_LINE[status], *[b"%b: %b\r\n" % field for field in fields]]
        if b"close" in said.get(b"connection", b""):
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if said.get(b"transfer-encoding") == b"chunked":
            self.chunked_encoding = True
        elif (length := said.get(b"content-length")) is not None:
            self.expected_content_length, self.chunked_encoding = int(length), False
        elif self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if head.translate(None, _TEXT) != b"\r\n" * len(lines):
            raise RuntimeError("a header holds a control character")
        return head + b"\r\n"

    def _send_body(self, body: bytes, *, ends: bool) -> None:
        is_sized = self.scope["method"] != "HEAD" and not self.chunked_encoding
        if is_sized and len(body) > self.expected_content_length:
            raise RuntimeError("the body is longer than its content-length")
        head, self.head = self.head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self.transport.write(head)
        elif self.chunked_encoding:
            framed = b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head
            self.transport.write(framed + b"0\r\n\r\n" if ends else framed)
        else:
            self.expected_content_length -= len(body)
            self.transport.write(head + body)
        if ends:
            self._end()

    def _end(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the body is shorter than its content-length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._idle_since = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._answered: Cycle | None = None
        """Of the requests that have been sent, the one whose turn it is."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()
        self.pipeline.clear()  # nobody waits for their answers
        cycle = self._answered
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            cycle.hang_up()

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._idle_since = math.inf

    def on_headers_complete(self) -> None:
        scope: dict[str, Any] = cast(dict[str, Any], self.scope)
        self._idle_since = math.inf  # it may have begun before the last answer ended
        version = self.parser.get_http_version()
        scope["http_version"] = version
        scope["method"] = self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"], scope["query_string"] = url.path, url.query or b""
        last = self.cycle
        cycle = self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope["extensions"] = {EXTENSION: cycle.tell_departure}
        if last is None or last.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:  # sent before the last answer: it waits for that
            if self.pipeline:
                self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cast(Cycle, cycle)
        super()._start_asgi_task(cycle, app)

    # ---- between two requests

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _look(self) -> None:
        """Ends a connection that has been idle for too long; else looks again when it could be."""
        self._timer = None
        if self._idle_since == math.inf:
            return  # the end of the answer sets the timer again
        ends_at = self._idle_since + self.timeout_keep_alive
        if self.loop.time() < ends_at:
            self._timer = self.loop.call_at(ends_at, self._look)
        else:
            self.transport.close()
