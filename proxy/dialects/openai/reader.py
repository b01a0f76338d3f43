"""Answers of chat completions as canonical events.

Strategy: the wire has no blocks, only deltas by field. A block opens with the first delta of its
kind in a choice and stays open until that choice finishes: fields may interleave, tool calls may
run in parallel, and the canonical grammar allows both. Compatible servers send tool calls without
an index, whole, or with arguments as objects; a call without an index opens a new block when it
brings a new id or name, and continues the last one otherwise.

What has no canonical form stands in `extras["openai"]`: `annotations` of text, `reasoning_details`
of reasoning, `audio` as a block of kind `other`. `extras["logprobs"]` of text has the shape of this
dialect in every dialect.
"""

from typing import Any, ClassVar

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
from proxy.chat.usage import Usage
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.openai.repeating import Repeating
from proxy.dialects.openai.shapes import Choice, Chunk, Delta, read_chunk
from proxy.dialects.openai.usage import read_usage
from proxy.dialects.serialising import serialised
from proxy.framing.sse import data_of

Events = list[Event]


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

    dialect: ClassVar[str] = "openai"
    finish_reasons: ClassVar[dict[str, FinishReason]] = {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "error": "error",
        "max_tokens": "length",
    }

    def __init__(self) -> None:
        self._started = False
        self._next_block = 0
        self._open: dict[tuple[int, str], int] = {}
        self._last_call: dict[int, str] = {}
        self._finished: set[int] = set()
        self._repeating = Repeating()
        self._repeated = 0
        """The block that repeating frames belong to."""

    def read(self, frame: bytes) -> Events:
        """Raises msgspec.DecodeError for a frame whose data is no chunk."""
        text = self._repeating.text_of(frame)
        if text is not None:
            return [TextDelta(self._repeated, text)] if text else []
        data = data_of(frame)
        if not data or data == b"[DONE]":
            return []
        events = self.read_chunk(read_chunk(data))
        if len(events) == 1:
            piece = events[0]
            if isinstance(piece, TextDelta) and not piece.extras:
                self._repeating.learn(frame, piece.text)
                self._repeated = piece.block
        return events

    def read_chunk(self, chunk: Chunk) -> Events:
        if chunk.error and not chunk.choices:
            error = error_in_answer(chunk.error)
            return [Failed(error.kind, error.message, error.upstream_status)]
        events: Events = []
        if not self._started:
            events.append(self._start(chunk))
        for choice in chunk.choices or ():
            self._read_choice(choice, events)
        if chunk.usage:
            usage = self.usage(chunk.usage)
            if usage is not None:
                events.append(UsageReported(usage))
        return events

    def end(self) -> Events:
        """Blocks that no finish reason closed."""
        self._repeating.forget()
        left: Events = [BlockEnded(block) for block in self._open.values()]
        self._open = {}
        return left

    def usage(self, report: Any) -> Usage | None:
        return read_usage(report)

    def _start(self, chunk: Chunk) -> Event:
        self._started = True
        own = {
            name: value
            for name in ("system_fingerprint", "service_tier")
            if (value := getattr(chunk, name)) is not None
        }
        return ResponseStarted(
            id=str(chunk.id or ""),
            model=str(chunk.model or ""),
            created=chunk.created if isinstance(chunk.created, int) else 0,
            extras={self.dialect: own} if own else {},
        )

    def _read_choice(self, choice: Choice, events: Events) -> None:
        index = choice.index if isinstance(choice.index, int) else 0
        part = choice.delta or choice.message
        if part is not None:
            self._read_delta(index, part, events)
        if isinstance(choice.logprobs, dict):
            self._read_logprobs(index, choice.logprobs, events)
        if choice.finish_reason or choice.finish_details:
            self.finish(index, choice.finish, events)

    def _read_delta(self, choice: int, delta: Delta, events: Events) -> None:
        """By far the most frames bring a piece of text and nothing else."""
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._read_reasoning(choice, delta, events)
        content = delta.content
        if isinstance(content, str):
            if content:
                opened = self._open.get((choice, "text"))
                if opened is None:
                    opened = self.block(choice, "text", "text", events)
                events.append(TextDelta(opened, content))
        elif content:
            self.read_content(choice, content, events)
        if delta.has_more:
            self._read_more(choice, delta, events)

    def _read_reasoning(self, choice: int, delta: Delta, events: Events) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        text = reasoning if isinstance(reasoning, str) else ""
        details = delta.reasoning_details if isinstance(delta.reasoning_details, list) else []
        if text or details:
            block = self.block(choice, "reasoning", "reasoning", events)
            extras = {"openai": {"reasoning_details": details}} if details else {}
            events.append(ReasoningDelta(block, text, extras=extras))

    def _read_more(self, choice: int, delta: Delta, events: Events) -> None:
        """What may stand beside text."""
        if isinstance(delta.refusal, str) and delta.refusal:
            block = self.block(choice, "refusal", "refusal", events)
            events.append(TextDelta(block, delta.refusal))
        if isinstance(delta.annotations, list) and delta.annotations:
            block = self.block(choice, "text", "text", events)
            self._note(block, {"openai": {"annotations": delta.annotations}}, events)
        if isinstance(delta.tool_calls, list):
            for position, call in enumerate(delta.tool_calls):
                if isinstance(call, dict):
                    self._read_call(choice, position, call, events)
        if isinstance(delta.function_call, dict):
            call = {"index": 0, "type": "function_call", "function": delta.function_call}
            self._read_call(choice, 0, call, events)
        if delta.audio:
            self._read_other(choice, {"audio": delta.audio}, events)

    def read_content(self, choice: int, content: Any, events: Events) -> None:
        """Content that is no string."""
        if text := text_of(content):
            events.append(TextDelta(self.block(choice, "text", "text", events), text))

    def _read_logprobs(self, choice: int, logprobs: dict[str, Any], events: Events) -> None:
        for field, kind in (("content", "text"), ("refusal", "refusal")):
            if isinstance(logprobs.get(field), list) and (choice, kind) in self._open:
                self._note(self._open[choice, kind], {"logprobs": {field: logprobs[field]}}, events)

    def _note(self, block: int, extras: dict[str, Any], events: Events) -> None:
        """Extras of the text that just came, or of none."""
        last = events[-1] if events else None
        if isinstance(last, TextDelta) and last.block == block and not last.extras:
            events[-1] = TextDelta(block, last.text, extras)
        else:
            events.append(TextDelta(block, "", extras))

    def _read_other(self, choice: int, whole: dict[str, Any], events: Events) -> None:
        block = self._next_block
        self._next_block += 1
        events.append(BlockStarted(block, "other", choice, extras={self.dialect: whole}))
        events.append(BlockEnded(block))

    def _read_call(self, choice: int, position: int, call: dict[str, Any], events: Events) -> None:
        kind, function = call.get("type"), call.get("function")
        if isinstance(call.get("custom"), dict):
            kind = "custom"
            function = {**call["custom"], "arguments": call["custom"].get("input")}
        if not isinstance(function, dict):
            function = {}
        key = self._call_key(choice, position, call, function)
        block = self._open.get((choice, key))
        if block is None:
            call_id, name = str(call.get("id") or ""), str(function.get("name") or "")
            own = kind in ("custom", "function_call")
            extras = {self.dialect: {"type": kind}} if own else {}
            block = self.block(choice, key, "tool_call", events, call_id, name, extras)
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = serialised(arguments).decode()
        if arguments:
            events.append(ToolArgumentsDelta(block, str(arguments)))

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

    def block(
        self,
        choice: int,
        key: str,
        kind: BlockKind,
        events: Events,
        call_id: str = "",
        name: str = "",
        extras: dict[str, Any] | None = None,
    ) -> int:
        """The block of a field, opened where it is not open yet."""
        block = self._open.get((choice, key))
        if block is None:
            block = self._open[choice, key] = self._next_block
            self._next_block += 1
            events.append(BlockStarted(block, kind, choice, call_id, name, extras=extras or {}))
        return block

    def finish(self, choice: int, reason: str, events: Events) -> None:
        """A forced tool ends with `stop` here, and with a reason of its own elsewhere; what was
        said stays in the extras."""
        if choice in self._finished or not reason:
            return
        self._finished.add(choice)
        self._repeating.forget()
        for owner, key in [opened for opened in self._open if opened[0] == choice]:
            events.append(BlockEnded(self._open.pop((owner, key))))
        known = self.finish_reasons.get(reason)
        meant = "tool_calls" if choice in self._last_call and known in (None, "stop") else known
        extras = {} if reason == meant else {self.dialect: {"finish_reason": reason}}
        events.append(Finished(meant or "stop", choice, extras=extras))


class BodyReader:
    """A whole answer is a stream of one chunk. That it is whole, its JSON says; so a choice which
    gives no reason has stopped."""

    def __init__(self, reader: type[StreamReader] = StreamReader) -> None:
        self._reader = reader()

    def read(self, body: bytes) -> Events:
        """Raises msgspec.DecodeError for a body that is no completion."""
        chunk = read_chunk(body)
        events = self._reader.read_chunk(chunk)
        for choice in chunk.choices or ():
            index = choice.index if isinstance(choice.index, int) else 0
            self._reader.finish(index, "stop", events)
        return events
