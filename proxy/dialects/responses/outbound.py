"""Speaking to a provider of the Responses API: requests out, answers in."""

from collections.abc import Iterator

import msgspec

from proxy.chat.events import Event
from proxy.dialects.faces import Sight
from proxy.dialects.openai.failures import read_error as read_error
from proxy.dialects.openai.outbound import headers as headers
from proxy.dialects.responses.failures import error_of, is_failure
from proxy.dialects.responses.reader import StreamReader
from proxy.dialects.responses.shapes import Frame, Response, object_of, read_frame, read_response
from proxy.dialects.responses.splice import for_upstream
from proxy.dialects.responses.usage import read_usage
from proxy.dialects.responses.writer import write_request as write_request
from proxy.errors import UpstreamError
from proxy.framing.sse import SseFramer, data_of

splice = for_upstream
new_framer = SseFramer

_NOTHING = Sight()
_CONTENT = Sight(has_content=True)
_END = Sight(ends_stream=True, finished=True)
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_SILENT_ITEMS = ("message", "reasoning")
"""Items that say nothing yet when they are added; a call is said by then, and so is a tool that the
provider runs."""


def path(model: str, *, stream: bool) -> str:
    return "/responses"


def is_notable(passing: bytes) -> bool:
    """Whether bytes of a stream may hold a frame that must be looked at once content flows.

    The events that end a stream are those that hold a whole `response`. In text these quotes are
    escaped, so few others match.
    """
    return b'"response"' in passing or b'"error"' in passing or b"[DONE]" in passing


def _ends(frame: Frame, *, ends_stream: bool) -> Sight:
    response = object_of(frame.response)
    usage = read_usage(response.get("usage"))
    if frame.type == "response.failed" or is_failure(response):
        return Sight(usage=usage, error=error_of(frame))
    return Sight(has_content=True, finished=True, ends_stream=ends_stream, usage=usage)


def sight(frame: bytes) -> Sight:
    """What one frame shows; events are complete in themselves.

    Servers that leave out the `event` lines mark the end with `[DONE]`, as for chat completions.
    """
    data = data_of(frame)
    if data == b"[DONE]":
        return _END
    if not data:
        return _NOTHING
    try:
        seen = read_frame(data)
    except msgspec.DecodeError:
        return _NOTHING
    if seen.type in _ENDS:
        return _ends(seen, ends_stream=b"event:" in frame[:7])
    if seen.type == "error":
        return Sight(error=error_of(seen))
    if seen.type == "response.output_item.added":
        return _NOTHING if object_of(seen.item).get("type") in _SILENT_ITEMS else _CONTENT
    return _CONTENT if seen.type.endswith(".delta") and seen.delta else _NOTHING


class Watch:
    """Events need no memory of each other."""

    def sight(self, frame: bytes) -> Sight:
        return sight(frame)


def watch() -> Watch:
    return Watch()


def _as_event(response: Response) -> Frame:
    """A whole answer, as the event that ends a stream."""
    return Frame(type="response.completed", response=msgspec.to_builtins(response))


def sight_of_body(body: bytes) -> Sight:
    """Looks at a whole answer. Raises UpstreamError when it is none (HTML, cut-off JSON)."""
    try:
        response = read_response(body)
    except msgspec.DecodeError:
        raise UpstreamError(
            "server_error", "The upstream's answer is not a response.", upstream_status=200
        ) from None
    return _ends(_as_event(response), ends_stream=True)


def read_events() -> StreamReader:
    """A reader that turns frames into canonical events, one stream at a time."""
    return StreamReader()


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events. Raises msgspec.DecodeError."""
    return iter(StreamReader().read_frame(_as_event(read_response(body))))
