"""What was used: the provider's own report, or an estimate of what passed.

An estimate is cheap and made only when a stream ended without a report: letters in runs of up to
eight, digits in runs of up to three, and every other sign count as one token each, which is near
what byte-pair vocabularies make of prose and code.
"""

import math
import re
from collections.abc import Callable, Iterable

from proxy.chat.embeddings import EmbeddingsRequest
from proxy.chat.events import Event, ReasoningDelta, TextDelta, ToolArgumentsDelta
from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.chat.usage import Usage
from proxy.dialects.serialising import serialised
from proxy.framing.sse import SseFramer

_TOKENS = re.compile(r"[A-Za-z]{1,8}|\d{1,3}|[^\sA-Za-z\d]")
MEDIA_TOKENS = 1_000
"""An image, a minute of sound or a page: an order of magnitude."""
MESSAGE_TOKENS = 4
FOLD_BYTES = 1_000_000
FOLD_EVENTS = 10_000


def count_text(text: str) -> int:
    """Tokens of a text, estimated."""
    return sum(1 for _ in _TOKENS.finditer(text))


def _count_part(part: Part) -> int:
    match part:
        case Text() | Refusal() | Reasoning():
            return count_text(part.text)
        case ToolCall():
            return count_text(part.name) + count_text(part.arguments)
        case ToolResult():
            return sum(_count_part(inner) for inner in part.content)
        case Document():
            return count_text(part.text) or MEDIA_TOKENS
        case Image() | Audio():
            return MEDIA_TOKENS
    return 0


def _count_message(message: Message) -> int:
    return MESSAGE_TOKENS + sum(_count_part(part) for part in message.parts)


def count_request(request: ChatRequest) -> int:
    """Input tokens of a request, estimated."""
    tools = sum(
        count_text(tool.description) + len(serialised(tool.schema or {})) // 4
        for tool in request.tools
    )
    return tools + sum(_count_message(message) for message in request.messages)


def count_inputs(request: EmbeddingsRequest) -> int:
    """Tokens of texts to embed, estimated, or counted where they come as token ids."""
    return sum(count_text(text) if isinstance(text, str) else len(text) for text in request.inputs)


def quick_count(body: bytes) -> int:
    """The same without reading the body, for the line that a crash would leave."""
    return math.ceil(len(body) / 4)


class _Counts:
    """Text and reasoning by block, counted over joined deltas: a token may span two."""

    def __init__(self) -> None:
        self._output: dict[int, list[str]] = {}
        self._reasoning: dict[int, list[str]] = {}

    def add(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._output.setdefault(event.block, []).append(event.text)
            case ToolArgumentsDelta():
                self._output.setdefault(event.block, []).append(event.json)
            case ReasoningDelta():
                self._reasoning.setdefault(event.block, []).append(event.text)

    def total(self) -> tuple[int, int]:
        """Tokens of output and of reasoning."""
        return _count_blocks(self._output), _count_blocks(self._reasoning)


def _count_blocks(blocks: dict[int, list[str]]) -> int:
    return sum(count_text("".join(pieces)) for pieces in blocks.values())


class Delivered:
    """What has left for the caller, kept until a report makes it needless.

    Frames are kept as they are and read only when they must be counted, or when FOLD_BYTES of them
    have gathered: the common stream is never parsed for this.
    """

    def __init__(self, read: Callable[[bytes], Iterable[Event]]) -> None:
        self._read = read
        self._frames: list[bytes] = []
        self._size = 0
        self._events: list[Event] = []
        self._counts = _Counts()

    def add(self, frames: bytes) -> None:
        self._frames.append(frames)
        self._size += len(frames)
        if self._size > FOLD_BYTES:
            self._fold()

    def add_events(self, events: list[Event]) -> None:
        """For answers that we write ourselves; kept unread likewise."""
        self._events += events
        if len(self._events) > FOLD_EVENTS:
            self._fold()

    def _fold(self) -> None:
        for event in self._events:
            self._counts.add(event)
        self._events = []
        for frame in SseFramer().feed(b"".join(self._frames)):
            try:
                for event in self._read(frame):
                    self._counts.add(event)
            except Exception:  # noqa: BLE001, S112  (whatever an upstream sends, it is settled)
                continue
        self._frames, self._size = [], 0

    def frames(self) -> bytes:
        """What has not been folded yet."""
        return b"".join(self._frames)

    def usage(self, *, input_tokens: int) -> Usage:
        """The estimate: what was asked, and what has been delivered."""
        self._fold()
        output, reasoning = self._counts.total()
        return Usage(input=input_tokens, output=output, reasoning=reasoning)
