"""An upstream without a network: shows streaming, tools and usage before any provider key exists.

It repeats what it was asked. With tools in the request it calls the first one (or the named one)
unless a tool has just answered or the choice is `none`. Options of its provider: `delay`, the time
before each piece.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from gateway_project.units import parse_duration
from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Finished,
    FinishReason,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.request import ChatRequest, Message, Part, Text, Tool, ToolResult
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start

_PIECE = re.compile(r"\s*\S+|\s+")
_BY_TYPE: Mapping[str, Any] = {
    "string": "demo",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
}


def _words(parts: tuple[Part, ...]) -> str:
    texts = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, ToolResult):
            texts.append(_words(part.content))
    return " ".join(texts)


def _count(text: str) -> int:
    """The demo's tokens are words."""
    return len(_PIECE.findall(text))


def _wanted_tool(request: ChatRequest) -> Tool | None:
    choice = request.tool_choice
    if not request.tools or request.messages[-1].role == "tool":
        return None
    if choice and choice.mode == "none":
        return None
    if choice and choice.mode == "named":
        return next((tool for tool in request.tools if tool.name == choice.name), None)
    return request.tools[0]


def _arguments(schema: Mapping[str, Any] | None) -> str:
    """Arguments that a simple schema accepts."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return "{}"
    values = {}
    for name, schema_of in properties.items():
        described = schema_of if isinstance(schema_of, dict) else {}
        choices = described.get("enum")
        values[name] = choices[0] if choices else _BY_TYPE.get(str(described.get("type")), {})
    return orjson.dumps(values).decode()


def _reply(messages: tuple[Message, ...]) -> str:
    last = messages[-1]
    said = _words(last.parts).strip()
    if last.role == "tool":
        return f"The tool said: {said}"
    return f"You said: {said}" if said else "You said nothing that is text."


async def answer(
    request: ChatRequest, *, start: Start, options: Mapping[str, Any]
) -> AsyncIterator[list[Event]]:
    """The events of one answer. Output is cut at `max_output_tokens`, counted in words."""
    delay = parse_duration(str(options.get("delay", "0s")))
    yield [ResponseStarted(id=start.id, model=start.model, created=start.created)]
    tool = _wanted_tool(request)
    written = 0
    if tool is not None:
        yield [BlockStarted(0, "tool_call", call_id=f"call_{start.id[-12:]}", name=tool.name)]
        pieces = [_arguments(tool.schema)]
    else:
        yield [BlockStarted(0, "text")]
        pieces = _PIECE.findall(_reply(request.messages))
    limit = request.max_output_tokens or len(pieces)
    for piece in pieces[:limit]:
        if delay:
            await asyncio.sleep(delay)
        written += 1
        yield [ToolArgumentsDelta(0, piece) if tool else TextDelta(0, piece)]
    reason: FinishReason = "length" if len(pieces) > limit else "tool_calls" if tool else "stop"
    read = sum(_count(_words(message.parts)) for message in request.messages)
    yield [
        BlockEnded(0),
        Finished(reason),
        UsageReported(Usage(input=read, output=written)),
    ]
