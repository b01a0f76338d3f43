"""Canonical events as the events of a response.

Strategy: each block is an item, but neighbouring texts and refusals are parts of one message. A
message takes more parts until another item opens; items may be open side by side, as blocks may.
Every item is kept, because the last event repeats them all. A whole answer is what a writer whose
frames nobody reads ends with.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.responses import answer
from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.frames import Frames, NoFrames
from proxy.dialects.responses.growing import Call, Item, Message, Other, TextPart, Thought
from proxy.dialects.responses.shapes import Object, object_of

_STEM_LENGTH = 40
"""Of an id: a provider of this dialect takes ids of up to 64 characters back."""


class StreamWriter:
    """Usage is always written; it comes with the last event."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: ChatRequest, start: Start, frames: type[Frames] = Frames) -> None:
        self._response = answer.started(request, start)
        self._stem = start.id.replace("-", "")[:_STEM_LENGTH]
        self._frames = frames()
        self._started = False
        self._items: list[Item] = []
        self._blocks: dict[int, Item | TextPart] = {}
        self._usage: Usage | None = None
        self._finish: Finished | None = None
        self._refused = False

    def write(self, event: Event) -> bytes:
        """The frames of one event; empty where the wire has nothing to say."""
        write = _WRITERS.get(type(event))
        return write(self, event) if write else b""

    def end(self) -> bytes:
        """What is still open, and the last event: the whole response."""
        going = self._head() + self.close()
        response = self.response()
        return going + self._frames.event(f"response.{response['status']}", response=response)

    def close(self) -> bytes:
        """What is still open."""
        going = [self._block_ended(BlockEnded(number)) for number in list(self._blocks)]
        going += [item.close() for item in self._items]
        return b"".join(going)

    def response(self) -> Object:
        """The whole response as it is by now."""
        return answer.ended(
            self._response,
            [item.value for item in self._items],
            finish=self._finish,
            refused=self._refused,
            usage=self._usage,
        )

    def _head(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        created = self._frames.event("response.created", response=self._response)
        return created + self._frames.event("response.in_progress", response=self._response)

    def _response_started(self, event: ResponseStarted) -> bytes:
        response = self._response
        response["id"] = event.id or response["id"]
        response["model"] = event.model or response["model"]
        response["created_at"] = event.created or response["created_at"]
        return self._head()

    def _block_started(self, event: BlockStarted) -> bytes:
        if event.choice:
            return b""  # a response has one choice
        if event.kind in ("text", "refusal"):
            return self._head() + self._part_started(event)
        going = self._head()
        last = self._items[-1] if self._items else None
        item: Item
        index = len(self._items)
        if event.kind == "tool_call":
            item = Call(self._frames, index, event, self._stem)
        elif event.kind == "reasoning":
            item = Thought(self._frames, index, event, self._stem)
        else:
            value = object_of(object_of(event.extras.get(OWN)).get("item"))
            if not isinstance(value.get("type"), str):
                return going  # another provider's
            item = Other(self._frames, index, dict(value), self._stem)
        if isinstance(last, Message):
            going += last.seal()
        self._items.append(item)
        self._blocks[event.block] = item
        return going + item.added()

    def _part_started(self, event: BlockStarted) -> bytes:
        own = object_of(object_of(event.extras.get(OWN)).get("message"))
        message = self._items[-1] if self._items else None
        going = b""
        if not (isinstance(message, Message) and message.takes_more and message.own == own):
            if isinstance(message, Message):
                going = message.seal()
            message = Message(self._frames, len(self._items), own, self._stem)
            self._items.append(message)
            going += message.added()
        part = self._blocks[event.block] = TextPart(message, event.kind)
        self._refused = self._refused or event.kind == "refusal"
        return going + part.added()

    def _text(self, event: TextDelta) -> bytes:
        part = self._blocks.get(event.block)
        return part.text(event) if isinstance(part, TextPart) else b""

    def _arguments(self, event: ToolArgumentsDelta) -> bytes:
        call = self._blocks.get(event.block)
        return call.arguments(event.json) if isinstance(call, Call) and event.json else b""

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        thought = self._blocks.get(event.block)
        return thought.delta(event) if isinstance(thought, Thought) else b""

    def _block_ended(self, event: BlockEnded) -> bytes:
        block = self._blocks.pop(event.block, None)
        return b"" if block is None else block.ended(event)

    def _usage_reported(self, event: UsageReported) -> bytes:
        self._usage = event.usage
        return b""

    def _finished(self, event: Finished) -> bytes:
        if event.choice == 0:
            self._finish = event
        return b""


_WRITERS: Mapping[type[Event], Callable[[StreamWriter, Any], bytes]] = {
    TextDelta: StreamWriter._text,
    ReasoningDelta: StreamWriter._reasoning,
    ToolArgumentsDelta: StreamWriter._arguments,
    BlockStarted: StreamWriter._block_started,
    BlockEnded: StreamWriter._block_ended,
    ResponseStarted: StreamWriter._response_started,
    UsageReported: StreamWriter._usage_reported,
    Finished: StreamWriter._finished,
}


def whole_response(events: Iterable[Event], request: ChatRequest, start: Start) -> Object:
    """A whole answer."""
    writer = StreamWriter(request, start, NoFrames)
    for event in events:
        writer.write(event)
    writer.close()
    return writer.response()
