"""Speaking to a provider of generateContent: requests out, answers in."""

from typing import Any

import msgspec

from proxy.dialects.faces import Sight
from proxy.dialects.gemini.faults import error_in_answer
from proxy.dialects.gemini.faults import read_error as read_error
from proxy.dialects.gemini.reader import StreamReader, chunks_of, json_of
from proxy.dialects.gemini.reader import read_body as read_body
from proxy.dialects.gemini.shapes import Chunk, parts_of, read_chunk
from proxy.dialects.gemini.usage import read_usage
from proxy.dialects.gemini.writer import write_request as write_request
from proxy.errors import UpstreamError
from proxy.framing.sse import SseFramer


def path(model: str, *, stream: bool) -> str:
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/models/{model}:{method}"


def headers(secret: str | None) -> list[tuple[str, str]]:
    return [("x-goog-api-key", secret)] if secret else []


def splice(raw: bytes, body: Any, model: str) -> tuple[bytes, bool]:
    """The path says which model, and usage comes unasked."""
    return raw, False


new_framer = SseFramer


def is_notable(passing: bytes) -> bool:
    """Whether bytes of a stream may hold a frame that must be looked at once content flows. The
    provider reports usage with every frame, so most are."""
    return (
        b'"usageMetadata"' in passing
        or b'"finishReason"' in passing
        or b'"error"' in passing
        or b'"promptFeedback"' in passing
    )


_NOTHING = Sight()


def _has_content(candidate: dict[str, Any]) -> bool:
    """A part without text is a call, a file, or the like; empty text says nothing."""
    return any(part.get("text", True) for part in parts_of(candidate) if isinstance(part, dict))


def _sight_of(chunk: Chunk) -> Sight:
    candidates = chunk.candidates or []
    return Sight(
        has_content=any(_has_content(candidate) for candidate in candidates),
        finished=bool(chunk.prompt_feedback and not candidates)
        or any(candidate.get("finishReason") for candidate in candidates),
        usage=read_usage(chunk.usage_metadata),
        error=error_in_answer(chunk.error) if chunk.error and not candidates else None,
    )


class Watch:
    """Usage adds up in the frames themselves, so they need no memory of each other. Nothing marks
    the end of a stream but its last byte."""

    def sight(self, frame: bytes) -> Sight:
        data = json_of(frame)
        if not data:
            return _NOTHING
        try:
            return _sight_of(read_chunk(data))
        except msgspec.DecodeError:
            return _NOTHING


def watch() -> Watch:
    return Watch()


def sight_of_body(body: bytes) -> Sight:
    """Looks at a whole answer. Raises UpstreamError when it is none (HTML, cut-off JSON)."""
    try:
        seen = [_sight_of(chunk) for chunk in chunks_of(body)]
    except msgspec.DecodeError:
        seen = []
    whole = Sight(
        has_content=any(sight.has_content for sight in seen),
        finished=any(sight.finished for sight in seen),
        usage=next((sight.usage for sight in reversed(seen) if sight.usage), None),
        error=next((sight.error for sight in seen if sight.error), None),
    )
    if whole.error is None and not (whole.has_content or whole.finished):
        raise UpstreamError(
            "server_error", "The upstream's answer has no candidates.", upstream_status=200
        )
    return whole


def read_events() -> StreamReader:
    """A reader that turns frames into canonical events, one stream at a time."""
    return StreamReader()
