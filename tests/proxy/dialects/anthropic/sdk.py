"""What Anthropic's own SDK reads from the bytes that a caller gets, and which errors it raises."""

from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

ASK: dict[str, Any] = {
    "model": "pro",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "?"}],
}


def client(body: bytes, *, status: int = 200, stream: bool = False) -> anthropic.Anthropic:
    """A client whose every request is answered with this."""
    kind = "text/event-stream" if stream else "application/json"
    answer = httpx2.MockTransport(
        lambda request: httpx2.Response(status, headers={"content-type": kind}, content=body)
    )
    return anthropic.Anthropic(
        base_url="http://gateway.invalid",
        api_key="key",
        max_retries=0,
        http_client=httpx2.Client(transport=answer, verify=False),
    )


def read(body: bytes, *, stream: bool) -> Message:
    """A whole answer, or a stream as the SDK gathers it."""
    speaker = client(body, stream=stream)
    if not stream:
        return speaker.messages.create(**ASK)
    with speaker.messages.stream(**ASK) as events:
        return events.get_final_message()


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def reasoning_of(message: Message) -> str:
    return "".join(block.thinking for block in message.content if block.type == "thinking")


def calls_of(message: Message) -> list[tuple[str, Any]]:
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]
