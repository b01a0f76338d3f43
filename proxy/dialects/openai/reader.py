"""Answers of chat completions as canonical events.

Strategy: the wire has no blocks, only deltas by field. A block opens with the first delta of its
kind in a choice and stays open until that choice finishes: fields may interleave, tool calls may
run in parallel, and the canonical grammar allows both. Compatible servers send tool calls without
an index, whole, or with arguments as objects; a call without an index opens a new block when it
brings a new id or name, and continues the last one otherwise.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from proxy.chat.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.dialects.openai.shapes import Choice, Chunk, Delta, read_chunk
from proxy.dialects.openai.usage import read_usage
from proxy.framing.sse import data_of

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def text_of(content: Any) -> str:
    """Text of a `content` that may be a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part if isinstance(part, str) else str(part.get("text") or "")
            for part in content
            if isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text")
        )
    return ""


class StreamReader:
    """Feed it frames; it gives the events that each brings."""

    def __init__(self) -> None:
        self._started = False
        self._next_block = 0
        self._open: dict[tuple[int, str], int] = {}
        self._last_call: dict[int, str] = {}

    def read(self, frame: bytes) -> Iterator[Event]:
        """Raises msgspec.DecodeError for a frame whose data is no chunk."""
        data = data_of(frame)
        if data and data != b"[DONE]":
            yield from self.read_chunk(read_chunk(data))

    def read_chunk(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.error and not chunk.choices:
            message = chunk.error.get("message") if isinstance(chunk.error, dict) else chunk.error
            yield Failed(kind="server_error", message=str(message or "error"))
            return
        if not self._started:
            self._started = True
            yield ResponseStarted(
                id=str(chunk.id or ""),
                model=str(chunk.model or ""),
                created=chunk.created if isinstance(chunk.created, int) else 0,
            )
        for choice in chunk.choices or []:
            yield from self._read_choice(choice)
        usage = read_usage(chunk.usage)
        if usage is not None:
            yield UsageReported(usage)

    def end(self) -> Iterator[Event]:
        """Blocks that no finish reason closed."""
        for block in self._open.values():
            yield BlockEnded(block)
        self._open = {}

    def _read_choice(self, choice: Choice) -> Iterator[Event]:
        index = choice.index if isinstance(choice.index, int) else 0
        part = choice.delta or choice.message
        if part is not None:
            yield from self._read_delta(index, part)
        if choice.finish_reason:
            yield from self._finish(index, str(choice.finish_reason))

    def _read_delta(self, choice: int, delta: Delta) -> Iterator[Event]:
        reasoning = delta.reasoning_content or delta.reasoning
        if isinstance(reasoning, str) and reasoning:
            yield from self._opened(choice, "reasoning", "reasoning")
            yield ReasoningDelta(self._open[choice, "reasoning"], reasoning)
        if text := text_of(delta.content):
            yield from self._opened(choice, "text", "text")
            yield TextDelta(self._open[choice, "text"], text)
        if isinstance(delta.refusal, str) and delta.refusal:
            yield from self._opened(choice, "refusal", "refusal")
            yield TextDelta(self._open[choice, "refusal"], delta.refusal)
        for position, call in enumerate(delta.tool_calls or []):
            if isinstance(call, dict):
                yield from self._read_call(choice, position, call)
        if isinstance(delta.function_call, dict):
            yield from self._read_call(choice, 0, {"index": 0, "function": delta.function_call})

    def _read_call(self, choice: int, position: int, call: dict[str, Any]) -> Iterator[Event]:
        function = call.get("function") or {}
        extras: dict[str, Any] = {}
        if isinstance(call.get("custom"), dict):
            function = {
                "name": call["custom"].get("name"),
                "arguments": call["custom"].get("input"),
            }
            extras = {"openai": {"type": "custom"}}
        key = self._call_key(choice, position, call, function)
        call_id, name = str(call.get("id") or ""), str(function.get("name") or "")
        yield from self._opened(choice, key, "tool_call", call_id, name, extras)
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = orjson.dumps(arguments).decode()
        if arguments:
            yield ToolArgumentsDelta(self._open[choice, key], str(arguments))

    def _call_key(
        self, choice: int, position: int, call: dict[str, Any], function: dict[str, Any]
    ) -> str:
        if isinstance(call.get("index"), int):
            key = f"call {call['index']}"
        elif call.get("id") or function.get("name") or choice not in self._last_call:
            key = f"call {call.get('id') or f'{self._next_block}.{position}'}"
        else:
            key = self._last_call[choice]
        self._last_call[choice] = key
        return key

    def _opened(
        self,
        choice: int,
        key: str,
        kind: BlockKind,
        call_id: str = "",
        name: str = "",
        extras: dict[str, Any] | None = None,
    ) -> Iterator[Event]:
        if (choice, key) not in self._open:
            self._open[choice, key] = self._next_block
            self._next_block += 1
            yield BlockStarted(
                self._open[choice, key], kind, choice, call_id, name, extras=extras or {}
            )

    def _finish(self, choice: int, reason: str) -> Iterator[Event]:
        blocks = [block for (owner, _), block in self._open.items() if owner == choice]
        for block in blocks:
            yield BlockEnded(block)
        self._open = {key: block for key, block in self._open.items() if key[0] != choice}
        known = FINISH_REASONS.get(reason)
        yield Finished(
            known or "stop", choice, extras={} if known else {"openai": {"finish_reason": reason}}
        )


class BodyReader:
    """A whole answer is a stream of one chunk."""

    def read(self, body: bytes) -> Iterator[Event]:
        """Raises msgspec.DecodeError for a body that is no completion."""
        return StreamReader().read_chunk(msgspec.json.decode(body, type=Chunk))
