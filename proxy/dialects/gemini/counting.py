"""Counting tokens (ai.google.dev/api/tokens, "countTokens")."""

import msgspec

from proxy.chat.request import ChatRequest
from proxy.dialects.decoding import decoder
from proxy.dialects.faces import Written
from proxy.dialects.gemini.writer import request_object
from proxy.dialects.serialising import serialised
from proxy.errors import UpstreamError


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int


_read = decoder(_Count)


def count_path(model: str) -> str:
    return f"/models/{model}:countTokens"


def write_count(request: ChatRequest, *, model: str) -> Written:
    """The whole request is counted: instructions and tools too."""
    warnings: list[str] = []
    asked = {"model": f"models/{model}", **request_object(request, model, warnings)}
    return Written(serialised({"generateContentRequest": asked}), tuple(warnings))


def read_count(body: bytes) -> int:
    """Input tokens. Raises UpstreamError when it is no such answer."""
    try:
        return _read(body).total_tokens
    except msgspec.DecodeError:
        raise UpstreamError(
            "server_error", "The upstream's answer counts no tokens.", upstream_status=200
        ) from None
