"""Streams: one block at a time on the wire, whatever order the events come in."""

import json
import re
import time
from typing import Any

import pytest

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.anthropic import inbound, outbound
from proxy.dialects.faces import Start
from tests.proxy.dialects.anthropic import sdk

START = Start("msg_1", "pro", 0)
FIRST = ToolArgumentsDelta(0, '{"a":')
BOTH = [BlockStarted(0, "tool_call", name="f"), BlockStarted(1, "tool_call", name="g")]


def write(*events: Event) -> bytes:
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    return b"".join([*(writer.write(event) for event in events), writer.end()])


def data_of(written: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in re.findall(rb"^data: (.*)$", written, re.MULTILINE)]


def outline(written: bytes) -> list[str]:
    """The frames in short: what starts, what is said, what stops, with its index."""
    said = []
    for frame in data_of(written):
        kind = frame["type"].removeprefix("content_block_").removeprefix("message_")
        what = frame.get("content_block", frame.get("delta", {})).get("type", "")
        said.append(f"{kind} {frame.get('index', '')} {what}".strip().replace("  ", " "))
    return said


def test_frames_are_what_the_documentation_shows() -> None:
    written = write(
        ResponseStarted("msg_9", "claude"),
        UsageReported(Usage(input=5, cached_input=2, output=1)),
        BlockStarted(0, "text"),
        TextDelta(0, "Hé"),
        BlockEnded(0),
        UsageReported(Usage(input=5, cached_input=2, output=7, reasoning=3)),
        Finished("stop", stop_sequence="END"),
    )
    start, *middle, delta, stop = data_of(written)
    assert start["message"] == {
        "id": "msg_9",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 1,
        },
    }
    assert middle == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hé"},
        },
        {"type": "content_block_stop", "index": 0},
    ]
    assert delta["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert delta["usage"]["output_tokens"] == 10
    assert delta["usage"]["output_tokens_details"] == {"thinking_tokens": 3}
    assert stop == {"type": "message_stop"}
    names = re.findall(rb"^event: (\w+)$", written, re.MULTILINE)
    assert names == [frame["type"].encode() for frame in data_of(written)]


def test_each_delta_leaves_at_once() -> None:
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    writer.write(ResponseStarted("", ""))
    assert outline(writer.write(BlockStarted(0, "text"))) == ["start", "start 0 text"]
    assert outline(writer.write(TextDelta(0, "a"))) == ["delta 0 text_delta"]


def test_words_that_are_interrupted_go_on_in_a_new_block() -> None:
    written = write(
        BlockStarted(0, "text"),
        TextDelta(0, "a"),
        BlockStarted(1, "reasoning"),
        ReasoningDelta(1, "hm"),
        TextDelta(0, "b"),
        ReasoningDelta(1, signature="s"),
        Finished("stop"),
    )
    assert outline(written)[1:-2] == [
        "start 0 text",
        "delta 0 text_delta",
        "stop 0",
        "start 1 thinking",
        "delta 1 thinking_delta",
        "delta 1 signature_delta",
        "stop 1",
        "start 2 text",
        "delta 2 text_delta",
        "stop 2",
        "start 3 thinking",
        "delta 3 signature_delta",
        "stop 3",
    ]


def test_calls_that_come_one_after_another_flow() -> None:
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    writer.write(BOTH[0])
    writer.write(FIRST)
    writer.write(ToolArgumentsDelta(0, "1}"))
    assert outline(writer.write(BOTH[1])) == ["stop 0", "start 1 tool_use"]


def test_calls_that_interleave_are_whole_one_after_another() -> None:
    written = write(
        *BOTH,
        FIRST,
        ToolArgumentsDelta(1, '{"b":'),
        ToolArgumentsDelta(0, "1}"),
        ToolArgumentsDelta(1, "2}"),
        BlockEnded(0),
        BlockEnded(1),
        Finished("tool_calls"),
    )
    assert sdk.calls_of(sdk.read(written, stream=True)) == [("f", {"a": 1}), ("g", {"b": 2})]
    assert outline(written)[1:-2] == [
        "start 0 tool_use",
        "delta 0 input_json_delta",
        "delta 0 input_json_delta",
        "stop 0",
        "start 1 tool_use",
        "delta 1 input_json_delta",
        "delta 1 input_json_delta",
        "stop 1",
    ]


@pytest.mark.parametrize(("calls", "pieces"), [(20_000, 1), (2, 50_000)])
def test_calls_side_by_side_take_no_longer_than_one_after_another(calls: int, pieces: int) -> None:
    pieces_of_all = ['{"a": "', *["abcd"] * pieces, '"}']
    events: list[Event] = [
        *(BlockStarted(call, "tool_call", call_id=f"c{call}", name="f") for call in range(calls)),
        *(ToolArgumentsDelta(call, piece) for piece in pieces_of_all for call in range(calls)),
    ]
    began = time.process_time()
    written = write(*events, Finished("tool_calls"))
    assert time.process_time() - began < 10  # it is less than one; it was two minutes
    assert written.count(b"content_block_stop") == 2 * calls


def test_a_call_that_never_ends_holds_nothing_back_for_ever() -> None:
    written = write(*BOTH, FIRST, ToolArgumentsDelta(1, "{}"), Finished("length"))
    assert [name for name, _ in sdk.calls_of(sdk.read(written, stream=True))] == ["f", "g"]


@pytest.mark.parametrize(
    "pieces", [["4 ", "+ 4"], ['{"a":', "1}"], ['say "hi"\n', "\\ é"], ["4"], []], ids=repr
)
def test_the_text_of_a_free_form_tool_is_its_input(pieces: list[str]) -> None:
    custom = {"openai": {"type": "custom"}}
    events = [
        BlockStarted(0, "tool_call", call_id="a", name="math", extras=custom),
        *(ToolArgumentsDelta(0, piece) for piece in pieces),
        BlockEnded(0),
        Finished("tool_calls"),
    ]
    whole = inbound.write_body(events, ChatRequest(messages=()), START)
    for message in (sdk.read(write(*events), stream=True), sdk.read(whole, stream=False)):
        assert sdk.calls_of(message) == [("math", {"input": "".join(pieces)})]


def test_blocks_of_other_providers_and_other_choices_are_skipped() -> None:
    written = write(
        BlockStarted(0, "other", extras={"gemini": {"executableCode": {}}}),
        BlockEnded(0),
        BlockStarted(1, "text", choice=1),
        TextDelta(1, "second"),
        BlockStarted(2, "text"),
        TextDelta(2, "first"),
        Finished("length", choice=1),
        Finished("stop"),
    )
    message = sdk.read(written, stream=True)
    assert (sdk.text_of(message), message.stop_reason) == ("first", "end_turn")


def test_a_block_of_no_type_comes_out_as_it_came_in() -> None:
    events = [BlockStarted(0, "other", extras={"anthropic": {"new": 1}}), BlockEnded(0)]
    whole = inbound.write_body(events, ChatRequest(messages=()), START)
    assert json.loads(whole)["content"] == [{"new": 1}]


def test_a_refusal_is_text_and_the_reason() -> None:
    events = [BlockStarted(0, "refusal"), TextDelta(0, "No."), BlockEnded(0), Finished("stop")]
    streamed = sdk.read(write(*events), stream=True)
    whole = sdk.read(inbound.write_body(events, ChatRequest(messages=()), START), stream=False)
    for message in (streamed, whole):
        assert (sdk.text_of(message), message.stop_reason) == ("No.", "refusal")


def test_an_empty_answer_is_a_message() -> None:
    message = sdk.read(write(Finished("stop")), stream=True)
    assert (message.content, message.stop_reason) == ([], "end_turn")


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (
            {"type": "overloaded_error", "message": "Overloaded"},
            Failed("overloaded", "Overloaded", 529),
        ),
        ({"type": "api_error", "message": "oops"}, Failed("server_error", "oops", 500)),
        ({"type": "rate_limit_error", "message": "slow"}, Failed("rate_limit", "slow", 429)),
        (
            {"type": "invalid_request_error", "message": "prompt is too long: 9 > 5"},
            Failed("context_window", "prompt is too long: 9 > 5", 400),
        ),
        (
            {
                "type": "invalid_request_error",
                "message": "Output blocked by content filtering policy",
            },
            Failed("content_filter", "Output blocked by content filtering policy", 400),
        ),
        ("oops", Failed("server_error", "oops", 200)),
    ],
)
def test_an_error_in_a_stream_is_a_failure_of_its_kind(error: Any, event: Failed) -> None:
    frame = b"event: error\ndata: " + json.dumps({"type": "error", "error": error}).encode()
    assert list(outbound.read_events().read(frame + b"\n\n")) == [event]
    seen = outbound.watch().sight(frame + b"\n\n").error
    assert seen is not None
    assert (seen.kind, seen.message) == (event.kind, event.message)
    assert outbound.is_notable(frame)


def test_counts_are_replaced_and_what_is_left_out_still_holds() -> None:
    watch, reader = outbound.watch(), outbound.read_events()
    started = {"input_tokens": 10, "cache_read_input_tokens": 3, "output_tokens": 1}
    frames = [
        b'data: {"type":"message_start","message":{"usage":%s}}\n\n' % json.dumps(started).encode(),
        b'data: {"type":"message_delta","delta":{},"usage":{"output_tokens":9}}\n\n',
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        b'"usage":{"input_tokens":12,"cache_read_input_tokens":null,"output_tokens":11}}\n\n',
    ]
    usages = [watch.sight(frame).usage for frame in frames]
    assert usages[-1] == Usage(input=12, cached_input=3, output=11)
    events = [event for frame in frames for event in reader.read(frame)]
    assert [event.usage for event in events if isinstance(event, UsageReported)] == usages


@pytest.mark.parametrize(
    ("frame", "has_content"),
    [
        (b'{"type":"ping"}', False),
        (b'{"type":"message_start","message":{"usage":{"output_tokens":1}}}', False),
        (
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
            False,
        ),
        (
            b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a"}}',
            True,
        ),
        (
            b'{"type":"content_block_start","index":0,'
            b'"content_block":{"type":"redacted_thinking"}}',
            True,
        ),
        (
            b'{"type":"content_block_delta","index":0,'
            b'"delta":{"type":"thinking_delta","thinking":"hm"}}   ',
            True,
        ),
        (b'{"type":"content_block_stop","index":0}', False),
        (b"not json", False),
        (b"", False),
    ],
)
def test_content_is_what_a_caller_reads(frame: bytes, has_content: bool) -> None:
    seen = outbound.watch().sight(b"data: " + frame + b"\n\n")
    assert seen.has_content == has_content
    assert not seen.finished
    assert seen.error is None
