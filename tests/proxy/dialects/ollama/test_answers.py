"""Ollama's lines, and what they mean."""

import orjson
import pytest

from proxy.chat.events import Failed
from proxy.chat.fold import Answer, fold
from proxy.chat.usage import Usage
from proxy.dialects.ollama import outbound
from proxy.errors import UpstreamError
from proxy.framing import ndjson
from proxy.framing.ndjson import NdjsonFramer
from proxy.framing.sse import FrameTooLarge

CALL = {
    "created_at": "2025-06-09T17:59:08.696694Z",
    "message": {"tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
    "done": False,
}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}


def answer_of(*lines: dict[str, object]) -> Answer:
    reader = outbound.read_events()
    frames = [orjson.dumps(line) + b"\n" for line in lines]
    return fold([*(event for frame in frames for event in reader.read(frame)), *reader.end()])


def test_a_line_is_a_frame_wherever_the_chunks_are_cut() -> None:
    stream = '{"a":"\u2028"}\r\n\n{"b":1}'.encode()
    for size in range(1, len(stream)):
        framer = NdjsonFramer()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        frames = [frame for piece in pieces for frame in framer.feed(piece)]
        assert frames == ['{"a":"\u2028"}\r\n'.encode(), b"\n"]
        assert framer.rest == b'{"b":1}'


def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_FRAME", 10)
    framer = NdjsonFramer()
    framer.feed(b"123456")
    with pytest.raises(FrameTooLarge):
        framer.feed(b"123456")


def test_calls_come_before_the_end_and_have_ids_that_stay() -> None:
    first, again = answer_of(CALL, CALL, END), answer_of(CALL, CALL, END)
    assert first.finish == "tool_calls"
    assert [block.text for block in first.blocks] == ['{"x":1}', '{"x":1}']
    ids = [block.call_id for block in first.blocks]
    assert len(set(ids)) == 2
    assert ids == [block.call_id for block in again.blocks]
    later = answer_of({**CALL, "created_at": "2025-06-09T18:00:00Z"}, END)
    assert later.blocks[0].call_id not in ids


def test_half_a_report_is_none() -> None:
    assert answer_of(END).usage == Usage(input=3, output=2)
    assert answer_of({"done": True, "eval_count": 2}).usage is None
    assert answer_of({"done": True}).usage is None


def test_other_reasons_stay_in_the_extras() -> None:
    answer = answer_of({"done": True, "done_reason": "load"})
    assert answer.finish == "stop"
    assert answer.finishes[0].extras == {"ollama": {"done_reason": "load"}}
    assert answer_of({"done": True, "done_reason": "length"}).finish == "length"


def test_an_error_inside_a_stream_ends_it() -> None:
    line = b'{"error":"an error was encountered while running the model"}\n'
    events = outbound.read_events().read(line)
    assert isinstance(events[0], Failed)
    assert outbound.is_notable(line)
    assert outbound.watch().sight(line).error is not None


def test_a_stream_may_come_as_one_body() -> None:
    lines = [{"message": {"content": text}, "done": False} for text in "ab"]
    body = b"\n".join(orjson.dumps(line) for line in [*lines, END])
    assert fold(outbound.read_body(body)).blocks[0].text == "ab"
    seen = outbound.sight_of_body(body)
    assert seen.has_content
    assert seen.usage == Usage(input=3, output=2)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"[]", b'{"message":1}'])
def test_what_is_no_chat_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        outbound.sight_of_body(body)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "model 'x' not found", "not_found"),
        (500, "model requires more system memory", "server_error"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "overloaded"),
        (400, "x does not support tools", "invalid_request"),
        (400, "the input length exceeds the context length", "context_window"),
    ],
)
def test_errors_have_kinds(status: int, message: str, kind: str) -> None:
    body = orjson.dumps({"error": message})
    error = outbound.read_error(status, body, retry_after=None)
    assert (error.kind, error.message, error.body) == (kind, message, body)
