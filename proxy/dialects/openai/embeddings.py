"""`POST /v1/embeddings`: what callers ask, and how vectors are written for them.

Source: the API reference, "Embeddings". Vectors in base64 are little-endian float32.
"""

import base64
import struct
from typing import Any, Literal

import msgspec
import orjson

from proxy.chat.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from proxy.dialects.checking import checked
from proxy.errors import InvalidRequest


class EmbeddingsBody(msgspec.Struct):
    input: str | list[Any]
    model: str | None = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    @property
    def asked_model(self) -> str | None:
        return self.model

    @property
    def wants_stream(self) -> bool:
        return False

    @property
    def end_user(self) -> str | None:
        return self.user

    @property
    def output_limit(self) -> int | None:
        return None

    @property
    def answers(self) -> int:
        return 1


def parse(fields: dict[str, Any]) -> EmbeddingsBody:
    """Raises InvalidRequest naming the field at fault."""
    return checked(fields, EmbeddingsBody)


def _inputs(given: str | list[Any]) -> tuple[str, ...] | tuple[tuple[int, ...], ...]:
    if isinstance(given, str):
        return (given,)
    if given and all(isinstance(item, str) for item in given):
        return tuple(given)
    if given and all(type(item) is int for item in given):
        return (tuple(given),)
    if given and all(
        isinstance(item, list) and item and all(type(token) is int for token in item)
        for item in given
    ):
        return tuple(tuple(item) for item in given)
    raise InvalidRequest(
        "input is a text, a list of texts, or token ids, and not empty", param="input"
    )


def read_request(body: EmbeddingsBody) -> EmbeddingsRequest:
    """Raises InvalidRequest for an `input` that is neither texts nor token ids."""
    return EmbeddingsRequest(
        inputs=_inputs(body.input),
        dimensions=body.dimensions,
        encoding=body.encoding_format or "float",
        user=body.user or "",
    )


def write_body(answer: EmbeddingsAnswer, request: EmbeddingsRequest, alias: str) -> bytes:
    """The list of vectors, as floats or in base64."""

    def written(vector: tuple[float, ...]) -> Any:
        if request.encoding == "float":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

    tokens = answer.usage.total_input if answer.usage else 0
    return orjson.dumps(
        {
            "object": "list",
            "model": answer.model or alias,
            "data": [
                {"object": "embedding", "index": index, "embedding": written(vector)}
                for index, vector in enumerate(answer.vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
