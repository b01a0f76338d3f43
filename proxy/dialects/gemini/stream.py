"""Canonical events as the frames of a stream, in either of its framings: server-sent events, or,
for callers who do not ask for `alt=sse`, the elements of one JSON array.

Strategy: a delta is a candidate with one part, written between prepared bytes. A function call has
no form before its arguments are whole, so it is written when its block ends; why a candidate ended
waits for the end of the stream, where the provider says it too, together with the usage.
"""

from typing import Any

import orjson

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
from proxy.chat.fold import Block
from proxy.dialects.faces import Start
from proxy.dialects.gemini.answer import call_part, ending, note_fault, note_logprobs, report
from proxy.dialects.gemini.carried import sealed
from proxy.dialects.gemini.reader import json_of
from proxy.dialects.serialising import serialised
from proxy.framing.sse import SseFramer

_DATA = b"data: "
_END = b"\r\n\r\n"


class StreamWriter:
    """Frames as server-sent events, which end in CRLF here."""

    content_type = "text/event-stream"

    def __init__(self, start: Start) -> None:
        self._names = {"modelVersion": start.model, "responseId": start.id}
        self._prefixes: dict[int, bytes] = {}
        """Everything of a text's frame up to the text itself, by block; and all after it."""
        self._suffixes: dict[int, bytes] = {}
        self._choices: dict[int, int] = {}
        self._asides: dict[int, dict[str, Any]] = {}
        """What is to be said at the end of each candidate."""
        self._calls: dict[int, Block] = {}
        self._calls_written = 0
        self._finishes: list[Finished] = []
        self._usage: UsageReported | None = None

    def write(self, event: Event) -> bytes:
        """The frames of one event; empty where the wire has nothing to say."""
        match event:
            case TextDelta() | ReasoningDelta():
                return self._delta(event)
            case ToolArgumentsDelta():
                call = self._calls.get(event.block)
                if call is not None:
                    call.text += event.json
            case BlockStarted():
                return self._start(event)
            case BlockEnded():
                return self._end_block(event.block)
            case UsageReported():
                self._usage = event
            case Finished():
                self._finishes.append(event)
            case ResponseStarted():
                self._names["modelVersion"] = event.model or self._names["modelVersion"]
                self._names["responseId"] = event.id or self._names["responseId"]
                self._names.update(event.extras.get("gemini", {}))
        return b""

    def end(self) -> bytes:
        """The last frame: how every candidate ended, and the usage."""
        open_calls = b"".join(self._end_block(block) for block in list(self._calls))
        last = ending(self._finishes, self._asides)
        if self._usage is not None:
            last["usageMetadata"] = report(self._usage.usage, self._usage.extras)
        return open_calls + self._frame(serialised({**last, **self._names}))

    def _start(self, event: BlockStarted) -> bytes:
        if event.kind == "tool_call":
            self._calls[event.block] = Block(
                "tool_call",
                event.choice,
                call_id=event.call_id,
                name=event.name,
                extras=event.extras,
            )
        elif event.kind == "other":
            own = event.extras.get("gemini")
            return self._part(event.choice, own) if own else b""
        else:
            before, after = self._around(event.choice)
            thought = b'"thought":true,' if event.kind == "reasoning" else b""
            self._prefixes[event.block] = _DATA + before + b"{" + thought + b'"text":'
            self._suffixes[event.block] = b"}" + after + _END
            self._choices[event.block] = event.choice
            if thought and event.extras:
                signed = sealed("", event.extras)
                part = {"text": "", "thought": True, "thoughtSignature": signed}
                return self._part(event.choice, part) if signed else b""
        return b""

    def _delta(self, event: TextDelta | ReasoningDelta) -> bytes:
        prefix = self._prefixes.get(event.block)
        if prefix is None:
            return b""  # of a block that only another dialect has
        members = self._members(event) if event.extras or type(event) is ReasoningDelta else b""
        if not (event.text or members):
            return b""
        text = orjson.dumps(event.text)
        return prefix + text + members + self._suffixes[event.block]

    def _members(self, event: TextDelta | ReasoningDelta) -> bytes:
        """What a part says beside its text."""
        if event.extras.get("gemini"):
            return b"," + serialised(event.extras["gemini"])[1:-1]
        if isinstance(event, ReasoningDelta) and event.signature:
            signature = sealed(event.signature, event.extras)
            return b',"thoughtSignature":' + orjson.dumps(signature)
        if "logprobs" in event.extras:
            note_logprobs(self._asides, self._choices[event.block], event.extras)
        return b""

    def _end_block(self, block: int) -> bytes:
        call = self._calls.pop(block, None)
        if call is None:
            return b""
        self._calls_written += 1
        part = call_part(call, self._calls_written)
        if part is None:
            note_fault(self._asides, call)
            return b""
        return self._part(call.choice, part)

    def _part(self, choice: int, part: dict[str, Any]) -> bytes:
        before, after = self._around(choice)
        return self._frame(before + serialised(part) + after)

    def _around(self, choice: int) -> tuple[bytes, bytes]:
        """What stands before and after a part of this candidate."""
        after = b'],"role":"model"},"index":%d}],' % choice + serialised(self._names)[1:]
        return b'{"candidates":[{"content":{"parts":[', after

    def _frame(self, chunk: bytes) -> bytes:
        return _DATA + chunk + _END


_ARRAY = "application/json; charset=UTF-8"


class ArrayFrames:
    """The events of a stream as the elements of an array, their JSON as it is: for callers who do
    not ask for `alt=sse`. An error is its last element."""

    content_type = _ARRAY

    def __init__(self) -> None:
        self._framer = SseFramer()
        self._opened = False

    def take(self, passing: bytes) -> bytes:
        """What these bytes of the provider's stream are in the array."""
        return b"".join(self._element(json_of(frame)) for frame in self._framer.feed(passing))

    def end(self) -> bytes:
        """The last bytes; what no blank line has ended included."""
        rest = self._element(json_of(self._framer.rest))
        return rest + (b"]" if self._opened else b"[]")

    def _element(self, data: bytes) -> bytes:
        if not data:
            return b""
        before = b",\r\n" if self._opened else b"["
        self._opened = True
        return before + data
