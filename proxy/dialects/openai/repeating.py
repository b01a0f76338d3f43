"""Frames that differ in their text alone.

Strategy: most servers write each piece of text into the same frame. One that was read as nothing
but a piece is remembered by what stands before and after that text. Where a later frame has the
same ends, and between them one JSON string, it is the same JSON but for that string, and need not
be parsed to be known. Servers that put something new into every frame (OpenAI's `obfuscation`)
teach nothing, and are given up soon.
"""

import re

import orjson

_PIECE = re.compile(rb'"content"\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_LESSONS = 3
_QUOTE = b'"'


def _string(piece: bytes) -> str | None:
    """What a JSON string says; None where this is not one, and all of it."""
    if piece[:1] != _QUOTE or piece[-1:] != _QUOTE:
        return None
    try:
        text: str = orjson.loads(piece)
    except orjson.JSONDecodeError:
        return None
    return text


class Repeating:
    """The last piece of text that one stream brought, and others like it."""

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._within = slice(0)
        """Where the text stands, with its quotes."""
        self._lessons = _LESSONS

    def text_of(self, frame: bytes) -> str | None:
        """The text of a frame like the one learned; None for any other."""
        before = self._before
        if before and frame.startswith(before) and frame.endswith(self._after):
            return _string(frame[self._within])
        return None

    def learn(self, frame: bytes, text: str) -> None:
        """A frame that brought this text and nothing else."""
        self._before = b""
        if not self._lessons:
            return
        self._lessons -= 1
        found = _PIECE.search(frame)
        if found and frame.count(b'"content"') == 1 and _string(found[1]) == text:
            self._before, self._after = frame[: found.start(1)], frame[found.end(1) :]
            self._within = slice(len(self._before), -len(self._after))

    def forget(self) -> None:
        """The text has ended: what comes now is another one's."""
        self._before = b""
