"""What OpenAI's own SDK reads of a response, and which errors it raises."""

from typing import Any

import httpx2
import openai
from openai.types.responses import Response

ASK: dict[str, Any] = {"model": "pro", "input": "?"}


def client(body: bytes, *, status: int = 200, stream: bool = False) -> openai.OpenAI:
    """A client whose every request is answered with this."""
    kind = "text/event-stream" if stream else "application/json"
    answer = httpx2.MockTransport(
        lambda request: httpx2.Response(status, headers={"content-type": kind}, content=body)
    )
    return openai.OpenAI(
        base_url="http://gateway.invalid/v1",
        api_key="key",
        max_retries=0,
        http_client=httpx2.Client(transport=answer, verify=False),
    )


def events(body: bytes) -> list[Any]:
    """A stream as the SDK follows it: it keeps the output as it grows, and asserts on the way that
    every delta belongs to an item and a part that were announced."""
    with client(body, stream=True).responses.stream(**ASK) as stream:
        return list(stream)


def read(body: bytes, *, stream: bool) -> Response:
    """A whole answer, or the last event of a stream."""
    if not stream:
        whole: Response = client(body).responses.create(**ASK)
        return whole
    last: Response = events(body)[-1].response
    return last


def text_of(response: Response) -> str:
    return response.output_text


def refusal_of(response: Response) -> str:
    return "".join(
        part.refusal
        for item in response.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    )


def reasoning_of(response: Response) -> str:
    return "".join(
        text
        for item in response.output
        if item.type == "reasoning"
        for text in (
            *(part.text for part in item.summary),
            *(part.text for part in item.content or []),
        )
    )


def calls_of(response: Response) -> list[tuple[str, str]]:
    found = []
    for item in response.output:
        if item.type == "function_call":
            found.append((item.name, item.arguments))
        elif item.type == "custom_tool_call":
            found.append((item.name, item.input))
    return found
