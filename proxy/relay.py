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
from proxy.dialects.faces import Outbound, StreamReader
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.lateness import Clock, late
from proxy.meter import Delivered
from proxy.passing import INCOMPLETE, PassingStream, framed
from proxy.reply import Reply, exchange_headers
from proxy.upstream import Answer

_EVENT_STREAM = "text/event-stream; charset=utf-8"
_NO_BUFFERING = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
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
    stream = PassingStream(outbound, exchange, hides_usage=hides_usage)
    delivered = exchange.delivered = Delivered(outbound.read_events().read)
    clock = Clock(exchange.target.model.provider.timeouts.idle, total_at)
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
        raise late(idle, total_at) from None
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
            raise UpstreamError("connection", INCOMPLETE)


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
            raise late(idle, total_at) from None
        if chunk is None:
            break
        frames = framed(framer, chunk)
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
