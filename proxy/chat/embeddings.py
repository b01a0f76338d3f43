"""Embeddings: the canonical request and answer."""

from typing import Any, Literal

import msgspec

from proxy.chat.usage import Usage


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, or texts as token ids. `encoding` is how the caller wants vectors written."""

    inputs: tuple[str, ...] | tuple[tuple[int, ...], ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    user: str = ""
    extras: dict[str, Any] = {}


class EmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each input, in order. A provider that says no usage leaves it None."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""
    usage: Usage | None = None
