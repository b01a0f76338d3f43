"""The events of one stream as bytes, numbered."""

import orjson

from proxy.dialects.responses.shapes import Object
from proxy.dialects.serialising import serialised


def delta_head(name: str, place: Object) -> bytes:
    """All of a delta's frame before its sequence number: the same for every delta of a block."""
    body = orjson.dumps({"type": f"response.{name}.delta", **place})[:-1]
    return b"event: response." + name.encode() + b".delta\ndata: " + body + b',"sequence_number":'


class Frames:
    """Writes the frames of a stream, and counts them."""

    def __init__(self) -> None:
        self._next = 0

    def event(self, name: str, **fields: object) -> bytes:
        event = {"type": name, "sequence_number": self._next, **fields}
        self._next += 1
        return b"event: " + name.encode() + b"\ndata: " + serialised(event) + b"\n\n"

    def delta(self, head: bytes, text: str, rest: bytes = b"") -> bytes:
        """`rest` are members that stand before the text, each with its comma."""
        number = self._next
        self._next = number + 1
        return b'%b%d%b,"delta":%b}\n\n' % (head, number, rest, orjson.dumps(text))


class NoFrames(Frames):
    """For a whole answer, whose events nobody reads."""

    def event(self, name: str, **fields: object) -> bytes:
        return b""

    def delta(self, head: bytes, text: str, rest: bytes = b"") -> bytes:
        return b""
