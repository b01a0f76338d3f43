"""Answers of the Responses API as canonical events.

Strategy: an answer is a list of items. A content part of a message is a block, a call is one, and a
reasoning item is one, its summary parts and texts in a row. Blocks open with the event that adds
them and end with their item. Servers may leave events out, down to sending only the last one with
the whole output: an item that was not streamed is read from where it stands whole, so a whole
answer is read as a stream of that one event.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy.chat.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.dialects.responses.annotations import annotation_extras
from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.failures import error_of, is_failure
from proxy.dialects.responses.shapes import (
    Frame,
    Object,
    list_of,
    object_of,
    read_frame,
    text_of,
)
from proxy.dialects.responses.usage import read_usage
from proxy.framing.sse import data_of

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_TEXTS: Mapping[str, tuple[BlockKind, str]] = {
    "output_text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
}
_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
_THOUGHTS = {"summary": "summary_text", "content": "reasoning_text"}
_UNFINISHED = ("queued", "in_progress")
_THOUGHT, _CALL, _OTHER = -1, -2, -3
"""The places of blocks that are a whole item; those of a message have the index of their part."""

Events = list[Event]


def _own(**fields: Any) -> Object:
    """Extras of this dialect; none where there is nothing to say."""
    said = {name: value for name, value in fields.items() if value}
    return {OWN: said} if said else {}


def _rest(item: Object, *read: str) -> Object:
    return {name: value for name, value in item.items() if name not in read and value is not None}


def logprobs_of(given: Any) -> Object:
    """Log-probabilities in the shape of chat completions, which other dialects share."""
    return {"logprobs": {"content": given}} if isinstance(given, list) and given else {}


class StreamReader:
    """Feed it frames; it gives the events that each brings."""

    def __init__(self) -> None:
        self._started = False
        self._finished = False
        self._called = False
        self._refused = False
        self._next_block = 0
        self._blocks: dict[tuple[int, int], int] = {}
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._said: dict[int, list[str]] = {}
        self._thoughts: dict[int, tuple[str, int]] = {}
        self._items: dict[int, Object] = {}
        self._done: set[int] = set()

    def read(self, frame: bytes) -> Iterable[Event]:
        """Raises msgspec.DecodeError for a frame whose data is no event."""
        data = data_of(frame)
        return self.read_frame(read_frame(data)) if data and data != b"[DONE]" else ()

    def read_frame(self, frame: Frame) -> Iterable[Event]:
        handle = _HANDLERS.get(frame.type)
        if handle is None or self._finished:
            return ()
        return handle(self, frame)

    def end(self) -> Iterable[Event]:
        """Blocks that nothing closed."""
        events: Events = [BlockEnded(block) for block in self._blocks.values()]
        self._blocks = {}
        return events

    def _start(self, frame: Frame) -> Events:
        if self._started:
            return []
        self._started = True
        response = object_of(frame.response)
        created = response.get("created_at")
        return [
            ResponseStarted(
                id=text_of(response.get("id")),
                model=text_of(response.get("model")),
                created=int(created) if isinstance(created, int | float) else 0,
            )
        ]

    def _open(self, key: tuple[int, int], kind: BlockKind, events: Events, **fields: Any) -> int:
        """The block at a place; opened where it is not yet."""
        block = self._blocks.get(key)
        if block is None:
            if not self._started:
                events += self._start(Frame())
            block = self._blocks[key] = self._next_block
            self._places.setdefault(key[0], []).append(key)
            self._next_block += 1
            self._said[block] = []
            events.append(BlockStarted(block, kind, **fields))
        return block

    def _unsaid(self, block: int, whole: str) -> str:
        """The end of a text of which deltas brought only the beginning."""
        said = "".join(self._said[block])
        return whole[len(said) :] if whole.startswith(said) else ""

    def _close(self, key: tuple[int, int], events: Events, extras: Object) -> None:
        block = self._blocks.pop(key, None)
        if block is not None:
            events.append(BlockEnded(block, extras))

    # items

    def _added(self, frame: Frame) -> Events:
        events: Events = []
        item, index = object_of(frame.item), frame.output_index or 0
        self._items[index] = item
        self._begin(item, index, events)
        return events

    def _begin(self, item: Object, index: int, events: Events) -> None:
        kind = text_of(item.get("type"))
        if kind == "message":
            return
        if kind == "reasoning":
            self._open((index, _THOUGHT), "reasoning", events, extras=_own(id=item.get("id")))
        elif kind in _CALLS:
            self._called = True
            self._open(
                (index, _CALL),
                "tool_call",
                events,
                call_id=text_of(item.get("call_id")),
                name=text_of(item.get("name")),
                extras=self._call_extras(item),
            )
        elif kind:
            self._open((index, _OTHER), "other", events, extras=_own(item=item))

    def _call_extras(self, item: Object) -> Object:
        rest = _rest(item, "type", "call_id", "name", "arguments", "input", "status")
        custom = {"openai": {"type": "custom"}} if item["type"] == "custom_tool_call" else {}
        return {**custom, **_own(**rest)}

    def _ended(self, frame: Frame) -> Events:
        events: Events = []
        self._complete(object_of(frame.item), frame.output_index or 0, events)
        return events

    def _complete(self, item: Object, index: int, events: Events) -> None:
        """All of an item that has not been said, and its end."""
        if index in self._done:
            return
        self._done.add(index)
        self._items[index] = item
        self._begin(item, index, events)
        kind = text_of(item.get("type"))
        if kind == "message":
            self._complete_message(item, index, events)
        elif kind == "reasoning":
            self._complete_reasoning(item, index, events)
        elif kind in _CALLS:
            block = self._blocks[index, _CALL]
            arguments = text_of(item.get(_CALLS[kind]))
            rest = self._unsaid(block, arguments)
            if rest:
                events.append(ToolArgumentsDelta(block, rest))
            self._close((index, _CALL), events, self._call_extras(item))
        elif kind:
            self._close((index, _OTHER), events, _own(item=item))
        for key in self._places.pop(index, ()):
            self._close(key, events, {})

    def _complete_message(self, item: Object, index: int, events: Events) -> None:
        for place, part in enumerate(list_of(item.get("content"))):
            if isinstance(part, dict):
                self._complete_part(part, (index, place), events)

    def _complete_part(self, part: Object, key: tuple[int, int], events: Events) -> None:
        """The end of a part, and before it what of it was not said."""
        kind, field = _TEXTS.get(text_of(part.get("type")), ("other", ""))
        if kind == "other":
            return
        block = self._open(key, kind, events, extras=self._message_extras(key[0]))
        self._refused = self._refused or kind == "refusal"
        rest = self._unsaid(block, text_of(part.get(field)))
        if rest:
            logprobs = None if self._said[block] else part.get("logprobs")
            events.append(TextDelta(block, rest, logprobs_of(logprobs)))
        annotations = list_of(part.get("annotations"))
        if annotations:
            events.append(TextDelta(block, "", annotation_extras(annotations)))
        self._close(key, events, {})

    def _message_extras(self, index: int) -> Object:
        """What identifies the message that a part belongs to."""
        item = self._items.get(index, {})
        return _own(message=_rest(item, "type", "role", "content", "status"))

    def _complete_reasoning(self, item: Object, index: int, events: Events) -> None:
        block = self._blocks[index, _THOUGHT]
        if not self._said[block]:
            for name, kind in _THOUGHTS.items():
                for place, part in enumerate(list_of(item.get(name))):
                    self._think(block, (kind, place), object_of(part).get("text"), events)
        encrypted = text_of(item.get("encrypted_content"))
        if encrypted:
            events.append(ReasoningDelta(block, signature=encrypted))
        self._close((index, _THOUGHT), events, _own(item=item))

    # deltas

    def _text(self, frame: Frame) -> Events:
        key = (frame.output_index or 0, frame.content_index or 0)
        block, delta = self._blocks.get(key), frame.delta
        if type(delta) is not str or not delta or key[0] in self._done:
            return []
        events: Events = []
        if block is None:
            kind: BlockKind = "refusal" if frame.type == "response.refusal.delta" else "text"
            self._refused = self._refused or kind == "refusal"
            block = self._open(key, kind, events, extras=self._message_extras(key[0]))
        self._said[block].append(delta)
        if frame.logprobs:
            events.append(TextDelta(block, delta, logprobs_of(frame.logprobs)))
        else:
            events.append(TextDelta(block, delta))
        return events

    def _part_added(self, frame: Frame) -> Events:
        events: Events = []
        kind = _TEXTS.get(text_of(object_of(frame.part).get("type")))
        index = frame.output_index or 0
        if kind is not None and index not in self._done:
            self._refused = self._refused or kind[0] == "refusal"
            key = (index, frame.content_index or 0)
            self._open(key, kind[0], events, extras=self._message_extras(index))
        return events

    def _arguments(self, frame: Frame) -> Events:
        index, delta = frame.output_index or 0, frame.delta
        block = self._blocks.get((index, _CALL))
        if block is None or type(delta) is not str or not delta:
            return []
        self._said[block].append(delta)
        return [ToolArgumentsDelta(block, delta)]

    def _summary(self, frame: Frame) -> Events:
        return self._thought(frame, ("summary_text", frame.summary_index or 0))

    def _reasoning_text(self, frame: Frame) -> Events:
        return self._thought(frame, ("reasoning_text", frame.content_index or 0))

    def _thought(self, frame: Frame, place: tuple[str, int]) -> Events:
        events: Events = []
        key = (frame.output_index or 0, _THOUGHT)
        if key[0] not in self._done and type(frame.delta) is str:
            block = self._open(key, "reasoning", events)
            self._think(block, place, frame.delta, events)
        return events

    def _think(self, block: int, place: tuple[str, int], text: Any, events: Events) -> None:
        """Text of one part of a reasoning item; a part after the first summary is announced."""
        if not isinstance(text, str) or not text:
            return
        if self._thoughts.get(block, ("summary_text", 0)) != place:
            events.append(ReasoningDelta(block, extras=_own(part=list(place))))
        self._thoughts[block] = place
        self._said[block].append(text)
        events.append(ReasoningDelta(block, text))

    # ends

    def _finish(self, frame: Frame) -> Events:
        response = object_of(frame.response)
        events = self._start(frame)
        self._complete_output(list_of(response.get("output")), events)
        events += self.end()
        usage = read_usage(response.get("usage"))
        if usage is not None:
            events.append(UsageReported(usage))
        if is_failure(response) or response.get("status") in _UNFINISHED:
            events += self._fail(frame)
        else:
            events.append(self._finished_as(response))
        self._finished = True
        return events

    def _complete_output(self, output: list[Any], events: Events) -> None:
        """What of the whole output was not streamed; some servers number their items anew."""
        seen = {text_of(item.get("id")) for item in self._items.values()} - {""}
        for index, item in enumerate(output):
            if not isinstance(item, dict):
                continue
            if index in self._items or text_of(item.get("id")) not in seen:
                self._complete(item, index, events)

    def _finished_as(self, response: Object) -> Finished:
        reason = text_of(object_of(response.get("incomplete_details")).get("reason"))
        if response.get("status") == "incomplete" or reason:
            known = _INCOMPLETE.get(reason)
            extras = {} if known else _own(incomplete_details={"reason": reason or "unknown"})
            return Finished(known or "pause", extras=extras)
        if self._refused:
            return Finished("refusal")
        return Finished("tool_calls" if self._called else "stop")

    def _fail(self, frame: Frame) -> Events:
        error = error_of(frame)
        return [Failed(error.kind, error.message, error.upstream_status)]


_HANDLERS: Mapping[str, Callable[[StreamReader, Frame], Events]] = {
    "response.output_text.delta": StreamReader._text,
    "response.refusal.delta": StreamReader._text,
    "response.function_call_arguments.delta": StreamReader._arguments,
    "response.custom_tool_call_input.delta": StreamReader._arguments,
    "response.reasoning_summary_text.delta": StreamReader._summary,
    "response.reasoning_text.delta": StreamReader._reasoning_text,
    "response.created": StreamReader._start,
    "response.queued": StreamReader._start,
    "response.in_progress": StreamReader._start,
    "response.output_item.added": StreamReader._added,
    "response.output_item.done": StreamReader._ended,
    "response.content_part.added": StreamReader._part_added,
    "response.completed": StreamReader._finish,
    "response.incomplete": StreamReader._finish,
    "response.failed": StreamReader._finish,
    "response.cancelled": StreamReader._finish,
    "error": StreamReader._fail,
}
