"""What one dialect reads, every other must be able to write, or refuse as declared."""

import json
from collections.abc import Sequence
from contextlib import suppress

from proxy.chat.events import Event
from proxy.chat.request import ChatRequest
from proxy.dialects import INBOUND, OUTBOUND
from proxy.dialects.faces import Start
from proxy.errors import InvalidRequest

ASKED = ChatRequest(messages=(), stream=True, include_usage=True)
START = Start("0198f1ce-0000-7000-8000-000000000000", "pro", 1)


def write_for_every_provider(request: ChatRequest) -> None:
    for outbound in OUTBOUND.values():
        with suppress(InvalidRequest):
            json.loads(outbound.write_request(request, model="m", output_limit=100).body)


def write_for_every_caller(events: Sequence[Event]) -> None:
    """Streamed and whole; each reads its own stream."""
    for name, inbound in INBOUND.items():
        writer = inbound.stream_writer(ASKED, START)
        stream = b"".join([*(writer.write(event) for event in events), writer.end()])
        reader = OUTBOUND[name].read_events()
        for frame in OUTBOUND[name].new_framer().feed(stream):
            list(reader.read(frame))
        json.loads(inbound.write_body(events, ASKED, START))
