"""What a provider of each dialect says: an answer in its pieces, and its errors.

The shapes are those of the providers' documentation; where the words of an error matter they are
those of the recordings, or of the documentation's own examples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fake_upstream import DONE, USAGE, chunk, completion, frame, usage_frame, words

SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
SAID = ("Hello to", " all of you", " out there")


@dataclass(frozen=True, slots=True)
class Speech:
    """One dialect. Its stream is `opening`, `content`, `closing`; the first frame of `closing` that
    says why the answer stopped is number `reason` of them."""

    whole: bytes
    opening: Sequence[bytes]
    content: Sequence[bytes]
    closing: Sequence[bytes]
    reason: int
    error_event: bytes
    """The provider fails, said inside a stream."""
    error_kind: str
    """What of ours that is."""
    too_long: tuple[int, bytes]
    """Status and body for an input that is longer than the context window."""
    filtered: tuple[int, bytes] | None
    """The same for content that its filter refuses; None where it says so in an answer."""
    content_type: str = SSE

    @property
    def frames(self) -> list[bytes]:
        return [*self.opening, *self.content, *self.closing]


def _body(value: Any) -> bytes:
    return json.dumps(value).encode()


def _event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\n".encode() + frame({"type": name, **fields})


def _line(**fields: Any) -> bytes:
    head = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    return json.dumps({**head, **fields}).encode() + b"\n"


def _complaint(message: str, **fields: Any) -> bytes:
    return _body({"error": {"message": message, "type": "invalid_request_error", **fields}})


OPENAI = Speech(
    whole=completion(),
    opening=words(0),
    content=words(3)[1:],
    closing=[chunk(finish="stop"), usage_frame(), DONE],
    reason=0,
    error_event=frame({"error": {"message": "Overloaded", "type": "overloaded", "code": 503}}),
    error_kind="overloaded",
    too_long=(
        400,
        _complaint(
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9000 tokens.",
            param="messages",
            code="context_length_exceeded",
        ),
    ),
    filtered=(
        400,
        _complaint("The response was filtered.", param="prompt", code="content_filter"),
    ),
)

_RESPONSE: Mapping[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m"}
_ITEM: Mapping[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant"}
_PART: Mapping[str, Any] = {"type": "output_text", "text": "", "annotations": []}
_SAID = {**_ITEM, "status": "completed", "content": [{**_PART, "text": "".join(SAID)}]}
_RESPONDED = {
    **_RESPONSE,
    "status": "completed",
    "error": None,
    "output": [_SAID],
    "usage": {"input_tokens": 30, "output_tokens": 12, "total_tokens": 42},
}
_AT: Mapping[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}

RESPONSES = Speech(
    whole=_body(_RESPONDED),
    opening=[
        _event("response.created", response={**_RESPONSE, "status": "in_progress", "output": []}),
        _event(
            "response.output_item.added",
            output_index=0,
            item={**_ITEM, "status": "in_progress", "content": []},
        ),
        _event("response.content_part.added", **_AT, part=_PART),
    ],
    content=[_event("response.output_text.delta", **_AT, delta=delta) for delta in SAID],
    closing=[
        _event("response.output_text.done", **_AT, text="".join(SAID)),
        _event("response.output_item.done", output_index=0, item=_SAID),
        _event("response.completed", response=_RESPONDED),
    ],
    reason=2,
    error_event=_event(
        "error", code="server_error", message="The server had an error.", param=None
    ),
    error_kind="server_error",
    too_long=(
        400,
        _complaint(
            "Your input exceeds the context window of this model.",
            param="input",
            code="context_length_exceeded",
        ),
    ),
    filtered=(400, _complaint("Flagged.", param=None, code="content_policy_violation")),
)

_MESSAGE: Mapping[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}


def _anthropic_error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


ANTHROPIC = Speech(
    whole=_body(
        {
            **_MESSAGE,
            "content": [{"type": "text", "text": "".join(SAID)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 30, "output_tokens": 12},
        }
    ),
    opening=[
        _event(
            "message_start",
            message={
                **_MESSAGE,
                "content": [],
                "stop_reason": None,
                "usage": {"input_tokens": 30, "output_tokens": 1},
            },
        ),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _event("ping"),
    ],
    content=[
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        for text in SAID
    ],
    closing=[
        _event("content_block_stop", index=0),
        _event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 12},
        ),
        _event("message_stop"),
    ],
    reason=1,
    error_event=b"event: error\n" + frame(_anthropic_error("overloaded_error", "Overloaded")),
    error_kind="overloaded",
    too_long=(
        400,
        _body(
            _anthropic_error(
                "invalid_request_error", "prompt is too long: 233153 tokens > 200000 maximum"
            )
        ),
    ),
    filtered=(
        400,
        _body(
            _anthropic_error("invalid_request_error", "Output blocked by content filtering policy")
        ),
    ),
)


def _candidates(text: str, **fields: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"index": 0, "content": content, **fields}]}


_COUNTED: Mapping[str, Any] = {
    "usageMetadata": {
        "promptTokenCount": 30,
        "candidatesTokenCount": 12,
        "totalTokenCount": 42,
    }
}


def _status(code: int, status: str, message: str) -> bytes:
    return _body({"error": {"code": code, "message": message, "status": status}})


GEMINI = Speech(
    whole=_body({**_candidates("".join(SAID), finishReason="STOP"), **_COUNTED}),
    opening=[],
    content=[frame(_candidates(text)) for text in SAID],
    closing=[frame({**_candidates("", finishReason="STOP"), **_COUNTED})],
    reason=0,
    error_event=frame(json.loads(_status(503, "UNAVAILABLE", "The model is overloaded."))),
    error_kind="overloaded",
    too_long=(
        400,
        _status(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048577) exceeds the maximum number of tokens allowed "
            "(1048576).",
        ),
    ),
    filtered=None,
)

MISTRAL = Speech(
    whole=completion(),
    opening=words(0),
    content=words(3)[1:],
    closing=[chunk(finish="stop", usage=USAGE), DONE],
    reason=0,
    error_event=frame({"object": "error", "error": {"message": "Overloaded", "code": 503}}),
    error_kind="overloaded",
    too_long=(
        400,
        _body(
            {
                "object": "error",
                "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum "
                "context length",
                "type": "invalid_request_error",
                "param": None,
                "code": "3051",
            }
        ),
    ),
    filtered=None,
)

OLLAMA = Speech(
    whole=_line(
        message={"role": "assistant", "content": "".join(SAID)},
        done=True,
        done_reason="stop",
        prompt_eval_count=30,
        eval_count=12,
    ),
    opening=[],
    content=[_line(message={"role": "assistant", "content": text}, done=False) for text in SAID],
    closing=[
        _line(
            message={"role": "assistant", "content": ""},
            done=True,
            done_reason="stop",
            prompt_eval_count=30,
            eval_count=12,
        )
    ],
    reason=0,
    error_event=b'{"error": "an error was encountered while running the model"}\n',
    error_kind="server_error",
    too_long=(
        400,
        _complaint("prompt too long; exceeded max context length by 1119046 tokens"),
    ),
    filtered=None,
    content_type=NDJSON,
)

SPEECHES: Mapping[str, Speech] = {
    "openai": OPENAI,
    "responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "mistral": MISTRAL,
    "ollama": OLLAMA,
}
