"""What callers of the Responses API see: requests read, answers and errors written."""

from collections.abc import Iterable

import orjson

from proxy.chat.events import Event
from proxy.chat.request import ChatRequest
from proxy.dialects.faces import Start
from proxy.dialects.openai.inbound import error_object
from proxy.dialects.openai.inbound import write_error as write_error
from proxy.dialects.openai.inbound import write_model as write_model
from proxy.dialects.openai.inbound import write_models as write_models
from proxy.dialects.responses.request import parse as parse
from proxy.dialects.responses.request import read_request as read_request
from proxy.dialects.responses.stream import StreamWriter, whole_response
from proxy.dialects.serialising import serialised
from proxy.errors import GatewayError


def stream_writer(request: ChatRequest, start: Start) -> StreamWriter:
    return StreamWriter(request, start)


def write_body(events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
    """A whole answer."""
    return serialised(whole_response(events, request, start))


def write_stream_error(error: GatewayError, request_id: str) -> bytes:
    """The `error` event that ends a stream which failed.

    Its facts stand at the top, as documented, and in an `error` object, as the provider sends them
    and as the official client libraries look for them.
    """
    told = error_object(error, request_id)["error"]
    event = {
        "type": "error",
        "sequence_number": 0,
        "code": told["code"],
        "message": told["message"],
        "param": told["param"],
        "error": told,
    }
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
