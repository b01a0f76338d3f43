"""Ollama's embeddings: of texts, always as floats (docs.ollama.com/api/embed)."""

from typing import Any

import msgspec

from proxy.chat.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from proxy.chat.usage import Usage
from proxy.dialects.counting import count
from proxy.dialects.decoding import decoder
from proxy.dialects.faces import Written
from proxy.dialects.losses import cannot_take
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.serialising import serialised
from proxy.errors import UpstreamError


class _Answer(msgspec.Struct):
    embeddings: list[tuple[float, ...]] | None = None
    model: Any = None
    prompt_eval_count: Any = None
    error: Any = None


_read = decoder(_Answer)


def embeddings_path(model: str) -> str:
    return "/api/embed"


def write_embeddings(request: EmbeddingsRequest, *, model: str) -> Written:
    """Raises InvalidRequest for token ids."""
    if not isinstance(request.inputs[0], str):
        raise cannot_take("ollama", "token ids", "input")
    body: dict[str, object] = {"model": model, "input": request.inputs}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    warnings = ("user is not supported by ollama",) if request.user else ()
    return Written(serialised(body), warnings)


def read_embeddings(body: bytes) -> EmbeddingsAnswer:
    """Raises UpstreamError when it is no such answer."""
    try:
        answer = _read(body)
    except msgspec.DecodeError:
        answer = _Answer()
    if answer.error:
        raise error_in_answer(answer.error)
    if not answer.embeddings:
        raise UpstreamError(
            "server_error", "The upstream's answer holds no embeddings.", upstream_status=200
        )
    tokens = count({"input": answer.prompt_eval_count}, "input")
    return EmbeddingsAnswer(
        vectors=tuple(answer.embeddings),
        model=str(answer.model or ""),
        usage=Usage(input=tokens) if tokens else None,
    )
