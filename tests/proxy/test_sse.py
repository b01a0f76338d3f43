"""Server-sent events: cut alike however they arrive, and read as another reader reads them."""

import itertools
from collections.abc import Iterable

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.framing import sse
from proxy.framing.sse import FrameTooLarge, SseFramer, data_of, event_of

PIECES = [
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "\r\r",
    "data: ",
    "data:",
    "data",
    "event: delta",
    "event:",
    "id: 7",
    "retry: 5",
    ": a comment",
    ":",
    " ",
    "{}",
    "[DONE]",
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "\0",
    "é",
    "🦁",
]
"""What is easily mistaken: for a line end, or for a field."""

streams = st.lists(st.sampled_from(PIECES), max_size=30).map(lambda p: "".join(p).encode())
well_formed = st.lists(
    st.tuples(
        st.sampled_from(
            ["data: {}", "data:x", "data", "event: e\ndata: y", ": ping", "data: \u2028"]
        ),
        st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]),
    )
).map(
    lambda events: "".join(
        e.replace("\n", end[: len(end) // 2]) + end for e, end in events
    ).encode()
)
any_stream = streams | well_formed


def _cut(stream: bytes, at: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(stream) + 1) for place in at), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(bounds)]


def _fed(chunks: Iterable[bytes]) -> tuple[list[bytes], bytes]:
    framer = SseFramer()
    return [frame for chunk in chunks for frame in framer.feed(chunk)], framer.rest


def _by_oracle(stream: bytes) -> list[tuple[str, str]]:
    """(event, data) of each event that has data, by httpx-sse."""
    lines, events = SSELineDecoder(), SSEDecoder()
    text = stream.decode()
    # It holds back a CR at the end, which may be half a CRLF; another line lets go of it.
    read = [*lines.decode(text + ":"), *lines.flush()] if text else []
    found = [event for line in read if (event := events.decode(line))]
    return [(event.event, event.data) for event in found if event.data]


def _check_chunking(stream: bytes, at: list[int]) -> None:
    whole, rest = _fed([stream])
    assert b"".join(whole) + rest == stream
    assert _fed(_cut(stream, at)) == (whole, rest)
    assert _fed(bytes([byte]) for byte in stream) == (whole, rest)


def _check_reading(stream: bytes) -> None:
    frames, _ = _fed([stream])
    read = [(event_of(frame) or "message", data_of(frame).decode()) for frame in frames]
    # A CR at the very end may be half a CRLF: what it ends is given with the next byte.
    ours = [event for event in read if event[1]]
    theirs = _by_oracle(stream)
    assert ours == theirs or (stream.endswith(b"\n\r") and ours == theirs[:-1])


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(any_stream, CUTS)
@example(b"data: a\r\r\ndata: b\n\n", [])
@example(b"data: a\n\r\ndata: b\r\n\r\n", [])
@example(b"data: a\r\n\r", [])
@settings(max_examples=200)
def test_frames_are_the_same_however_the_stream_is_cut(stream: bytes, at: list[int]) -> None:
    _check_chunking(stream, at)


@given(any_stream)
@example(b"data: a\r\r\ndata: b\n\n")
@settings(max_examples=200)
def test_events_are_those_that_another_reader_sees(stream: bytes) -> None:
    _check_reading(stream)


@pytest.mark.long
@given(any_stream, CUTS)
@settings(max_examples=10_000, deadline=None)
def test_any_stream_is_cut_and_read_alike(stream: bytes, at: list[int]) -> None:
    _check_chunking(stream, at)
    _check_reading(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_frame_leaves_with_the_byte_that_completes_it(end: bytes) -> None:
    """Nothing waits for the next event: what is whole goes."""
    framer = SseFramer()
    frame = b"data: a" + end + b"data: b" + end + end
    given_away = [framer.feed(bytes([byte])) for byte in frame]
    last = len(frame) - 1
    if end == b"\r\n":  # the CR of the blank line ends it already, but its LF belongs to it
        assert given_away[last] == [frame]
    assert [frame] in given_away[last - 1 :]
    assert framer.rest == b""


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_what_only_unicode_calls_a_line_end_is_text(separator: str) -> None:
    frame = f"data: a{separator}{separator}b\n\n".encode()
    assert _fed([frame]) == ([frame], b"")
    assert data_of(frame).decode() == f"a{separator}{separator}b"


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: x \n\n", b"x "),
        (b"data: \n\n", b""),
        (b"data\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"data: a\rdata: b\r\r", b"a\nb"),
        (b"data\ndata: b\n\n", b"\nb"),
        (b"data: a\ndata\n\n", b"a\n"),
        (b"event: e\ndata: x\n\n", b"x"),
        (b"event: e\ndata: x\ndata: y\n\n", b"x\ny"),
        (b"event: e\ndata: x\nd", b"x"),
        (b"event: e\n\n", b""),
        (b"event: data: x\n\n", b""),
        (b"data: x\nevent: e\n\n", b"x"),
        (b"\ndata: x\n\n", b"x"),
        (b": ping\n\n", b""),
        (b"datax: x\n\n", b""),
        (b" data: x\n\n", b""),
        (b"data : x\n\n", b""),
        (b"Data: x\n\n", b""),
        (b"\n\n", b""),
        (b"", b""),
        # cut off
        (b"data: x", b"x"),
        (b"data: x\n", b"x"),
        (b"data: x\nd", b"x"),
        (b"data: x\n:", b"x"),
        (b"data: [DONE]\r", b"[DONE]"),
    ],
)
def test_the_data_of_a_frame(frame: bytes, data: bytes) -> None:
    assert data_of(frame) == data


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (b"event: delta\ndata: x\n\n", "delta"),
        (b"event:delta\n\n", "delta"),
        (b"event:  delta \n\n", " delta "),
        (b"event: a\nevent: b\n\n", "b"),
        (b"data: event: x\n\n", ""),
        (b"event\n\n", ""),
        (b"event: a\nevent\n\n", ""),
        ("event: dél\r\r".encode(), "dél"),
        (b"event: \xff\n\n", "�"),
    ],
)
def test_the_event_of_a_frame(frame: bytes, event: str) -> None:
    assert event_of(frame) == event


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_frame_without_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, end: bytes, size: int
) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME", 1_000)
    framer = SseFramer()
    long = b"data: " + b"x" * 900 + end
    for start in range(0, len(long) * 3, size):
        framer.feed((long * 3)[start : start + size])
    for _ in range(1_000 // size):
        framer.feed(b"x" * size)
    with pytest.raises(FrameTooLarge):
        framer.feed(b"x" * size)


def test_a_large_frame_in_small_chunks_is_cut_in_reasonable_time() -> None:
    framer = SseFramer()
    frame = b"data: " + b"x" * 2_000_000 + b"\n\n"
    frames = [f for at in range(0, len(frame), 1_000) for f in framer.feed(frame[at : at + 1_000])]
    assert frames == [frame]
