"""Embeddings (ai.google.dev/api/embeddings, "batchEmbedContents")."""

import msgspec

from proxy.chat.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from proxy.chat.usage import Usage
from proxy.dialects.decoding import decoder
from proxy.dialects.faces import Written
from proxy.dialects.gemini.usage import read_usage
from proxy.dialects.losses import cannot_take
from proxy.dialects.serialising import serialised
from proxy.errors import UpstreamError


class _Embedding(msgspec.Struct):
    values: tuple[float, ...]


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: tuple[_Embedding, ...] = ()
    embedding: _Embedding | None = None
    usage_metadata: dict[str, object] | None = None


_read = decoder(_Answer)


def embeddings_path(model: str) -> str:
    return f"/models/{model}:batchEmbedContents"


def write_embeddings(request: EmbeddingsRequest, *, model: str) -> Written:
    """Raises InvalidRequest for token ids: the provider tokenises text itself."""
    size = {"outputDimensionality": request.dimensions} if request.dimensions else {}
    own = request.extras.get("gemini", {})
    requests = []
    for place, text in enumerate(request.inputs):
        if not isinstance(text, str):
            raise cannot_take("gemini", "token ids", f"input[{place}]")
        content = {"parts": [{"text": text}]}
        requests.append({"model": f"models/{model}", "content": content, **size, **own})
    return Written(serialised({"requests": requests}))


def _usage(answer: _Answer) -> Usage | None:
    report = answer.usage_metadata
    return read_usage(report) if report else None


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    """Raises UpstreamError when it is no such answer."""
    try:
        answer = _read(body)
    except msgspec.DecodeError:
        raise _no_answer() from None
    made = answer.embeddings or ((answer.embedding,) if answer.embedding else ())
    if not made:
        raise _no_answer()
    return EmbeddingsAnswer(vectors=tuple(one.values for one in made), usage=_usage(answer))


def _no_answer() -> UpstreamError:
    return UpstreamError(
        "server_error", "The upstream's answer holds no embeddings.", upstream_status=200
    )
