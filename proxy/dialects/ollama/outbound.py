"""Speaking to Ollama: requests out, answers in."""

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.chat.events import Event
from proxy.dialects.faces import Sight
from proxy.dialects.ollama import writer
from proxy.dialects.ollama.reader import StreamReader
from proxy.dialects.ollama.shapes import Line, lines_of, read_line
from proxy.dialects.ollama.usage import read_usage
from proxy.dialects.openai import outbound as openai
from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.splicing import ask_for_model
from proxy.errors import UpstreamError
from proxy.framing.ndjson import NdjsonFramer

headers = openai.headers
read_error = openai.read_error
write_request = writer.write_request
new_framer = NdjsonFramer
read_events = StreamReader


def path(model: str, *, stream: bool) -> str:
    return "/api/chat"


def splice(raw: bytes, body: Any, model: str) -> tuple[bytes, bool]:
    return ask_for_model(raw, body.asked_model, model), False


def is_notable(passing: bytes) -> bool:
    """Whether bytes of a stream may hold the last line, or an error."""
    return b"true" in passing or b'"error"' in passing


def _sight_of(line: Line) -> Sight:
    said = line.message
    done = line.done is True
    return Sight(
        has_content=said is not None and bool(said.content or said.thinking or said.tool_calls),
        finished=done,
        ends_stream=done,
        usage=read_usage(line) if done else None,
        error=error_in_answer(line.error) if line.error else None,
    )


class Watch:
    """Lines need no memory of each other."""

    def sight(self, frame: bytes) -> Sight:
        try:
            return _sight_of(read_line(frame))
        except msgspec.DecodeError:
            return Sight()


def watch() -> Watch:
    return Watch()


def sight_of_body(body: bytes) -> Sight:
    """Raises UpstreamError when it is no answer."""
    try:
        lines = lines_of(body)
    except msgspec.DecodeError:
        lines = []
    sights = [_sight_of(line) for line in lines if line.is_answer or line.error]
    if not sights:
        raise UpstreamError(
            "server_error", "The upstream's answer is not a chat of Ollama's.", upstream_status=200
        )
    last = sights[-1]
    last.has_content = any(seen.has_content for seen in sights)
    return last


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events. Raises msgspec.DecodeError."""
    reader = StreamReader()
    for line in lines_of(body):
        yield from reader.read_line(line)
    yield from reader.end()
