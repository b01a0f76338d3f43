"""Canonical events as chunks of a stream.

Strategy: chunks differ in a choice's index, its delta and little else, so what surrounds those is
written once, when the answer says what it is called.
"""

from typing import Any

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.openai.usage import write_usage
from proxy.dialects.serialising import serialised

Object = dict[str, Any]

STREAM_END = b"data: [DONE]\n\n"

_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "error": "stop",
}


def finish_reason(event: Finished) -> str:
    said = own(event.extras).get("finish_reason")
    return said if isinstance(said, str) else _FINISH_REASONS[event.reason]


def own(extras: Object) -> Object:
    """What only this dialect has."""
    found = extras.get("openai")
    return found if isinstance(found, dict) else {}


def tool_call(kind: str, call_id: str, name: str, arguments: str) -> Object:
    if kind == "custom":
        return {"id": call_id, "type": kind, "custom": {"name": name, "input": arguments}}
    return {"id": call_id, "type": kind, "function": {"name": name, "arguments": arguments}}


class _Call:
    """A tool call that is being streamed: its place, and whether it has said its arguments."""

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.has_arguments = False

    def piece(self, json: str) -> Object:
        self.has_arguments = True
        if self.kind == "function_call":
            return {"function_call": {"arguments": json}}
        inside = {"input": json} if self.kind == "custom" else {"arguments": json}
        field = "custom" if self.kind == "custom" else "function"
        return {"tool_calls": [{"index": self.index, field: inside}]}


class StreamWriter:
    """`include_usage` is what the caller asked for."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: ChatRequest, start: Start) -> None:
        self._include_usage = request.include_usage
        self._head: Object = {
            "id": start.id,
            "object": "chat.completion.chunk",
            "created": start.created,
            "model": start.model,
        }
        self._choices: dict[int, int] = {}
        self._fields: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}
        self._calls_of: dict[int, int] = {}
        self._spoke: set[int] = set()
        self._usage: Usage | None = None
        self._write_surroundings()

    def write(self, event: Event) -> bytes:
        """The frames of one event; empty where the wire has nothing to say."""
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolArgumentsDelta():
                return self._delta(event.block, self._calls[event.block].piece(event.json))
            case BlockStarted():
                return self._start(event)
            case BlockEnded():
                return self._end_block(event)
            case Finished():
                return self._finish(event)
            case UsageReported():
                self._usage = event.usage
            case ResponseStarted():
                self._name(event)
        return b""

    def end(self) -> bytes:
        """The last frames: usage where it was asked for, and the end marker."""
        if not (self._include_usage and self._usage):
            return STREAM_END
        last = {**self._head, "choices": [], "usage": write_usage(self._usage)}
        return b"data: " + serialised(last) + b"\n\n" + STREAM_END

    def _name(self, event: ResponseStarted) -> None:
        self._head["id"] = event.id or self._head["id"]
        self._head["model"] = event.model or self._head["model"]
        self._head["created"] = event.created or self._head["created"]
        self._head |= own(event.extras)
        self._write_surroundings()

    def _write_surroundings(self) -> None:
        self._before = b"data: " + serialised(self._head)[:-1] + b',"choices":[{"index":'

    def _start(self, event: BlockStarted) -> bytes:
        self._choices[event.block] = event.choice
        if event.kind == "other":
            whole = own(event.extras)
            return self._delta(event.block, whole) if "audio" in whole else b""
        if event.kind != "tool_call":
            self._fields[event.block] = "refusal" if event.kind == "refusal" else "content"
            return b""
        index = self._calls_of.get(event.choice, 0)
        self._calls_of[event.choice] = index + 1
        kind = own(event.extras).get("type") or "function"
        self._calls[event.block] = _Call(index, kind)
        if kind == "function_call":
            return self._delta(event.block, {kind: {"name": event.name, "arguments": ""}})
        opened = tool_call(kind, event.call_id or f"call_{event.block}", event.name, "")
        return self._delta(event.block, {"tool_calls": [{"index": index, **opened}]})

    def _end_block(self, event: BlockEnded) -> bytes:
        """A call without arguments means the empty object; callers parse what they get."""
        call = self._calls.get(event.block)
        if call is None or call.has_arguments or call.kind == "custom":
            return b""
        return self._delta(event.block, call.piece("{}"))

    def _text(self, event: TextDelta) -> bytes:
        field = self._fields[event.block]
        if not event.extras:
            return self._delta(event.block, {field: event.text})
        delta = {field: event.text} if event.text else {}
        if "annotations" in own(event.extras):
            delta["annotations"] = own(event.extras)["annotations"]
        logprobs = event.extras.get("logprobs")
        if not delta and not logprobs:
            return b""
        return self._delta(event.block, delta, {"logprobs": logprobs} if logprobs else {})

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        delta: Object = {"reasoning_content": event.text} if event.text else {}
        if "reasoning_details" in own(event.extras):
            delta["reasoning_details"] = own(event.extras)["reasoning_details"]
        return self._delta(event.block, delta) if delta else b""

    def _delta(self, block: int, delta: Object, beside: Object | None = None) -> bytes:
        choice = self._choices[block]
        if choice not in self._spoke:
            self._spoke.add(choice)
            delta = {"role": "assistant", **delta}
        more = b"," + serialised(beside)[1:-1] if beside else b""
        return b'%b%d,"delta":%b%b,"finish_reason":null}]}\n\n' % (
            self._before,
            choice,
            serialised(delta),
            more,
        )

    def _finish(self, event: Finished) -> bytes:
        reason = serialised(finish_reason(event))
        delta = b"{}" if event.choice in self._spoke else b'{"role":"assistant"}'
        return b'%b%d,"delta":%b,"finish_reason":%b}]}\n\n' % (
            self._before,
            event.choice,
            delta,
            reason,
        )
