"""The wire formats. The tables are the map: a dialect is a folder and a line here (faces.py)."""

from proxy.dialects.anthropic import inbound as anthropic_inbound
from proxy.dialects.anthropic import outbound as anthropic_outbound
from proxy.dialects.faces import Embedder, Inbound, Outbound, TokenCounter
from proxy.dialects.gemini import counting as gemini_counting
from proxy.dialects.gemini import embeddings as gemini_embeddings
from proxy.dialects.gemini import inbound as gemini_inbound
from proxy.dialects.gemini import outbound as gemini_outbound
from proxy.dialects.mistral import embeddings as mistral_embeddings
from proxy.dialects.mistral import outbound as mistral_outbound
from proxy.dialects.ollama import embeddings as ollama_embeddings
from proxy.dialects.ollama import outbound as ollama_outbound
from proxy.dialects.openai import embedder as openai_embedder
from proxy.dialects.openai import inbound as openai_inbound
from proxy.dialects.openai import outbound as openai_outbound
from proxy.dialects.responses import inbound as responses_inbound
from proxy.dialects.responses import outbound as responses_outbound

INBOUND: dict[str, Inbound] = {
    "openai": openai_inbound,
    "responses": responses_inbound,
    "anthropic": anthropic_inbound,
    "gemini": gemini_inbound,
}
OUTBOUND: dict[str, Outbound] = {
    "openai": openai_outbound,
    "responses": responses_outbound,
    "anthropic": anthropic_outbound,
    "gemini": gemini_outbound,
    "mistral": mistral_outbound,
    "ollama": ollama_outbound,
}
EMBEDDERS: dict[str, Embedder] = {
    "openai": openai_embedder,
    "mistral": mistral_embeddings,
    "ollama": ollama_embeddings,
    "gemini": gemini_embeddings,
}
COUNTERS: dict[str, TokenCounter] = {
    "anthropic": anthropic_outbound,
    "gemini": gemini_counting,
}
