"""What callers of generateContent see: requests read, answers and errors written."""

from collections.abc import Iterable
from typing import Any

import orjson

from proxy.chat.events import Event
from proxy.chat.request import ChatRequest
from proxy.dialects.faces import Start
from proxy.dialects.gemini import answer
from proxy.dialects.gemini.faults import error_object
from proxy.dialects.gemini.request import read_request as read_request
from proxy.dialects.gemini.shapes import parse as parse
from proxy.dialects.gemini.stream import StreamWriter
from proxy.dialects.serialising import serialised
from proxy.errors import GatewayError


def stream_writer(request: ChatRequest, start: Start) -> StreamWriter:
    return StreamWriter(start)


def write_body(events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
    """A whole answer."""
    return answer.write_body(events, start)


def write_error(error: GatewayError, request_id: str) -> bytes:
    return serialised(error_object(error, request_id))


def write_stream_error(error: GatewayError, request_id: str) -> bytes:
    """The event that ends a stream which failed."""
    return b"data: " + write_error(error, request_id) + b"\r\n\r\n"


def _model(alias: str, description: str) -> dict[str, Any]:
    return {
        "name": f"models/{alias}",
        "version": "",
        "displayName": alias,
        "description": description,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }


def write_models(aliases: Iterable[tuple[str, str]]) -> bytes:
    return orjson.dumps({"models": [_model(name, description) for name, description in aliases]})


def write_model(alias: str, description: str) -> bytes:
    return orjson.dumps(_model(alias, description))
