"""Server-sent events on bytes (WHATWG HTML, section 9.2): lines end in CR, LF or CRLF, and nothing
else; U+2028 is text. A frame is everything up to and including the blank line that ends it, so that
frames joined are the stream, byte for byte.
"""

import re

MAX_FRAME = 16_000_000
"""Bytes that a frame may have before its end has been seen."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n)(?:\r\n|\n|\r)|\r\r")
"""After two CR no LF is waited for: streams of CR alone would lag a frame behind. One that comes is
an empty line at the head of the next frame, wherever the chunks are cut."""
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(Exception):
    """A frame went on for more than MAX_FRAME bytes."""


class SseFramer:
    """Cuts a stream into frames. Feed it any chunks; it gives each frame as soon as it is whole."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def rest(self) -> bytes:
        """What no blank line has ended yet."""
        return b"".join(self._held)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes."""
        if not self._held:
            frames, rest = _cut(chunk)
        elif _may_end(self._tail + chunk):
            frames, rest = _cut(self.rest + chunk)
            self._held.clear()
            self._size = 0
        else:  # a large frame in many chunks: none of it is looked at twice
            frames, rest = [], chunk
        if rest:
            self._held.append(rest)
            self._size += len(rest)
            self._tail = (self._tail + rest)[-3:]
            if self._size > MAX_FRAME:
                raise FrameTooLarge
        return frames


def _may_end(data: bytes) -> bool:
    """Whether a blank line may be in these bytes."""
    return b"\n\n" in data or (b"\r" in data and _BLANK_LINE.search(data) is not None)


def _cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole frames, and the rest."""
    if b"\r" not in data:
        frames = [piece + b"\n\n" for piece in data.split(b"\n\n")]
        return frames, frames.pop()[:-2]
    frames, start = [], 0
    for match in _BLANK_LINE.finditer(data):
        end = match.end()
        if end == len(data) and data.endswith(b"\n\r"):
            break  # the LF of this CRLF may come with the next chunk
        frames.append(data[start:end])
        start = end
    return frames, data[start:]


def data_of(frame: bytes) -> bytes:
    """The `data` of a frame, its lines joined by LF; empty when it has none (a comment, a ping)."""
    # The common frame is one line, or has its event's name in a line before.
    at, end = 6, len(frame) - 2
    if frame[:7] == b"event: ":
        at += frame.find(b"\n") + 1
    if frame[at - 6 : at] == b"data: " and frame.find(b"\n", at) == end and b"\r" not in frame:
        return frame[at:end]
    lines = []
    for line in _LINE_END.split(frame):
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)


def event_of(frame: bytes) -> str:
    """The `event` of a frame, or the empty string."""
    event = b""
    for line in _LINE_END.split(frame):
        if line.startswith(b"event:"):
            event = line[7:] if line.startswith(b"event: ") else line[6:]
        elif line == b"event":
            event = b""
    return event.decode("utf-8", "replace")
