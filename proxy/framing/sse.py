"""Server-sent events on bytes (WHATWG HTML, section 9.2): lines end in CR, LF or CRLF, and nothing
else; U+2028 is text. A frame is everything up to and including the blank line that ends it, so that
frames joined are the stream, byte for byte.
"""

import re

MAX_FRAME = 16_000_000
"""Bytes that a frame may have before its end has been seen."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(Exception):
    """A frame went on for more than MAX_FRAME bytes."""


class SseFramer:
    """Cuts a stream into frames. Feed it any chunks; it gives each frame as soon as it is whole."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes."""
        data = self.rest + chunk if self.rest else chunk
        if b"\r" not in data:
            frames = [piece + b"\n\n" for piece in data.split(b"\n\n")]
            self.rest = frames.pop()[:-2]
        else:
            frames = self._feed_any_line_end(data)
        if len(self.rest) > MAX_FRAME:
            raise FrameTooLarge
        return frames

    def _feed_any_line_end(self, data: bytes) -> list[bytes]:
        frames, start = [], 0
        for match in _BLANK_LINE.finditer(data):
            end = match.end()
            if end == len(data) and data.endswith(b"\r") and not data.endswith(b"\r\r"):
                break  # the LF of this CRLF may come with the next chunk
            frames.append(data[start:end])
            start = end
        self.rest = data[start:]
        return frames


def data_of(frame: bytes) -> bytes:
    """The `data` of a frame, its lines joined by LF; empty when it has none (a comment, a ping)."""
    if frame.startswith(b"data: ") and frame.find(b"\n", 6, -2) < 0 and b"\r" not in frame:
        return frame[6:].rstrip(b"\n")
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
    for line in _LINE_END.split(frame):
        if line.startswith(b"event:"):
            return line[6:].strip().decode("utf-8", "replace")
    return ""
