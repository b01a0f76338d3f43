"""Speaking to a provider of OpenAI's embeddings (API reference, "Embeddings")."""

import array
import base64
import binascii
import sys
from typing import Any

import msgspec

from proxy.chat.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from proxy.chat.usage import Usage
from proxy.dialects.counting import count
from proxy.dialects.decoding import decoder
from proxy.dialects.faces import Written
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.serialising import serialised
from proxy.errors import UpstreamError

_NO_EMBEDDINGS = "The upstream's answer holds no embeddings."


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: Any = None


class _List(msgspec.Struct):
    data: list[_Vector] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None


_read = decoder(_List)


def embeddings_path(model: str) -> str:
    return "/embeddings"


def write_embeddings(request: EmbeddingsRequest, *, model: str) -> Written:
    """Asks for vectors as the caller wants them, so that no digit changes on the way."""
    body: dict[str, object] = {
        "model": model,
        "input": request.inputs,
        "encoding_format": request.encoding,
    }
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user:
        body["user"] = request.user
    return Written(serialised(body))


def _floats(embedding: list[float] | str) -> tuple[float, ...]:
    """Base64 is of little-endian float32. Raises ValueError when it is not."""
    if isinstance(embedding, list):
        return tuple(embedding)
    floats = array.array("f", base64.b64decode(embedding, validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    return tuple(floats)


def _position(vector: _Vector, given: int) -> int:
    return vector.index if isinstance(vector.index, int) else given


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    """Raises UpstreamError when it is no such answer."""
    try:
        answer = _read(body)
        if answer.error:
            raise error_in_answer(answer.error)
        placed = sorted(
            (_position(vector, given), given, _floats(vector.embedding))
            for given, vector in enumerate(answer.data or ())
        )
    except (msgspec.DecodeError, ValueError, binascii.Error):
        raise UpstreamError("server_error", _NO_EMBEDDINGS, upstream_status=200) from None
    if not placed:
        raise UpstreamError("server_error", _NO_EMBEDDINGS, upstream_status=200)
    tokens = count(answer.usage, "prompt_tokens")
    return EmbeddingsAnswer(
        vectors=tuple(vector for *_, vector in placed),
        model=str(answer.model or ""),
        usage=Usage(input=tokens) if tokens else None,
    )
