"""JSON values one a line, on bytes: a frame is a line with the LF that ends it. U+2028 is text."""

from proxy.framing.sse import MAX_FRAME, FrameTooLarge


class NdjsonFramer:
    """Cuts a stream into lines. Feed it any chunks; it gives each line as soon as it is whole."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    @property
    def rest(self) -> bytes:
        """What no line end has ended yet."""
        return b"".join(self._held)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes. Raises FrameTooLarge."""
        frames: list[bytes] = []
        if b"\n" in chunk:
            lines = (self.rest + chunk).split(b"\n")
            chunk = lines.pop()
            frames = [line + b"\n" for line in lines]
            self._held.clear()
            self._size = 0
        if chunk:
            self._held.append(chunk)
            self._size += len(chunk)
            if self._size > MAX_FRAME:
                raise FrameTooLarge
        return frames
