"""Answers of generateContent as canonical events.

Strategy: a candidate is a list of parts, and parts of one kind that follow each other are one
block: it opens with the first and ends when another kind comes, or the candidate finishes. A
function call is a block of its own, and comes whole, or, where it says `willContinue`, in frames
that follow each other. Calls without an id get one made of the answer's id and their place. What a
candidate says beside its content (grounding, ratings, log-probabilities) is gathered for its end.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from proxy.chat.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    Event,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.dialects.gemini.faults import failed
from proxy.dialects.gemini.finishing import read_finish
from proxy.dialects.gemini.logprobs import read_logprobs
from proxy.dialects.gemini.partial_arguments import PartialArguments
from proxy.dialects.gemini.shapes import Chunk, parts_of, read_chunk, read_chunks
from proxy.dialects.gemini.usage import read_usage
from proxy.dialects.serialising import serialised
from proxy.framing.sse import data_of

_CONTENT = frozenset({"content", "finishReason", "index"})


def json_of(frame: bytes) -> bytes:
    """The JSON of a frame. An error may stand in a stream without the `data` of an event."""
    if frame.startswith(b"data: {") and frame.endswith(b"\r\n\r\n"):  # all but always so
        data = frame[6:-4]
        if b"\n" not in data and b"\r" not in data:
            return data
    data = data_of(frame)
    return data if data or b'"error"' not in frame else frame.strip()


def _seconds(moment: Any) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except (TypeError, ValueError, OverflowError):
        return 0


def _signed(signature: Any) -> dict[str, Any]:
    """A signature of this provider, which means nothing to another."""
    return {"gemini": {"thoughtSignature": signature}} if signature else {}


class _Choice:
    """What one candidate has said so far."""

    def __init__(self) -> None:
        self.block = -1
        self.kind: BlockKind | None = None
        self.arguments: PartialArguments | None = None
        self.called = False
        self.asides: dict[str, Any] = {}


class StreamReader:
    """Feed it frames; it gives the events that each brings."""

    def __init__(self) -> None:
        self._id = ""
        self._started = False
        self._next_block = 0
        self._next_call = 0
        self._choices: dict[int, _Choice] = {}

    def read(self, frame: bytes) -> Iterator[Event]:
        """Raises msgspec.DecodeError for a frame whose data is no answer."""
        data = json_of(frame)
        if data:
            yield from self.read_chunk(read_chunk(data))

    def read_chunk(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.error and not chunk.candidates:
            yield failed(chunk.error)
            return
        if not self._started:
            yield self._start(chunk)
        for candidate in chunk.candidates or ():
            yield from self._read_candidate(candidate)
        usage = read_usage(chunk.usage_metadata)
        if usage is not None:
            yield UsageReported(usage, {"gemini": chunk.usage_metadata})
        if chunk.prompt_feedback and not chunk.candidates:
            extras = {"gemini": {"promptFeedback": chunk.prompt_feedback}}
            yield Finished("content_filter", extras=extras)

    def end(self) -> Iterator[Event]:
        """Blocks that no finish reason closed."""
        for choice in self._choices.values():
            yield from self._close(choice)

    def _start(self, chunk: Chunk) -> ResponseStarted:
        self._started = True
        self._id = str(chunk.response_id or "")
        own = {"createTime": chunk.create_time} if chunk.create_time else {}
        return ResponseStarted(
            self._id,
            str(chunk.model_version or ""),
            _seconds(chunk.create_time),
            {"gemini": own} if own else {},
        )

    def _read_candidate(self, candidate: dict[str, Any]) -> Iterator[Event]:
        index = candidate.get("index", 0)
        index = index if isinstance(index, int) else 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        for part in parts_of(candidate):
            if isinstance(part, dict):
                yield from self._read_part(index, choice, part)
        if not candidate.keys() <= _CONTENT:
            self._gather(choice, candidate)
            logprobs = read_logprobs(candidate.get("logprobsResult"))
            if logprobs and choice.kind == "text":
                yield TextDelta(choice.block, "", {"logprobs": logprobs})
        reason = candidate.get("finishReason")
        if reason:
            yield from self._close(choice)
            yield read_finish(str(reason), index, choice.asides, called=choice.called)

    def _gather(self, choice: _Choice, candidate: dict[str, Any]) -> None:
        for name in candidate.keys() - _CONTENT:
            choice.asides[name] = _joined(name, choice.asides.get(name), candidate[name])

    def _read_part(self, index: int, choice: _Choice, part: dict[str, Any]) -> Iterator[Event]:
        text = part.get("text")
        if isinstance(text, str):
            signature = part.get("thoughtSignature")
            if part.get("thought") is True:
                if text or signature:
                    yield from self._opened(index, choice, "reasoning")
                    yield ReasoningDelta(choice.block, text, extras=_signed(signature))
            elif text:
                yield from self._opened(index, choice, "text")
                yield TextDelta(choice.block, text, _signed(signature))
            elif signature:
                yield from self._aside(index, part)
        elif isinstance(part.get("functionCall"), dict):
            yield from self._read_call(index, choice, part)
        elif part:
            yield from self._close(choice)
            yield from self._aside(index, part)

    def _aside(self, index: int, part: dict[str, Any]) -> Iterator[Event]:
        """A part that only this dialect has, whole."""
        block = self._next_block
        self._next_block += 1
        yield BlockStarted(block, "other", index, extras={"gemini": part})
        yield BlockEnded(block)

    def _read_call(self, index: int, choice: _Choice, part: dict[str, Any]) -> Iterator[Event]:
        call = part["functionCall"]
        name = call.get("name")
        if name:
            yield from self._close(choice)
            yield from self._open_call(index, choice, part)
        elif choice.arguments is None:
            return
        pieces = call.get("partialArgs")
        if choice.arguments is not None:
            for piece in pieces if isinstance(pieces, list) else ():
                added = choice.arguments.add(piece) if isinstance(piece, dict) else ""
                if added:
                    yield ToolArgumentsDelta(choice.block, added)
        if not call.get("willContinue"):
            yield from self._close(choice)

    def _open_call(self, index: int, choice: _Choice, part: dict[str, Any]) -> Iterator[Event]:
        call = part["functionCall"]
        own = {name: value for name, value in part.items() if name != "functionCall"}
        choice.block, choice.kind, choice.called = self._next_block, "tool_call", True
        self._next_block += 1
        yield BlockStarted(
            choice.block,
            "tool_call",
            index,
            call_id=str(call.get("id") or self._made_up_id()),
            name=str(call["name"]),
            extras={"gemini": own} if own else {},
        )
        if call.get("willContinue") or call.get("partialArgs"):
            choice.arguments = PartialArguments()
        else:
            arguments = serialised(call.get("args") or {}).decode()
            yield ToolArgumentsDelta(choice.block, arguments)

    def _made_up_id(self) -> str:
        """The same whenever the same answer is read."""
        self._next_call += 1
        return f"call_{self._id}_{self._next_call}" if self._id else f"call_{self._next_call}"

    def _opened(self, index: int, choice: _Choice, kind: BlockKind) -> Iterator[Event]:
        if choice.kind != kind:
            yield from self._close(choice)
            choice.kind, choice.block = kind, self._next_block
            self._next_block += 1
            yield BlockStarted(choice.block, kind, index)

    def _close(self, choice: _Choice) -> Iterator[Event]:
        if choice.kind is None:
            return
        if choice.arguments is not None:
            yield ToolArgumentsDelta(choice.block, choice.arguments.end())
            choice.arguments = None
        choice.kind = None
        yield BlockEnded(choice.block)


def _joined(name: str, held: Any, value: Any) -> Any:
    """What frames say of one matter. Log-probabilities are of a frame's own tokens and go on;
    other members are replaced, as grounding that counts its sources from the first."""
    if not (isinstance(held, dict) and isinstance(value, dict)):
        return value or held
    joined = {**held, **value}
    for member, items in held.items() if name == "logprobsResult" else ():
        more = value.get(member)
        if isinstance(items, list) and isinstance(more, list):
            joined[member] = [*items, *more]
    return joined


def chunks_of(body: bytes) -> list[Chunk]:
    """A whole answer is one chunk, or, where a stream was asked without `alt=sse`, a list of them.
    Raises msgspec.DecodeError."""
    if body.lstrip().startswith(b"["):
        return read_chunks(body)
    return [read_chunk(body)]


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events. Raises msgspec.DecodeError."""
    reader = StreamReader()
    for chunk in chunks_of(body):
        yield from reader.read_chunk(chunk)
    yield from reader.end()
