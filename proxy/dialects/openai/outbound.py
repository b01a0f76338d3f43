"""Speaking to a provider of chat completions: requests out, answers in."""

import re
from collections.abc import Iterator

import msgspec

from proxy.chat.events import Event
from proxy.dialects.faces import Sight
from proxy.dialects.openai import failures, writer
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.openai.reader import BodyReader, StreamReader
from proxy.dialects.openai.shapes import Chunk, read_chunk
from proxy.dialects.openai.splice import for_upstream
from proxy.dialects.openai.usage import read_usage
from proxy.errors import UpstreamError
from proxy.framing.sse import SseFramer, data_of


def path(model: str, *, stream: bool) -> str:
    return "/chat/completions"


def headers(secret: str | None) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {secret}")] if secret else []


splice = for_upstream
write_request = writer.write_request
read_error = failures.read_error
new_framer = SseFramer


_NOTHING = Sight()
_END = Sight(ends_stream=True)
_USAGE_OBJECT = re.compile(rb'"usage"\s*+:\s*+\{')


def is_notable(passing: bytes) -> bool:
    """Whether bytes of a stream may hold a frame that must be looked at once content flows.

    Plain searches first: they are many times quicker than a pattern, and this sees every byte.
    """
    if b"[DONE]" in passing or b'"error"' in passing:
        return True
    return b'"usage"' in passing and _USAGE_OBJECT.search(passing) is not None


def _sight_of(chunk: Chunk) -> Sight:
    choices = chunk.choices or []
    error = chunk.error if chunk.error and not choices else None
    usage = read_usage(chunk.usage)
    return Sight(
        has_content=any(
            part is not None and part.has_content
            for choice in choices
            for part in (choice.delta, choice.message)
        ),
        finished=any(choice.finish for choice in choices),
        usage=usage,
        only_usage=usage is not None and not choices,
        error=error_in_answer(error) if error else None,
    )


def sight(frame: bytes) -> Sight:
    """What one frame shows; chunks are complete in themselves."""
    data = data_of(frame)
    if data == b"[DONE]":
        return _END
    if not data:
        return _NOTHING
    try:
        return _sight_of(read_chunk(data))
    except msgspec.DecodeError:
        return _NOTHING


class Watch:
    """Frames of chat completions need no memory of each other."""

    def sight(self, frame: bytes) -> Sight:
        return sight(frame)


def watch() -> Watch:
    return Watch()


def sight_of_body(body: bytes) -> Sight:
    """Looks at a whole answer. Raises UpstreamError when it is none (HTML, cut-off JSON)."""
    try:
        chunk = read_chunk(body)
    except msgspec.DecodeError:
        raise UpstreamError(
            "server_error", "The upstream's answer is not a chat completion.", upstream_status=200
        ) from None
    seen = _sight_of(chunk)
    if seen.error is None and chunk.choices is None:
        raise UpstreamError(
            "server_error", "The upstream's answer has no choices.", upstream_status=200
        )
    return seen


def read_events() -> StreamReader:
    """A reader that turns frames into canonical events, one stream at a time."""
    return StreamReader()


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events."""
    return iter(BodyReader().read(body))
