"""Ollama's own API (docs.ollama.com/api): chats as lines of JSON, and embeddings."""
