"""A small load generator on raw sockets, for what `wrk` cannot tell.

It sees when each event of a stream arrives, plays calls to two servers in turn, and holds paced
streams open. It also replaces `wrk` where that is missing, at the price of a lower ceiling.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httptools

from bench import Failure
from bench.calls import CONTENT_EVENTS, PACE, Call, Door

LAST_BYTES = 256
"""How much of an answer is kept to see how it ended."""


class Answer:
    """One answer as it came in. Times are `perf_counter` seconds."""

    __slots__ = (
        "_call",
        "_tail",
        "end",
        "ended",
        "events",
        "first",
        "late",
        "pace",
        "sent",
        "size",
        "status",
    )

    def __init__(self, call: Call, pace: float) -> None:
        self._call = call
        self.status = self.size = self.events = 0
        self.first = self.ended = self.late = 0.0
        self.end = self._tail = b""
        self.pace = pace
        self.sent = time.perf_counter()

    def take(self, data: bytes, now: float) -> None:
        """Count the events that are complete with `data`; `late` keeps the worst delay seen."""
        self.first = self.first or now
        if self.events < CONTENT_EVENTS:
            self.late = max(self.late, now - self.sent - self.events * self.pace)
        seen, blank = self._tail + data, self._call.blank
        self.events += seen.count(blank)
        self._tail = b"" if seen.endswith(blank) else seen[1 - len(blank) :]
        self.size += len(data)
        self.end = (self.end + data)[-LAST_BYTES:]

    def check(self) -> None:
        """Raise `Failure` unless this is a 2xx answer that is all there."""
        if not 200 <= self.status < 300:
            raise Failure(f"status {self.status}")
        if self._call.end and (self.events < CONTENT_EVENTS or self._call.end not in self.end):
            raise Failure(f"a stream ended after {self.events} events with {self.end!r}")
        if not self.size:
            raise Failure("an empty answer")


class Connection(asyncio.Protocol):
    """One keep-alive connection; one call at a time."""

    _transport: Any = None
    _waiter: asyncio.Future[Answer] | None = None
    _now = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._answer.take(body, self._now)

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        self._answer.ended = self._now
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(self._answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(Failure(f"connection lost in mid-answer: {error}"))

    def call(self, request: bytes, call: Call, pace: float = 0.0) -> asyncio.Future[Answer]:
        """`request` is the call as it goes to this door."""
        if self._transport.is_closing():
            raise Failure("the server closed a keep-alive connection")
        self._waiter = self._loop.create_future()
        self._answer = Answer(call, pace)
        self._transport.write(request)
        return self._waiter

    def close(self) -> None:
        self._transport.abort()


@asynccontextmanager
async def connect(door: Door) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(Connection, door.host, door.port)
    except OSError as error:
        raise Failure(f"cannot connect: {error}") from error
    try:
        yield connection
    finally:
        connection.close()


async def once(door: Door, call: Call) -> Answer:
    """One checked call."""
    async with connect(door) as connection:
        answer = await asyncio.wait_for(connection.call(door.request(call), call), 30)
    answer.check()
    return answer


async def in_turn(doors: list[Door], call: Call, seconds: float) -> list[list[Answer]]:
    """Call the doors one after another, over and over: what disturbs one disturbs all."""
    requests = [door.request(call) for door in doors]
    answers: list[list[Answer]] = [[] for _ in doors]
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(door)) for door in doors]
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for connection, request, into in zip(connections, requests, answers, strict=True):
                answer = await connection.call(request, call)
                answer.check()
                into.append(answer)
    return answers


async def flood(door: Door, call: Call, seconds: float, connections: int) -> list[Answer]:
    """As many calls as fit: the stand-in for `wrk`."""
    until = time.perf_counter() + seconds
    request = door.request(call)
    answers: list[Answer] = []

    async def play() -> None:
        async with connect(door) as connection:
            while time.perf_counter() < until:
                answer = await connection.call(request, call)
                answer.check()
                answers.append(answer)

    await asyncio.gather(*(play() for _ in range(connections)))
    return answers


async def hold(door: Door, call: Call, streams: int, stall: float) -> None:
    """Keep `streams` paced streams running at once; `Failure` when one of them stalls.

    An event is due `PACE` after the one before, the first one when the request is sent; one that
    comes more than `stall` seconds late is a stall. Each connection plays two streams, and their
    starts are spread over the length of one, so that all of them run in the second half.
    """
    request = door.request(call)
    length = CONTENT_EVENTS * PACE

    async def play(number: int) -> None:
        await asyncio.sleep(length * number / streams)
        async with connect(door) as connection:
            for _ in range(2):
                answer = await connection.call(request, call, PACE)
                answer.check()
                if answer.late > stall:
                    raise Failure(f"an event came {1000 * answer.late:.0f} ms late")

    try:
        async with asyncio.timeout(4 * length), asyncio.TaskGroup() as group:
            for number in range(streams):
                group.create_task(play(number))
    except TimeoutError:
        raise Failure("streams did not end in time") from None
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
