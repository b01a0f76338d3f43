"""An answer as a sequence of events, one fact each. A whole answer is the same sequence, folded.

Grammar: ResponseStarted, then for each block BlockStarted, deltas, BlockEnded; UsageReported any
time after the start; Finished once for each choice; or Failed, which ends everything. Blocks of one
choice may interleave (parallel tool calls), so every delta names its block.
"""

from typing import Any, Literal

import msgspec

from proxy.chat.usage import Usage

BlockKind = Literal["text", "reasoning", "tool_call", "refusal", "other"]
"""`other` is what one provider alone has, whole in `extras`; writers of other dialects skip it."""
FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error"
]


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of all events. `extras[dialect]` carries what only that dialect can say. Made by the
    hundred and never part of a cycle, they are no concern of the garbage collector."""


class ResponseStarted(Event, frozen=True):
    id: str
    model: str
    created: int = 0
    extras: dict[str, Any] = {}


class BlockStarted(Event, frozen=True):
    """A block of content opens. `call_id` and `name` are a tool call's."""

    block: int
    kind: BlockKind
    choice: int = 0
    call_id: str = ""
    name: str = ""
    extras: dict[str, Any] = {}


class TextDelta(Event, frozen=True):
    """Text of a `text` or `refusal` block."""

    block: int
    text: str
    extras: dict[str, Any] = {}


class ReasoningDelta(Event, frozen=True):
    """Reasoning text; `signature` is what the provider wants back to trust it."""

    block: int
    text: str = ""
    signature: str = ""
    extras: dict[str, Any] = {}


class ToolArgumentsDelta(Event, frozen=True):
    """A piece of a tool call's arguments: JSON text, cut anywhere."""

    block: int
    json: str


class BlockEnded(Event, frozen=True):
    block: int
    extras: dict[str, Any] = {}


class UsageReported(Event, frozen=True):
    """The counts so far; a later report replaces an earlier one."""

    usage: Usage
    extras: dict[str, Any] = {}


class Finished(Event, frozen=True):
    reason: FinishReason
    choice: int = 0
    stop_sequence: str = ""
    extras: dict[str, Any] = {}


class Failed(Event, frozen=True):
    """The provider reported an error inside its answer. `kind` is an error kind of routing."""

    kind: str
    message: str
    status: int | None = None
