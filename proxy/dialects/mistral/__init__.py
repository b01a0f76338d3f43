"""Mistral's chat completions and embeddings (docs.mistral.ai/api). Close to OpenAI's, and strict:
a member that it does not know is refused (422 `extra_forbidden`), so only what it knows is sent."""
