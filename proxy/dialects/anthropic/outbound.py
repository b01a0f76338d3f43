"""Speaking to a provider of the messages API: requests out, answers in."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.chat.events import Event
from proxy.dialects.anthropic.errors import error_in_answer
from proxy.dialects.anthropic.errors import read_error as read_error
from proxy.dialects.anthropic.reader import StreamReader
from proxy.dialects.anthropic.shapes import Frame, read_answer, read_frame
from proxy.dialects.anthropic.splice import for_upstream
from proxy.dialects.anthropic.usage import read_usage, replaced
from proxy.dialects.anthropic.writer import write_count as write_count
from proxy.dialects.anthropic.writer import write_request as write_request
from proxy.dialects.decoding import decoder
from proxy.dialects.faces import Sight
from proxy.errors import UpstreamError
from proxy.framing.sse import SseFramer, data_of

VERSION = "2023-06-01"
"""Docs, "Versions": the only one that there is."""

splice = for_upstream
new_framer = SseFramer

_NOTHING = Sight()
_END = Sight(ends_stream=True, finished=True)
_SILENT_BLOCKS = ("text", "thinking")
"""Blocks that say nothing by starting; any other is content."""


def path(model: str, *, stream: bool) -> str:
    return "/v1/messages"


def count_path(model: str) -> str:
    return "/v1/messages/count_tokens"


def headers(secret: str | None) -> list[tuple[str, str]]:
    version = ("anthropic-version", VERSION)
    return [("x-api-key", secret), version] if secret else [version]


def is_notable(passing: bytes) -> bool:
    """Whether bytes of a stream may hold a frame that must be looked at once content flows. Inside
    text, quotes are escaped."""
    return b'"message_' in passing or b'"error"' in passing


def _says_something(frame: Frame) -> bool:
    block, delta = frame.content_block, frame.delta
    if frame.type == "content_block_start" and block is not None:
        kind = block.get("type")
        return kind not in _SILENT_BLOCKS or bool(block.get("text") or block.get("thinking"))
    if frame.type == "content_block_delta" and delta is not None:
        pieces = (delta.text, delta.thinking, delta.partial_json, delta.signature, delta.citation)
        return any(pieces)
    return False


class Watch:
    """Holds the usage report, which `message_start` begins and `message_delta` replaces."""

    def __init__(self) -> None:
        self._report: dict[str, Any] = {}

    def sight(self, frame: bytes) -> Sight:
        """What cannot be read shows nothing, and passes."""
        data = data_of(frame)
        if not data:
            return _NOTHING
        try:
            return self._sight_of(read_frame(data))
        except msgspec.DecodeError:
            return _NOTHING

    def _sight_of(self, frame: Frame) -> Sight:
        match frame.type:
            case "message_start":
                message = frame.message
                return Sight(usage=self._usage(message.usage if message else None))
            case "message_delta":
                finished = bool(frame.delta and frame.delta.stop_reason)
                return Sight(finished=finished, usage=self._usage(frame.usage))
            case "message_stop":
                return _END
            case "error":
                return Sight(error=error_in_answer(frame.error))
        return Sight(has_content=True) if _says_something(frame) else _NOTHING

    def _usage(self, report: Any) -> Any:
        self._report = replaced(self._report, report)
        return read_usage(self._report) if isinstance(report, dict) else None


def watch() -> Watch:
    return Watch()


def sight_of_body(body: bytes) -> Sight:
    """Looks at a whole answer. Raises UpstreamError when it is none (HTML, cut-off JSON)."""
    try:
        answer = read_answer(body)
    except msgspec.DecodeError:
        raise UpstreamError(
            "server_error", "The upstream's answer is not a message.", upstream_status=200
        ) from None
    if answer.error:
        return Sight(error=error_in_answer(answer.error))
    if answer.content is None:
        raise UpstreamError(
            "server_error", "The upstream's answer has no content.", upstream_status=200
        )
    return Sight(
        has_content=bool(answer.content),
        finished=bool(answer.stop_reason),
        usage=read_usage(answer.usage),
    )


def read_events() -> StreamReader:
    """A reader that turns frames into canonical events, one stream at a time."""
    return StreamReader()


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events. Raises msgspec.DecodeError."""
    return StreamReader().read_body(body)


class _Count(msgspec.Struct):
    input_tokens: int


_read_count = decoder(_Count)


def read_count(body: bytes) -> int:
    """Input tokens. Raises UpstreamError when the body says none."""
    try:
        return _read_count(body).input_tokens
    except msgspec.DecodeError:
        raise UpstreamError(
            "server_error", "The upstream's answer is not a count of tokens.", upstream_status=200
        ) from None
