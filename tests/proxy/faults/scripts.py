"""How a provider fails, as scripts of the fake upstream."""

import email.utils
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tests.fake_upstream import Cut, Script, Wire, stream, whole
from tests.proxy.faults.speech import SPEECHES, Speech

MEGABYTE = b"x" * 1_000_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One request that a script answers: whether a stream was asked for, and the moment at which
    its caller has read some content."""

    streaming: bool
    seen: threading.Event


Play = Callable[[Turn], Script]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to commit a fault. `says` is the provider's own error, where a caller of the same
    dialect may get it as it is."""

    name: str
    dialect: str
    play: Play
    says: bytes = b""


def always(script: Script) -> Play:
    """The same, whatever was asked."""
    return lambda turn: script


def answering(speech: Speech, *, gzipped: bool = False, after: float = 0.0) -> Play:
    """The answer that was asked for."""

    def play(turn: Turn) -> Script:
        if not turn.streaming:
            return whole(speech.whole, gzipped=gzipped, after=after)
        if gzipped:
            body = b"".join(speech.frames)
            return whole(body, gzipped=True, content_type=speech.content_type, after=after)
        return stream(speech.frames, content_type=speech.content_type, after=after)

    return play


def saying(
    speech: Speech,
    frames: Iterable[bytes],
    *,
    ends: Cut | Literal["clean", "never"] = "clean",
    gate: int = 0,
) -> Play:
    """These frames of a stream; after `gate` of them it waits until the caller has seen some."""
    pieces = list(frames)

    def play(turn: Turn) -> Script:
        steps = [*pieces[:gate], turn.seen, *pieces[gate:]] if gate else pieces
        return stream(steps, ends=ends, content_type=speech.content_type)

    return play


CUTS: tuple[Cut | Literal["clean"], ...] = ("fin", "rst", "clean")


def cuts(first: Callable[[Speech], int], last: Callable[[Speech], int]) -> tuple[Variant, ...]:
    """Streams of every dialect that end after each number of frames from `first` to `last`."""
    return tuple(
        Variant(
            f"{dialect}, {ends} after {count}",
            dialect,
            saying(
                speech,
                speech.frames[:count],
                ends=ends,
                gate=count if count > len(speech.opening) else 0,
            ),
        )
        for dialect, speech in SPEECHES.items()
        for count in range(first(speech), last(speech) + 1)
        for ends in CUTS
    )


def in_every_dialect(make: Callable[[Speech], tuple[Play, bytes] | None]) -> tuple[Variant, ...]:
    made = {dialect: make(speech) for dialect, speech in SPEECHES.items()}
    return tuple(Variant(name, name, *given) for name, given in made.items() if given is not None)


def refusing(status: int, body: bytes) -> Play:
    return always(whole(body, status=status))


def in_half_a_minute(wire: Wire) -> None:
    """429 with an HTTP date."""
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    whole({"error": {"message": "Slow down."}}, status=429, headers={"retry-after": date})(wire)


def endless_head(wire: Wire) -> None:
    wire.raw(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        wire.raw(b"x-header-%d: %b\r\n" % (number, MEGABYTE[:1000]))


def endless_body(wire: Wire) -> None:
    wire.head(200, {"content-type": "application/json"})
    for _ in range(1_000):
        wire.send(MEGABYTE)


def endless_event(wire: Wire) -> None:
    wire.head(200, {"content-type": "text/event-stream"})
    wire.send(b"data: ")
    for _ in range(1_000):
        wire.send(MEGABYTE)


def endless_comments(wire: Wire) -> None:
    wire.head(200, {"content-type": "text/event-stream"})
    for _ in range(10_000):
        wire.send(b": " + MEGABYTE[:10_000] + b"\n\n")


def over_the_bound(wire: Wire) -> None:
    """A body that says in its head how large it is."""
    wire.head(200, {"content-type": "application/json"}, length=65_000_000)
    for _ in range(65):
        wire.send(MEGABYTE)


def cut_in_body(how: Cut) -> Script:
    """Half of a whole answer."""

    def script(wire: Wire) -> None:
        body = SPEECHES["openai"].whole
        wire.head(200, {"content-type": "application/json"}, length=len(body))
        wire.send(body[: len(body) // 2])
        wire.cut(how)

    return script


def after_early_heads(*statuses: int) -> Play:
    """The answer, after heads that only announce it."""

    def play(turn: Turn) -> Script:
        answer = answering(SPEECHES["openai"])(turn)

        def script(wire: Wire) -> None:
            for status in statuses:
                wire.raw(b"HTTP/1.1 %d Early\r\nlink: </x>\r\n\r\n" % status)
            answer(wire)

        return script

    return play


def switching(wire: Wire) -> None:
    wire.raw(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    )
    wire.wait_for_the_end()
