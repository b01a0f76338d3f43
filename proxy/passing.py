"""A stream on its way through: what is held back, what has been seen, what may go. No sockets."""

from proxy.dialects.faces import Framer, Outbound
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.framing.sse import FrameTooLarge
from proxy.meter import Delivered

HELD_BYTES = 1_000_000
"""How much may come before the first content."""
FEW_FRAMES = 8
"""So many are looked at one by one."""
INCOMPLETE = "The upstream ended its answer before it was complete."


def framed(framer: Framer, chunk: bytes) -> list[bytes]:
    """The frames that a chunk completes. Raises UpstreamError for one without an end."""
    try:
        return framer.feed(chunk)
    except FrameTooLarge:
        raise UpstreamError("server_error", "The upstream sent an endless event.") from None


class PassingStream:
    """One stream on its way through: what is held, what has been seen, what may go."""

    def __init__(self, outbound: Outbound, exchange: Exchange, *, hides_usage: bool) -> None:
        self._outbound = outbound
        self._watch = outbound.watch()
        self._exchange = exchange
        self._hides_usage = hides_usage
        self._framer = outbound.new_framer()
        self._finished = False
        self._size_held = 0
        self.held: list[bytes] = []
        self.flowing = False
        self.ended = False
        self.failure: UpstreamError | None = None

    def take(self, chunk: bytes) -> bytes:
        """The bytes that may go on now. Raises UpstreamError."""
        frames = framed(self._framer, chunk)
        if self.flowing:
            return self._pass(frames)
        for index, frame in enumerate(frames):
            self._look_at(frame, self.held)
            if self.flowing or self.ended:
                going: list[bytes] = self.held if self.flowing else []
                self.held = [] if self.flowing else self.held
                return b"".join(going) + self._pass(frames[index + 1 :])
        return b""

    def _pass(self, frames: list[bytes]) -> bytes:
        """Content flows: frames are looked at only where something notable is in them. Of many that
        came together that is seldom more than the last few, so they are searched by halves."""
        passing = b"".join(frames)
        if not self.ended and not self._outbound.is_notable(passing):
            return passing
        if len(frames) > FEW_FRAMES:
            half = len(frames) // 2
            return self._pass(frames[:half]) + self._pass(frames[half:])
        going: list[bytes] = []
        for frame in frames:
            if self.ended:
                self.held.append(frame)
            elif self._outbound.is_notable(frame):
                self._look_at(frame, going)
            else:
                going.append(frame)
        return b"".join(going)

    def _look_at(self, frame: bytes, going: list[bytes]) -> None:
        """Notes what a frame shows, and puts it where it belongs."""
        seen = self._watch.sight(frame)
        if seen.error is not None:
            self._fail(seen.error, frame)
            return
        if seen.usage is not None:
            self._exchange.usage = seen.usage
            self._exchange.usage_is_early = not self.flowing
        self._finished = self._finished or seen.finished
        if self._hides_usage and seen.only_usage:
            return
        if seen.ends_stream:
            self.ended = True
            self.held.append(frame)
            return
        going.append(frame)
        if not self.flowing:
            self.flowing = seen.has_content or seen.finished
            self._size_held += len(frame)
            if self._size_held > HELD_BYTES:
                raise UpstreamError("server_error", "The upstream sent no content for too long.")

    def _fail(self, error: UpstreamError, frame: bytes) -> None:
        """An error of the upstream in its stream. Before content it is raised; after content it
        waits until what came before it has gone, and then its own event ends ours."""
        error.body = frame
        if not self.flowing:
            raise error
        self.failure, self.ended = error, True

    def finish(self, delivered: Delivered) -> bytes:
        """The last bytes. Raises UpstreamError when the upstream stopped in the middle."""
        rest = self._framer.rest
        if rest:
            seen = self._watch.sight(rest)
            if seen.error is not None:
                seen.error.body = rest
                raise seen.error
            self._finished = self._finished or seen.finished
            self._exchange.usage = seen.usage or self._exchange.usage
            self.held.append(rest)
        ended = self.ended and self.flowing  # an end mark alone ends nothing
        if not (ended or self._finished or self._finishes(delivered)):
            raise UpstreamError("connection", INCOMPLETE)
        return b"".join(self.held)

    def _finishes(self, delivered: Delivered) -> bool:
        """Whether what passed unseen says that the answer is complete."""
        frames = self._outbound.new_framer().feed(delivered.frames())
        return any(self._watch.sight(frame).finished for frame in frames[-8:])
