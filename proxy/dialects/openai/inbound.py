"""What callers of chat completions see: requests read, answers and errors written."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from proxy.chat.events import (
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
from proxy.chat.fold import Answer, Block, fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.openai.request import parse as parse
from proxy.dialects.openai.request import read_request as read_request
from proxy.dialects.openai.usage import write_usage
from proxy.errors import GatewayError

STREAM_END = b"data: [DONE]\n\n"

_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
    "error": "stop",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The same facts in a body and in a stream."""
    kind = _ERROR_TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "code": error.code,
            "param": error.param,
            "request_id": request_id,
        }
    }


def write_error(error: GatewayError, request_id: str) -> bytes:
    return orjson.dumps(error_object(error, request_id))


def write_stream_error(error: GatewayError, request_id: str) -> bytes:
    """The event that ends a stream which failed; no `[DONE]` follows it."""
    return b"data: " + write_error(error, request_id) + b"\n\n"


def _finish_reason(event: Finished) -> str:
    own = event.extras.get("openai", {}).get("finish_reason")
    return own or _FINISH_REASONS[event.reason]


class StreamWriter:
    """Canonical events as chunks. `include_usage` is what the caller asked for."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: ChatRequest, start: Start) -> None:
        self._include_usage = request.include_usage
        self._head: dict[str, Any] = {
            "id": start.id,
            "object": "chat.completion.chunk",
            "created": start.created,
            "model": start.model,
        }
        self._blocks: dict[int, tuple[int, int]] = {}
        self._calls_of: dict[int, int] = {}
        self._spoke: set[int] = set()
        self._refusals: set[int] = set()
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        """The frames of one event; empty where the wire has nothing to say."""
        match event:
            case TextDelta():
                choice, _ = self._blocks[event.block]
                field = "refusal" if event.block in self._refusals else "content"
                return self._delta(choice, {field: event.text})
            case ReasoningDelta():
                choice, _ = self._blocks[event.block]
                return self._delta(choice, {"reasoning_content": event.text}) if event.text else b""
            case ToolArgumentsDelta():
                choice, call = self._blocks[event.block]
                piece = {"index": call, "function": {"arguments": event.json}}
                return self._delta(choice, {"tool_calls": [piece]})
            case BlockStarted():
                return self._start(event)
            case Finished():
                return self._chunk(event.choice, {}, _finish_reason(event))
            case UsageReported():
                self._usage = event.usage
            case ResponseStarted():
                self._head["id"] = event.id or self._head["id"]
                self._head["model"] = event.model or self._head["model"]
                self._head["created"] = event.created or self._head["created"]
        return b""

    def end(self) -> bytes:
        """The last frames: usage where it was asked for, and the end marker."""
        if not (self._include_usage and self._usage):
            return STREAM_END
        last = {**self._head, "choices": [], "usage": write_usage(self._usage)}
        return b"data: " + orjson.dumps(last) + b"\n\n" + STREAM_END

    def _start(self, event: BlockStarted) -> bytes:
        call = -1
        if event.kind == "tool_call":
            call = self._calls_of.get(event.choice, 0)
            self._calls_of[event.choice] = call + 1
        elif event.kind == "refusal":
            self._refusals.add(event.block)
        self._blocks[event.block] = (event.choice, call)
        if event.kind != "tool_call":
            return b""
        opened = {
            "index": call,
            "id": event.call_id or f"call_{event.block}",
            "type": "function",
            "function": {"name": event.name, "arguments": ""},
        }
        return self._delta(event.choice, {"tool_calls": [opened]})

    def _delta(self, choice: int, delta: dict[str, Any]) -> bytes:
        if choice not in self._spoke:
            self._spoke.add(choice)
            delta = {"role": "assistant", **delta}
        return self._chunk(choice, delta, None)

    def _chunk(self, choice: int, delta: dict[str, Any], finish: str | None) -> bytes:
        choices = [{"index": choice, "delta": delta, "finish_reason": finish}]
        return b"data: " + orjson.dumps({**self._head, "choices": choices}) + b"\n\n"


def _message(blocks: Iterable[Block]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for block in blocks:
        if block.kind == "tool_call":
            call = {
                "id": block.call_id or f"call_{len(message.get('tool_calls', []))}",
                "type": "function",
                "function": {"name": block.name, "arguments": block.text},
            }
            message.setdefault("tool_calls", []).append(call)
        else:
            field = {"text": "content", "reasoning": "reasoning_content"}.get(block.kind, "refusal")
            message[field] = (message.get(field) or "") + block.text
    return message


def _choices(answer: Answer) -> Iterator[dict[str, Any]]:
    indexes = {block.choice for block in answer.blocks} | answer.finishes.keys() or {0}
    for index in sorted(indexes):
        finish = answer.finishes.get(index)
        yield {
            "index": index,
            "message": _message(block for block in answer.blocks if block.choice == index),
            "finish_reason": _finish_reason(finish) if finish else "stop",
        }


def write_body(events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
    """A whole answer."""
    answer = fold(events)
    return orjson.dumps(
        {
            "id": answer.id or start.id,
            "object": "chat.completion",
            "created": answer.created or start.created,
            "model": answer.model or start.model,
            "choices": list(_choices(answer)),
            "usage": write_usage(answer.usage or Usage()),
        }
    )


def stream_writer(request: ChatRequest, start: Start) -> StreamWriter:
    return StreamWriter(request, start)


def _model(alias: str) -> dict[str, Any]:
    return {"id": alias, "object": "model", "created": 0, "owned_by": "gateway"}


def write_models(aliases: Iterable[tuple[str, str]]) -> bytes:
    return orjson.dumps({"object": "list", "data": [_model(name) for name, _ in aliases]})


def write_model(alias: str, description: str) -> bytes:
    return orjson.dumps(_model(alias))
