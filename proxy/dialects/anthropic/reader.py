"""Answers of the messages API as canonical events.

Strategy: the wire has blocks, one after another, so each index is a canonical block. Usage is
cumulative over `message_start` and `message_delta`. A block that no other dialect has (server
tools and their results, compaction) is gathered and given whole when it ends. The call of the tool
that stands for a JSON answer (structured.py) is read as text.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from proxy.chat.events import (
    BlockEnded,
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
from proxy.dialects.anthropic.errors import error_in_answer
from proxy.dialects.anthropic.shapes import (
    CALL_FIELDS,
    Answer,
    Delta,
    Frame,
    read_answer,
    read_frame,
)
from proxy.dialects.anthropic.structured import TOOL
from proxy.dialects.anthropic.usage import read_usage, replaced, usage_extras
from proxy.dialects.serialising import serialised
from proxy.framing.sse import data_of

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
}
_PLAIN = ("end_turn", "stop_sequence", "max_tokens", "tool_use", "pause_turn", "refusal")
"""Reasons that the canonical one says in full."""


class _Open:
    """A block that has started: what is known of it so far."""

    def __init__(self, kind: str, block: dict[str, Any]) -> None:
        self.kind = kind
        self.block = block
        self.json: list[str] = []
        self.has_arguments = False


class StreamReader:
    """Feed it frames; it gives the events that each brings."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._report: dict[str, Any] = {}
        self._called = False
        self._answered_by_tool = False
        self._extras: dict[str, Any] = {}

    def read(self, frame: bytes) -> Iterable[Event]:
        """Raises msgspec.DecodeError for a frame whose data is no event."""
        data = data_of(frame)
        if not data:
            return ()
        seen = read_frame(data)
        if seen.type == "content_block_delta" and seen.delta is not None:
            return self._delta(seen.index, seen.delta)
        return self._read(seen)

    def read_body(self, body: bytes) -> Iterator[Event]:
        """A whole answer, as the stream that it would have been. Raises msgspec.DecodeError."""
        answer = read_answer(body)
        if answer.error:
            yield self._failed(answer.error)
            return
        yield self._start(answer)
        for index, block in enumerate(answer.content or []):
            yield from self._start_block(index, block)
            yield from self._end_block(index)
        self._extras = {"context_management": answer.context_management}
        yield from self._usage(answer.usage)
        yield from self._finish(
            Delta(
                stop_reason=answer.stop_reason,
                stop_sequence=answer.stop_sequence,
                stop_details=answer.stop_details,
                container=answer.container,
            )
        )

    def end(self) -> Iterator[Event]:
        """Blocks that the stream did not end."""
        for index in list(self._open):
            yield from self._end_block(index)

    def _read(self, frame: Frame) -> Iterator[Event]:
        match frame.type:
            case "content_block_start":
                yield from self._start_block(frame.index, frame.content_block or {})
            case "content_block_stop":
                yield from self._end_block(frame.index)
            case "message_start":
                answer = frame.message or Answer()
                yield self._start(answer)
                yield from self._usage(answer.usage)
                for index, block in enumerate(answer.content or []):
                    yield from self._start_block(index, block)
            case "message_delta":
                self._extras = {"context_management": frame.context_management}
                yield from self._usage(frame.usage)
                yield from self._finish(frame.delta or Delta())
            case "error":
                yield self._failed(frame.error)

    def _start(self, answer: Answer) -> Event:
        return ResponseStarted(id=str(answer.id or ""), model=str(answer.model or ""))

    def _failed(self, error: Any) -> Event:
        failure = error_in_answer(error)
        return Failed(failure.kind, failure.message, failure.upstream_status)

    def _usage(self, report: Any) -> Iterator[Event]:
        self._report = replaced(self._report, report)
        usage = read_usage(self._report)
        if usage is not None and isinstance(report, dict):
            yield UsageReported(usage, extras=usage_extras(self._report))

    def _start_block(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        kind = block.get("type")
        opened = self._open[index] = _Open(str(kind), block)
        if kind == "text":
            yield BlockStarted(index, "text", extras=_kept(block, "citations"))
            if isinstance(block.get("text"), str) and block["text"]:
                yield TextDelta(index, block["text"])
        elif kind == "thinking":
            yield BlockStarted(index, "reasoning", extras={"anthropic": {"type": kind}})
            text, signature = block.get("thinking"), block.get("signature")
            if text or signature:
                yield ReasoningDelta(index, str(text or ""), str(signature or ""))
        elif kind == "redacted_thinking":
            redacted = {"type": kind, "data": str(block.get("data") or "")}
            yield BlockStarted(index, "reasoning", extras={"anthropic": redacted})
        elif kind == "tool_use" and block.get("name") == TOOL:
            opened.kind, self._answered_by_tool = "answer", True
            yield BlockStarted(index, "text")
        elif kind == "tool_use":
            self._called = True
            yield BlockStarted(
                index,
                "tool_call",
                call_id=str(block.get("id") or ""),
                name=str(block.get("name") or ""),
                extras=_kept(block, *CALL_FIELDS),
            )

    def _delta(self, index: int, delta: Delta) -> Iterable[Event]:
        opened = self._open.get(index)
        if opened is not None and opened.kind == "text" and isinstance(delta.text, str):
            return (TextDelta(index, delta.text),) if delta.text else ()
        if opened is None and str(delta.type) in _UNANNOUNCED:
            start = list(self._start_block(index, {"type": _UNANNOUNCED[str(delta.type)]}))
            return [*start, *self._delta(index, delta)]
        return self._other_delta(opened, index, delta) if opened else ()

    def _other_delta(self, opened: _Open, index: int, delta: Delta) -> Iterator[Event]:
        piece = delta.partial_json
        if opened.kind in ("tool_use", "answer") and isinstance(piece, str):
            if piece:
                opened.has_arguments = True
                is_call = opened.kind == "tool_use"
                yield ToolArgumentsDelta(index, piece) if is_call else TextDelta(index, piece)
        elif opened.kind == "thinking":
            text, signature = delta.thinking, delta.signature
            if text or signature:
                yield ReasoningDelta(index, str(text or ""), str(signature or ""))
        elif opened.kind == "text" and delta.citation is not None:
            yield TextDelta(index, "", extras={"anthropic": {"citations": [delta.citation]}})
        elif isinstance(piece, str):
            opened.json.append(piece)
        elif delta.content is not None:
            opened.block = {**opened.block, "content": delta.content}

    def _end_block(self, index: int) -> Iterator[Event]:
        opened = self._open.pop(index, None)
        if opened is None:
            return
        if opened.kind in ("tool_use", "answer") and not opened.has_arguments:
            # Without arguments the stream brings only `partial_json: ""`; whole bodies, and other
            # servers, give the input at once.
            given = serialised(opened.block.get("input") or {}).decode()
            is_call = opened.kind == "tool_use"
            yield ToolArgumentsDelta(index, given) if is_call else TextDelta(index, given)
        elif opened.kind not in _CANONICAL:
            yield BlockStarted(index, "other", extras={"anthropic": _whole(opened)})
        yield BlockEnded(index)

    def _finish(self, delta: Delta) -> Iterator[Event]:
        reason = delta.stop_reason
        if not isinstance(reason, str):
            return
        finish = _FINISH_REASONS.get(reason, "stop")
        if finish == "tool_calls" and self._answered_by_tool and not self._called:
            reason, finish = "end_turn", "stop"
        own = {
            "stop_reason": None if reason in _PLAIN else reason,
            "stop_details": delta.stop_details,
            "container": delta.container,
            **self._extras,
        }
        said = {name: value for name, value in own.items() if value is not None}
        stop_sequence = delta.stop_sequence if isinstance(delta.stop_sequence, str) else ""
        yield Finished(
            finish, stop_sequence=stop_sequence, extras={"anthropic": said} if said else {}
        )


_UNANNOUNCED = {"text_delta": "text", "thinking_delta": "thinking"}
"""Blocks that a server may leave out to start."""
_CANONICAL = ("text", "thinking", "redacted_thinking", "tool_use", "answer")


def _kept(block: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of a block's fields that only this dialect has."""
    kept = {name: block[name] for name in names if block.get(name) is not None}
    return {"anthropic": kept} if kept else {}


def _whole(opened: _Open) -> dict[str, Any]:
    """A block with what its deltas brought."""
    if not opened.json:
        return opened.block
    try:
        return {**opened.block, "input": orjson.loads("".join(opened.json) or "{}")}
    except orjson.JSONDecodeError:
        return opened.block
