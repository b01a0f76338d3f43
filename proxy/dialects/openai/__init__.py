"""OpenAI chat completions. Source: the API reference, "Chat" (platform.openai.com/docs/api-reference/chat)."""
