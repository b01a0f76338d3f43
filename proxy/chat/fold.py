"""Events folded into a whole answer."""

from collections.abc import Iterable
from typing import Any

import msgspec

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


class Block(msgspec.Struct):
    """One block, whole: its text, its reasoning and signature, or its tool call's arguments."""

    kind: BlockKind
    choice: int = 0
    text: str = ""
    signature: str = ""
    call_id: str = ""
    name: str = ""
    extras: dict[str, Any] = {}


class Answer(msgspec.Struct):
    """A whole answer. Blocks stand in the order in which they opened."""

    id: str = ""
    model: str = ""
    created: int = 0
    blocks: list[Block] = []
    finishes: dict[int, Finished] = {}
    usage: Usage | None = None
    usage_extras: dict[str, Any] = {}
    failed: Failed | None = None
    extras: dict[str, Any] = {}

    @property
    def finish(self) -> FinishReason | None:
        return self.finishes[0].reason if 0 in self.finishes else None


def fold(events: Iterable[Event]) -> Answer:
    """The whole answer that a sequence of events describes."""
    answer = Answer()
    blocks: dict[int, Block] = {}
    for event in events:
        match event:
            case TextDelta():
                block = blocks[event.block]
                block.text += event.text
                if event.extras:
                    _merge(block.extras, event.extras)
            case ToolArgumentsDelta():
                blocks[event.block].text += event.json
            case ReasoningDelta():
                block = blocks[event.block]
                block.text += event.text
                block.signature += event.signature
                _merge(block.extras, event.extras)
            case BlockStarted():
                blocks[event.block] = Block(
                    kind=event.kind,
                    choice=event.choice,
                    call_id=event.call_id,
                    name=event.name,
                    extras=dict(event.extras),
                )
            case BlockEnded():
                if event.extras:
                    _merge(blocks[event.block].extras, event.extras)
            case UsageReported():
                answer.usage, answer.usage_extras = event.usage, event.extras
            case Finished():
                answer.finishes[event.choice] = event
            case ResponseStarted():
                answer.id, answer.model, answer.created = event.id, event.model, event.created
                answer.extras = dict(event.extras)
            case Failed():
                answer.failed = event
    answer.blocks = list(blocks.values())
    return answer


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Extras of one dialect add up: lists are joined (citations), other values are replaced."""
    for dialect, values in more.items():
        held = into[dialect] = dict(into.get(dialect, {}))  # events are not ours to change
        for name, value in values.items():
            if isinstance(value, list) and isinstance(held.get(name), list):
                held[name] = [*held[name], *value]
            else:
                held[name] = value
