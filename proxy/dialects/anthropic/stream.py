"""Canonical events as the events of a stream of messages.

Strategy: this wire has one block at a time, and SDKs count on it, while canonical blocks may
interleave. A block of words that another interrupts is ended, and starts again as a new block when
its words go on. A tool call cannot be cut in two: while its arguments are no whole JSON text, what
belongs to other blocks waits. `message_start` waits for the first content, since providers of other
dialects name usage late or in a frame of its own; `message_delta` is the last thing said.
"""

from collections import OrderedDict
from typing import Any

import orjson

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.usage import Usage
from proxy.dialects.anthropic.answer import block_of, finish_of, is_free_form, signature_of
from proxy.dialects.anthropic.usage import write_usage
from proxy.dialects.faces import Start
from proxy.dialects.serialising import serialised

_NONE = -1
_FREE_FORM_START = '{"input":"'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    data = serialised({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _delta_prefix(index: int, kind: str, field: str) -> bytes:
    """A delta's frame up to its one value."""
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%s","%s":' % (index, kind.encode(), field.encode())
    )


_DELTAS = {
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool_call": ("input_json_delta", "partial_json"),
}


class StreamWriter:
    """Feed it events; it gives the frames of each."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, start: Start) -> None:
        self._start = start
        self._has_started = False
        self._usage = Usage()
        self._usage_extras: dict[str, Any] = {}
        self._finished: Finished | None = None
        self._refused = False
        self._blocks: dict[int, BlockStarted] = {}
        self._current = _NONE
        """The canonical block that is open on the wire."""
        self._index = _NONE
        self._prefix = b""
        self._arguments: list[str] = []
        self._signature = ""
        self._extras: dict[str, Any] = {}
        self._looked_at = 0
        """How many pieces of the arguments there were when they were last looked at."""
        self._is_whole = False
        self._waiting: OrderedDict[int, list[Event]] = OrderedDict()
        """What other blocks said meanwhile, by block."""

    def write(self, event: Event) -> bytes:
        """The frames of one event; empty where the wire has nothing to say."""
        if isinstance(event, TextDelta) and event.block == self._current and not event.extras:
            return self._prefix + serialised(event.text) + b"}}\n\n" if event.text else b""
        match event:
            case TextDelta() | ReasoningDelta() | ToolArgumentsDelta() | BlockStarted():
                return self._write_in_turn(event)
            case BlockEnded():
                return self._write_in_turn(event)
            case Finished():
                # One choice is all that a message has.
                self._finished = event if event.choice == 0 else self._finished
            case UsageReported():
                self._usage, self._usage_extras = event.usage, event.extras
            case ResponseStarted():
                self._start = Start(
                    event.id or self._start.id,
                    event.model or self._start.model,
                    event.created or self._start.created,
                )
        return b""

    def end(self) -> bytes:
        """What still waits, why it stopped, and the end."""
        last = self._drain(final=True) + self._close() + self._begin()
        delta = finish_of(self._finished, refused=self._refused)
        own = delta.pop("context_management", None)
        fields = {"delta": delta, "usage": write_usage(self._usage, self._usage_extras)}
        if own is not None:
            fields["context_management"] = own
        return last + _frame("message_delta", fields) + _MESSAGE_STOP

    def _write_in_turn(
        self, event: TextDelta | ReasoningDelta | ToolArgumentsDelta | BlockStarted | BlockEnded
    ) -> bytes:
        if event.block == self._current:
            return self._write_now(event) + self._drain()
        if self._waiting or self._must_wait():
            self._waiting.setdefault(event.block, []).append(event)
            return b""
        return self._write_now(event)

    def _must_wait(self) -> bool:
        """Whether the open block is a tool call that is not yet whole."""
        if self._current == _NONE or self._blocks[self._current].kind != "tool_call":
            return False
        pieces = self._arguments
        if self._looked_at < len(pieces):
            # Not all is read again for each piece: what begins as an object ends with a brace.
            self._looked_at = len(pieces)
            cut = pieces[0].lstrip()[:1] == "{" and pieces[-1].rstrip()[-1:] not in ("}", "")
            self._is_whole = not cut and _is_json("".join(pieces))
        return not self._is_whole

    def _drain(self, *, final: bool = False) -> bytes:
        """What waits, as far as it may go, block by block."""
        written: list[bytes] = []
        while self._waiting and (final or not self._must_wait()):
            _, events = self._waiting.popitem(last=False)
            written += [self._write_now(event) for event in events]
        return b"".join(written)

    def _write_now(self, event: Event) -> bytes:
        match event:
            case BlockStarted():
                if event.choice != 0:
                    return b""
                self._blocks[event.block] = event
                self._refused = self._refused or event.kind == "refusal"
                return self._open(event)
            case BlockEnded() if event.block == self._current:
                self._merge(event.extras)
                return self._close()
            case TextDelta():
                return self._reopen(event.block) + self._write_text(event)
            case ReasoningDelta():
                return self._reopen(event.block) + self._write_reasoning(event)
            case ToolArgumentsDelta():
                return self._reopen(event.block) + self._write_arguments(event)
        return b""

    def _write_text(self, event: TextDelta) -> bytes:
        if event.block != self._current:
            return b""
        written = self._prefix + serialised(event.text) + b"}}\n\n" if event.text else b""
        for citation in event.extras.get("anthropic", {}).get("citations", ()):
            delta = {"type": "citations_delta", "citation": citation}
            written += _frame("content_block_delta", {"index": self._index, "delta": delta})
        return written

    def _write_reasoning(self, event: ReasoningDelta) -> bytes:
        if event.block != self._current:
            return b""
        self._signature += event.signature
        self._merge(event.extras)
        return self._prefix + serialised(event.text) + b"}}\n\n" if event.text else b""

    def _merge(self, extras: dict[str, Any]) -> None:
        for owner, own in extras.items():
            self._extras[owner] = {**self._extras.get(owner, {}), **own}

    def _sign(self) -> bytes:
        """The signature is the last that a thinking block says, and is said at once (docs,
        "Streaming messages")."""
        started = self._blocks[self._current]
        if started.kind != "reasoning" or "data" in self._extras.get("anthropic", {}):
            return b""
        delta = {
            "type": "signature_delta",
            "signature": signature_of(self._signature, self._extras),
        }
        return _frame("content_block_delta", {"index": self._index, "delta": delta})

    def _write_arguments(self, event: ToolArgumentsDelta) -> bytes:
        if event.block != self._current or not event.json:
            return b""
        piece = event.json
        if is_free_form(self._blocks[event.block]):
            within = serialised(piece)[1:-1].decode()
            piece = within if self._arguments else _FREE_FORM_START + within
        return self._say_arguments(piece)

    def _say_arguments(self, piece: str) -> bytes:
        self._arguments.append(piece)
        return self._prefix + serialised(piece) + b"}}\n\n"

    def _end_free_form(self) -> bytes:
        started = self._blocks[self._current]
        if started.kind != "tool_call" or not is_free_form(started):
            return b""
        end = '"}' if self._arguments else _FREE_FORM_START + '"}'
        return self._say_arguments(end)

    def _begin(self) -> bytes:
        if self._has_started:
            return b""
        self._has_started = True
        message: dict[str, Any] = {
            "id": self._start.id,
            "type": "message",
            "role": "assistant",
            "model": self._start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage, self._usage_extras),
        }
        return _frame("message_start", {"message": message})

    def _open(self, started: BlockStarted) -> bytes:
        """The start of a block on the wire, after the end of the one before."""
        block = block_of(started)
        if block is None:
            return b""
        before = self._close() + self._begin()
        self._current = started.block
        self._index += 1
        self._arguments, self._signature, self._extras = [], "", {}
        self._looked_at, self._is_whole = 0, False
        self._merge(started.extras)
        if started.kind in _DELTAS:
            self._prefix = _delta_prefix(self._index, *_DELTAS[started.kind])
        fields = {"index": self._index, "content_block": block}
        return before + _frame("content_block_start", fields)

    def _reopen(self, block: int) -> bytes:
        """Words of a block that was interrupted go on in a new one; nothing else can."""
        started = self._blocks.get(block)
        if block == self._current or started is None or started.kind == "tool_call":
            return b""
        return self._open(started)

    def _close(self) -> bytes:
        if self._current == _NONE:
            return b""
        last = self._sign() + self._end_free_form()
        self._current = _NONE
        return last + _frame("content_block_stop", {"index": self._index})


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
