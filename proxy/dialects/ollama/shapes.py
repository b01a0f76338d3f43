"""What of an answer the gateway looks at, read leniently. Source: docs.ollama.com/api/chat."""

from typing import Any

import msgspec

from proxy.dialects.decoding import decoder


class Said(msgspec.Struct):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None


class Line(msgspec.Struct):
    """A line of a stream, or a whole answer: they differ in `done` alone. What counts nothing is
    absent."""

    model: Any = None
    created_at: Any = None
    message: Said | None = None
    logprobs: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None

    @property
    def is_answer(self) -> bool:
        return self.message is not None or self.done is not None


read_line = decoder(Line)
"""Raises msgspec.DecodeError, also for valid JSON of another shape."""


def lines_of(body: bytes) -> list[Line]:
    """A whole answer; some servers send the lines of a stream as one. Raises
    msgspec.DecodeError."""
    try:
        return [read_line(body)]
    except msgspec.DecodeError:
        return [read_line(line) for line in body.split(b"\n") if line.strip()]
