"""What callers of chat completions see: requests read, answers and errors written."""

from collections.abc import Iterable, Iterator
from typing import Any

from proxy.chat.events import Event
from proxy.chat.fold import Answer, Block, fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.openai.request import parse as parse
from proxy.dialects.openai.request import read_request as read_request
from proxy.dialects.openai.stream import StreamWriter, finish_reason, own, tool_call
from proxy.dialects.openai.usage import write_usage
from proxy.dialects.serialising import serialised
from proxy.errors import GatewayError

Object = dict[str, Any]

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(error: GatewayError, request_id: str) -> Object:
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
    return serialised(error_object(error, request_id))


def write_stream_error(error: GatewayError, request_id: str) -> bytes:
    """The event that ends a stream which failed; no `[DONE]` follows it."""
    return b"data: " + write_error(error, request_id) + b"\n\n"


_FIELDS = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}


def _call(message: Object, block: Block) -> None:
    kind = own(block.extras).get("type") or "function"
    if kind == "function_call":
        message[kind] = {"name": block.name, "arguments": block.text or "{}"}
        return
    calls = message.setdefault("tool_calls", [])
    arguments = block.text if kind == "custom" else block.text or "{}"
    calls.append(tool_call(kind, block.call_id or f"call_{len(calls)}", block.name, arguments))


def _message(blocks: Iterable[Block]) -> Object:
    message: Object = {"role": "assistant", "content": None}
    for block in blocks:
        if block.kind == "tool_call":
            _call(message, block)
            continue
        if field := _FIELDS.get(block.kind):
            message[field] = (message.get(field) or "") + block.text
        for name in ("annotations", "reasoning_details"):
            if name in own(block.extras):
                message[name] = [*message.get(name, []), *own(block.extras)[name]]
        if "audio" in own(block.extras):
            message["audio"] = own(block.extras)["audio"]
    return message


def _logprobs(blocks: Iterable[Block]) -> Object:
    """Those of all the text, in the member that a choice has only when they were asked for."""
    found: Object = {}
    for block in blocks:
        for field, entries in (block.extras.get("logprobs") or {}).items():
            found[field] = [*found.get(field, []), *entries]
    return {"logprobs": found} if found else {}


def _choices(answer: Answer) -> Iterator[Object]:
    indexes = {block.choice for block in answer.blocks} | answer.finishes.keys() or {0}
    for index in sorted(indexes):
        finish = answer.finishes.get(index)
        blocks = [block for block in answer.blocks if block.choice == index]
        yield {
            "index": index,
            "message": _message(blocks),
            **_logprobs(blocks),
            "finish_reason": finish_reason(finish) if finish else "stop",
        }


def write_body(events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
    """A whole answer."""
    answer = fold(events)
    return serialised(
        {
            "id": answer.id or start.id,
            "object": "chat.completion",
            "created": answer.created or start.created,
            "model": answer.model or start.model,
            "choices": list(_choices(answer)),
            "usage": write_usage(answer.usage or Usage()),
            **own(answer.extras),
        }
    )


def stream_writer(request: ChatRequest, start: Start) -> StreamWriter:
    return StreamWriter(request, start)


def _model(alias: str) -> Object:
    return {"id": alias, "object": "model", "created": 0, "owned_by": "gateway"}


def write_models(aliases: Iterable[tuple[str, str]]) -> bytes:
    return serialised({"object": "list", "data": [_model(name) for name, _ in aliases]})


def write_model(alias: str, description: str) -> bytes:
    return serialised(_model(alias))
