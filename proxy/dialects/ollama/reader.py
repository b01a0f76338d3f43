"""Ollama's lines as canonical events.

A tool call comes whole, its arguments as an object, mostly without an id; the ids we make up are a
digest of when and what was called, so that they are the same at every reading and no two turns
share one.
"""

import hashlib
from datetime import datetime
from typing import Any

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
from proxy.dialects.ollama.shapes import Line, Said, read_line
from proxy.dialects.ollama.usage import read_usage
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.serialising import serialised

Events = list[Event]

_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


def _seconds(created_at: Any) -> int:
    try:
        return int(datetime.fromisoformat(created_at).timestamp())
    except (TypeError, ValueError, OverflowError):
        return 0


class StreamReader:
    """Feed it lines; it gives the events that each brings."""

    def __init__(self) -> None:
        self._started = False
        self._next_block = 0
        self._open: dict[BlockKind, int] = {}
        self._calls = 0

    def read(self, frame: bytes) -> Events:
        """Raises msgspec.DecodeError for a line that is none of an answer."""
        return self.read_line(read_line(frame)) if frame.strip() else []

    def read_line(self, line: Line) -> Events:
        if line.error:
            error = error_in_answer(line.error)
            return [Failed(error.kind, error.message, error.upstream_status)]
        events: Events = []
        if not self._started and line.is_answer:
            self._started = True
            created = _seconds(line.created_at)
            events.append(ResponseStarted("", str(line.model or ""), created))
        if line.message is not None:
            self._read_message(line.message, line, events)
        if line.done is True:
            self._finish(line, events)
        return events

    def end(self) -> Events:
        """Blocks that are still open."""
        left: Events = [BlockEnded(block) for block in self._open.values()]
        self._open = {}
        return left

    def _read_message(self, said: Said, line: Line, events: Events) -> None:
        if isinstance(said.thinking, str) and said.thinking:
            block = self._block("reasoning", events)
            events.append(ReasoningDelta(block, said.thinking))
        if isinstance(said.content, str) and said.content:
            block = self._block("text", events)
            probable = isinstance(line.logprobs, list) and line.logprobs
            extras = {"logprobs": {"content": line.logprobs}} if probable else {}
            events.append(TextDelta(block, said.content, extras))
        if isinstance(said.tool_calls, list):
            for call in said.tool_calls:
                if isinstance(call, dict):
                    self._read_call(call, str(line.created_at), events)

    def _block(self, kind: BlockKind, events: Events) -> int:
        if kind not in self._open:
            events.extend(self.end())
            self._open[kind] = self._take_block()
            events.append(BlockStarted(self._open[kind], kind))
        return self._open[kind]

    def _take_block(self) -> int:
        self._next_block += 1
        return self._next_block - 1

    def _read_call(self, call: dict[str, Any], when: str, events: Events) -> None:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        name, given = str(function.get("name") or ""), function.get("arguments")
        arguments = given if isinstance(given, str) else serialised(given or {}).decode()
        made = hashlib.sha256(
            f"{when} {self._calls} {name} {arguments}".encode("utf-8", "replace")
        ).hexdigest()
        self._calls += 1
        block = self._take_block()
        call_id = str(call.get("id") or f"call_{made[:16]}")
        events += [
            *self.end(),
            BlockStarted(block, "tool_call", call_id=call_id, name=name),
            ToolArgumentsDelta(block, arguments),
            BlockEnded(block),
        ]

    def _finish(self, line: Line, events: Events) -> None:
        """Calls end with `stop`; a `load` or `unload` says that the model came or went."""
        events += self.end()
        reason = str(line.done_reason or "stop")
        known = _FINISH_REASONS.get(reason, "stop")
        meant: FinishReason = "tool_calls" if self._calls and known == "stop" else known
        extras = {} if reason == known else {"ollama": {"done_reason": reason}}
        events.append(Finished(meant, extras=extras))
        usage = read_usage(line)
        if usage is not None:
            events.append(UsageReported(usage))
