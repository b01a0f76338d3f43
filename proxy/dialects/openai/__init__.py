"""OpenAI chat completions (platform.openai.com/docs/api-reference/chat)."""
