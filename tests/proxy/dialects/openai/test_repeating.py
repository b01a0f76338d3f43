"""The shortcut for frames that differ in their text alone reads what the long way reads."""

import json
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.events import Event, TextDelta
from proxy.dialects.openai.reader import StreamReader
from proxy.dialects.openai.repeating import Repeating


def _frame(text: str, *, choice: int = 0, finish: str | None = None, **more: object) -> bytes:
    delta = {"content": text}
    chunk = {"id": "c", "choices": [{"index": choice, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps({**chunk, **more})}\n\n".encode()


def _read(frames: list[bytes]) -> list[Event]:
    reader = StreamReader()
    return [event for frame in frames for event in reader.read(frame)] + reader.end()


def _read_the_long_way(frames: list[bytes]) -> list[Event]:
    with mock.patch.object(Repeating, "learn"):
        return _read(frames)


PIECES = [_frame(text) for text in ("a", "b", "c")]


def test_a_frame_that_repeats_is_not_parsed() -> None:
    reader = StreamReader()
    for frame in PIECES[:2]:
        reader.read(frame)
    with mock.patch.object(StreamReader, "read_chunk", side_effect=AssertionError):
        assert reader.read(_frame('x "y" \n é 🎈')) == [TextDelta(0, 'x "y" \n é 🎈')]
        assert reader.read(_frame("")) == []


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"7",
        b'"a","role":"b"',
        b'"a"}},{"delta":{"content":"b"',
        b'"',
        b'"a',
        b' "a"',
        b'"a"\n',
        b'"a\r"',
        b'"\\ud800"',
        b'"\xff"',
        b'["a"]',
        b'{"content":"b"}',
        b"",
    ],
)
def test_what_is_no_text_takes_the_long_way(content: bytes) -> None:
    frame = _frame("TEXT").replace(b'"TEXT"', content)
    reader = StreamReader()
    for piece in PIECES:
        reader.read(piece)
    assert reader._repeating.text_of(frame) is None


def test_text_after_the_end_of_a_choice_is_a_new_block() -> None:
    frames = [*PIECES, _frame("", finish="stop"), *PIECES]
    assert _read(frames) == _read_the_long_way(frames)


def test_a_server_that_pads_its_frames_is_given_up() -> None:
    frames = [_frame(str(number), obfuscation="x" * number) for number in range(20)]
    with mock.patch.object(Repeating, "learn", autospec=True, side_effect=Repeating.learn) as learn:
        assert len(_read(frames)) == 20 + 3
        assert learn.call_args.args[0]._before == b""


_TEXTS = st.text(max_size=5) | st.sampled_from(['"', "\\", '","content":"', "data: ", "\n\n"])
_FRAMES = st.builds(
    _frame,
    _TEXTS,
    choice=st.sampled_from([0, 0, 0, 1]),
    finish=st.sampled_from([None, None, None, "stop"]),
) | st.builds(_frame, _TEXTS, usage=st.sampled_from([None, {"prompt_tokens": 1}]))


@given(st.lists(_FRAMES, max_size=30))
def test_every_stream_reads_the_same(frames: list[bytes]) -> None:
    assert _read(frames) == _read_the_long_way(frames)
