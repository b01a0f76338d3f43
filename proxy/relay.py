"""The answer from upstream to caller, passed through or translated. Either sends everything but
the last bytes, and returns those; the pipeline settles before it sends them.

Nothing is sent before the first real content, so that an error before it can still fall back.
Passing through, the frames are the upstream's own, byte for byte; once content flows, a chunk that
holds nothing notable is forwarded without being looked into. Translating, the frames are written
from canonical events.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import msgspec

from proxy.chat.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.dialects.faces import Framer, Outbound, StreamReader
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.framing.sse import FrameTooLarge
from proxy.meter import Delivered
from proxy.reply import Reply, exchange_headers
from proxy.upstream import TOTAL_TIMEOUT, Answer

HELD_BYTES = 1_000_000
"""How much may come before the first content."""
EARLY = 0.005
"""Seconds by which a timer of the loop may be too early."""

FEW_FRAMES = 8
"""So many are looked at one by one."""

_EVENT_STREAM = "text/event-stream; charset=utf-8"
_NO_BUFFERING = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_INCOMPLETE = "The upstream ended its answer before it was complete."
_TELLING = frozenset({UsageReported, Finished, Failed})
"""Events that say how the answer stands; most only carry its content."""
_DELTAS = frozenset({TextDelta, ReasoningDelta, ToolArgumentsDelta})
_CONTENT = _DELTAS | {Finished}


async def _start_stream(exchange: Exchange, reply: Reply, content_type: str) -> None:
    """The head of a stream: from here on there is no other answer."""
    now = exchange.first_token = time.perf_counter()
    exchange.head_sent = True
    exchange.on_content()
    headers = [*_NO_BUFFERING, *exchange_headers(exchange, now=now)]
    await reply.start_stream(content_type, headers, exchange.reframer())


class _PassingStream:
    """One stream on its way through: what is held, what has been seen, what may go."""

    def __init__(self, outbound: Outbound, exchange: Exchange, *, hides_usage: bool) -> None:
        self._outbound = outbound
        self._watch = outbound.watch()
        self._exchange = exchange
        self._hides_usage = hides_usage
        self._framer = outbound.new_framer()
        self._finished = False
        self._size_held = 0
        self.held: list[bytes] = []
        self.flowing = False
        self.ended = False
        self.failure: UpstreamError | None = None

    def take(self, chunk: bytes) -> bytes:
        """The bytes that may go on now. Raises UpstreamError."""
        frames = _framed(self._framer, chunk)
        if self.flowing:
            return self._pass(frames)
        for index, frame in enumerate(frames):
            self._look_at(frame, self.held)
            if self.flowing or self.ended:
                going: list[bytes] = self.held if self.flowing else []
                self.held = [] if self.flowing else self.held
                return b"".join(going) + self._pass(frames[index + 1 :])
        return b""

    def _pass(self, frames: list[bytes]) -> bytes:
        """Content flows: frames are looked at only where something notable is in them. Of many that
        came together that is seldom more than the last few, so they are searched by halves."""
        passing = b"".join(frames)
        if not self.ended and not self._outbound.is_notable(passing):
            return passing
        if len(frames) > FEW_FRAMES:
            half = len(frames) // 2
            return self._pass(frames[:half]) + self._pass(frames[half:])
        going: list[bytes] = []
        for frame in frames:
            if self.ended:
                self.held.append(frame)
            elif self._outbound.is_notable(frame):
                self._look_at(frame, going)
            else:
                going.append(frame)
        return b"".join(going)

    def _look_at(self, frame: bytes, going: list[bytes]) -> None:
        """Notes what a frame shows, and puts it where it belongs."""
        seen = self._watch.sight(frame)
        if seen.error is not None:
            self._fail(seen.error, frame)
            return
        if seen.usage is not None:
            self._exchange.usage = seen.usage
            self._exchange.usage_is_early = not self.flowing
        self._finished = self._finished or seen.finished
        if self._hides_usage and seen.only_usage:
            return
        if seen.ends_stream:
            self.ended = True
            self.held.append(frame)
            return
        going.append(frame)
        if not self.flowing:
            self.flowing = seen.has_content or seen.finished
            self._size_held += len(frame)
            if self._size_held > HELD_BYTES:
                raise UpstreamError("server_error", "The upstream sent no content for too long.")

    def _fail(self, error: UpstreamError, frame: bytes) -> None:
        """An error of the upstream in its stream. Before content it is raised; after content it
        waits until what came before it has gone, and then its own event ends ours."""
        error.body = frame
        if not self.flowing:
            raise error
        self.failure, self.ended = error, True

    def finish(self, delivered: Delivered) -> bytes:
        """The last bytes. Raises UpstreamError when the upstream stopped in the middle."""
        rest = self._framer.rest
        if rest:
            seen = self._watch.sight(rest)
            if seen.error is not None:
                seen.error.body = rest
                raise seen.error
            self._finished = self._finished or seen.finished
            self._exchange.usage = seen.usage or self._exchange.usage
            self.held.append(rest)
        ended = self.ended and self.flowing  # an end mark alone ends nothing
        if not (ended or self._finished or self._finishes(delivered)):
            raise UpstreamError("connection", _INCOMPLETE)
        return b"".join(self.held)

    def _finishes(self, delivered: Delivered) -> bool:
        """Whether what passed unseen says that the answer is complete."""
        frames = self._outbound.new_framer().feed(delivered.frames())
        return any(self._watch.sight(frame).finished for frame in frames[-8:])


class _Clock:
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
            raise _late(self._idle, self._total_at) from None

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


def _late(idle: float, total_at: float) -> UpstreamError:
    """The error of an upstream that took too long, one way or the other."""
    if asyncio.get_running_loop().time() >= total_at - EARLY:
        return UpstreamError("timeout", TOTAL_TIMEOUT)
    return UpstreamError("timeout", f"The upstream sent nothing for {idle:g} s (idle).")


async def pass_stream(
    exchange: Exchange,
    answer: Answer,
    reply: Reply,
    *,
    outbound: Outbound,
    hides_usage: bool,
    total_at: float,
) -> bytes:
    """Frames go as they come. Raises UpstreamError."""
    assert exchange.target is not None
    stream = _PassingStream(outbound, exchange, hides_usage=hides_usage)
    delivered = exchange.delivered = Delivered(outbound.read_events().read)
    clock = _Clock(exchange.target.model.provider.timeouts.idle, total_at)
    async with clock:
        while not stream.ended:
            chunk = await answer.read()
            if chunk is None:
                break
            going = stream.take(chunk)
            if going:
                if not exchange.head_sent:
                    await _start_stream(exchange, reply, _EVENT_STREAM)
                clock.waits_for_caller = True
                await reply.write(going)
                clock.waits_for_caller = False
                delivered.add(going)
            clock.tick()
    exchange.answered = time.perf_counter()
    if stream.failure is not None:
        raise stream.failure
    last = stream.finish(delivered)
    if not exchange.head_sent:
        await _start_stream(exchange, reply, _EVENT_STREAM)
    return last


async def read_whole(exchange: Exchange, answer: Answer, total_at: float) -> bytes:
    """The whole body of an answer, within its time-outs. Raises UpstreamError."""
    assert exchange.target is not None
    idle = exchange.target.model.provider.timeouts.idle
    try:
        body = await answer.read_all(idle, total_at)
    except TimeoutError:
        raise _late(idle, total_at) from None
    exchange.answered = time.perf_counter()
    return body


async def pass_body(
    exchange: Exchange, answer: Answer, *, outbound: Outbound, total_at: float
) -> bytes:
    """The upstream's own body. Raises UpstreamError."""
    body = await read_whole(exchange, answer, total_at)
    seen = outbound.sight_of_body(body)
    if seen.error is not None:
        raise seen.error
    exchange.usage = seen.usage
    if seen.usage is None:
        exchange.delivered = Delivered(outbound.read_events().read)
        exchange.delivered.add_events(list(outbound.read_body(body)))
    return body


async def translate(exchange: Exchange, batches: AsyncIterator[list[Event]], reply: Reply) -> bytes:
    """Canonical events, as they arrive together, in the caller's dialect. Raises UpstreamError."""
    if exchange.stream:
        return await _translate_stream(exchange, batches, reply)
    told = _Told(exchange)
    gathered: list[Event] = []
    async for batch in batches:
        gathered += told.take(batch)
        told.check()
    told.check_end()
    exchange.answered = time.perf_counter()
    if exchange.usage is None:
        exchange.delivered = Delivered(_nothing)
        exchange.delivered.add_events(gathered)
    return exchange.inbound.write_body(gathered, exchange.read_request(), exchange.start)


async def _translate_stream(
    exchange: Exchange, batches: AsyncIterator[list[Event]], reply: Reply
) -> bytes:
    told = _Told(exchange)
    writer = exchange.inbound.stream_writer(exchange.read_request(), exchange.start)
    write = writer.write
    held: list[bytes] = []
    delivered = exchange.delivered = Delivered(_nothing)
    async for batch in batches:
        events = told.take(batch)
        held += [write(event) for event in events]
        if exchange.head_sent or any(type(event) in _CONTENT for event in events):
            if not exchange.head_sent:
                await _start_stream(exchange, reply, writer.content_type)
            going, held = b"".join(held), []
            if going:
                await reply.write(going)
            delivered.add_events(events)
        told.check()
    told.check_end()
    exchange.answered = time.perf_counter()
    if not exchange.head_sent:
        await _start_stream(exchange, reply, writer.content_type)
    return b"".join(held) + writer.end()


def _nothing(frame: bytes) -> Iterator[Event]:
    """Events that we write ourselves are counted as they are."""
    return iter(())


class _Told:
    """What an answer's events tell of it: its usage, which is noted, that it is complete, or that
    it has failed."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._finished = False
        self._failed: Failed | None = None

    def take(self, batch: list[Event]) -> list[Event]:
        """The same events, up to a failure."""
        for index, event in enumerate(batch):
            if type(event) not in _TELLING:
                continue
            if isinstance(event, UsageReported):
                self._exchange.usage = event.usage
                self._exchange.usage_is_early = not self._exchange.head_sent
            elif isinstance(event, Finished):
                self._finished = True
            elif isinstance(event, Failed):
                self._failed = event
                return batch[:index]
        return batch

    def check(self) -> None:
        """Raises UpstreamError where the answer has failed."""
        failed = self._failed
        if failed is not None:
            raise UpstreamError(failed.kind, failed.message, upstream_status=failed.status)

    def check_end(self) -> None:
        """Raises UpstreamError for an end that was none."""
        if not self._finished:
            raise UpstreamError("connection", _INCOMPLETE)


async def read_batches(
    exchange: Exchange, answer: Answer, *, outbound: Outbound, total_at: float
) -> AsyncIterator[list[Event]]:
    """An upstream's answer as canonical events, one batch for what arrived together. Raises
    UpstreamError."""
    if not is_stream(answer):
        yield _whole_events(outbound, await read_whole(exchange, answer, total_at))
        return
    assert exchange.target is not None
    idle = exchange.target.model.provider.timeouts.idle
    now = asyncio.get_running_loop().time
    framer, reader, watch = outbound.new_framer(), outbound.read_events(), outbound.watch()
    finished = ended = False
    while not ended:
        try:
            chunk = await answer.read(min(now() + idle, total_at))
        except TimeoutError:
            raise _late(idle, total_at) from None
        if chunk is None:
            break
        frames = _framed(framer, chunk)
        events = _events(reader, frames)
        yield events
        finished = finished or any(type(event) is Finished for event in events)
        if finished and frames:  # nothing is waited for after the end mark
            ended = watch.sight(frames[-1]).ends_stream
    last = _events(reader, [framer.rest]) if framer.rest else []
    yield [*last, *reader.end()]


def _whole_events(outbound: Outbound, body: bytes) -> list[Event]:
    """A whole answer. Raises UpstreamError where it is none, or an error; one that says something
    and ends well is neither, and need not be looked into twice."""
    try:
        events = list(outbound.read_body(body))
    except msgspec.DecodeError:
        events = []
    kinds = {type(event) for event in events}
    if Finished not in kinds or Failed in kinds or kinds.isdisjoint(_DELTAS):
        seen = outbound.sight_of_body(body)
        if seen.error is not None:
            raise seen.error
    return events


def _framed(framer: Framer, chunk: bytes) -> list[bytes]:
    try:
        return framer.feed(chunk)
    except FrameTooLarge:
        raise UpstreamError("server_error", "The upstream sent an endless event.") from None


def _events(reader: StreamReader, frames: list[bytes]) -> list[Event]:
    """What frames say; one that cannot be read says nothing, as if it were a comment."""
    events: list[Event] = []
    for frame in frames:
        try:
            events += reader.read(frame)
        except msgspec.DecodeError:
            continue
    return events


def is_stream(answer: Answer) -> bool:
    """Whether an answer comes as frames."""
    media_type = (answer.header(b"content-type") or "").partition(";")[0].strip().lower()
    return media_type in ("text/event-stream", "application/x-ndjson")
