"""Mistral's embeddings: of texts, always as floats (docs.mistral.ai/api, "Embeddings")."""

from proxy.chat.embeddings import EmbeddingsRequest
from proxy.dialects.faces import Written
from proxy.dialects.losses import cannot_take
from proxy.dialects.openai import embedder as openai
from proxy.dialects.serialising import serialised

embeddings_path = openai.embeddings_path
read_embeddings = openai.read_embeddings


def write_embeddings(request: EmbeddingsRequest, *, model: str) -> Written:
    """Raises InvalidRequest for token ids."""
    if not isinstance(request.inputs[0], str):
        raise cannot_take("mistral", "token ids", "input")
    body: dict[str, object] = {"model": model, "input": request.inputs}
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    warnings = ("user is not supported by mistral",) if request.user else ()
    return Written(serialised(body), warnings)
