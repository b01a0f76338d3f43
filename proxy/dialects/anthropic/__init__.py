"""Anthropic messages (platform.claude.com/docs/en/api/messages)."""
