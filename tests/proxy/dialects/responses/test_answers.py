"""Answers: what each event looks like on the wire, and what is read of events that deviate.

Shapes are those of the API reference, "Streaming events".
"""

import json
import time
from typing import Any

import pytest

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.fold import fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.carrying import opened
from proxy.dialects.faces import Start
from proxy.dialects.responses import inbound, outbound
from proxy.errors import UpstreamError
from tests.proxy.dialects.responses import sdk

START = Start("0198f1ce-0000-7000-8000-000000000000", "pro", 1_700_000_000)
STARTED = ResponseStarted("resp_1", "m-1", 1_700_000_001)
USAGE = UsageReported(Usage(input=3, cached_input=2, output=4, reasoning=1))


def streamed(*events: Event, request: ChatRequest | None = None) -> bytes:
    writer = inbound.stream_writer(request or ChatRequest(messages=()), START)
    return b"".join([*(writer.write(event) for event in events), writer.end()])


def whole(*events: Event) -> dict[str, Any]:
    body = inbound.write_body(events, ChatRequest(messages=()), START)
    read: dict[str, Any] = json.loads(body)
    return read


def datas(stream: bytes) -> list[dict[str, Any]]:
    frames = stream.decode().split("\n\n")[:-1]
    return [json.loads(frame.split("\ndata: ")[1]) for frame in frames]


def types(stream: bytes) -> list[str]:
    return [data["type"].removeprefix("response.") for data in datas(stream)]


def read(*events: dict[str, Any]) -> list[Event]:
    reader = outbound.read_events()
    frames = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    return [*(event for frame in frames for event in reader.read(frame)), *reader.end()]


def test_a_text_goes_through_the_whole_life_of_an_item() -> None:
    stream = streamed(
        STARTED,
        BlockStarted(0, "text"),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockEnded(0),
        USAGE,
        Finished("stop"),
    )
    assert types(stream) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    seen = datas(stream)
    assert seen[4] == {
        "type": "response.output_text.delta",
        "item_id": seen[2]["item"]["id"],
        "output_index": 0,
        "content_index": 0,
        "sequence_number": 4,
        "logprobs": [],
        "delta": "Hel",
    }
    assert seen[2]["item"] == {**seen[8]["item"], "content": [], "status": "in_progress"}
    response = seen[-1]["response"]
    assert (response["id"], response["model"], response["store"]) == ("resp_1", "m-1", False)
    assert response["output"] == [seen[8]["item"]]
    assert response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 10,
    }


def test_an_answer_without_a_name_gets_ours() -> None:
    response = whole(BlockStarted(0, "text"), TextDelta(0, "x"), BlockEnded(0), Finished("stop"))
    assert response["id"] == f"resp_{START.id}"
    assert (response["model"], response["created_at"]) == ("pro", 1_700_000_000)


def test_calls_may_grow_side_by_side_with_a_text() -> None:
    stream = streamed(
        STARTED,
        BlockStarted(0, "text"),
        TextDelta(0, "Look"),
        BlockStarted(1, "tool_call", call_id="c1", name="f"),
        BlockStarted(2, "tool_call", call_id="c2", name="g"),
        ToolArgumentsDelta(2, '{"b":'),
        ToolArgumentsDelta(1, "{}"),
        TextDelta(0, "ing"),
        ToolArgumentsDelta(2, "1}"),
        BlockEnded(0),
        BlockEnded(1),
        BlockEnded(2),
        Finished("tool_calls"),
    )
    response = sdk.read(stream, stream=True)
    assert sdk.text_of(response) == "Looking"
    assert sdk.calls_of(response) == [("f", "{}"), ("g", '{"b":1}')]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events = (BlockStarted(0, "tool_call", call_id="c", name="f"), BlockEnded(0))
    stream = streamed(*events, Finished("tool_calls"))
    assert "function_call_arguments.delta" in types(stream)
    assert whole(*events)["output"][0]["arguments"] == "{}"


def test_a_call_of_free_text_has_its_own_events() -> None:
    custom = {"openai": {"type": "custom"}}
    stream = streamed(
        BlockStarted(0, "tool_call", call_id="c", name="math", extras=custom),
        ToolArgumentsDelta(0, "4 + 4"),
        BlockEnded(0),
        Finished("tool_calls"),
    )
    assert types(stream)[3:5] == ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert sdk.calls_of(sdk.read(stream, stream=True)) == [("math", "4 + 4")]


def test_a_refusal_is_a_part_of_a_message() -> None:
    stream = streamed(
        BlockStarted(0, "refusal"), TextDelta(0, "No"), BlockEnded(0), Finished("refusal")
    )
    assert types(stream)[4:6] == ["refusal.delta", "refusal.done"]
    response = sdk.read(stream, stream=True)
    assert sdk.refusal_of(response) == "No"
    assert response.status == "completed"


def test_reasoning_is_a_summary_that_holds_what_its_provider_wants_back() -> None:
    events = (
        BlockStarted(0, "reasoning"),
        ReasoningDelta(0, "Hm"),
        ReasoningDelta(0, signature="sig", extras={"anthropic": {"redacted": "x"}}),
        BlockEnded(0),
        Finished("stop"),
    )
    assert types(streamed(*events))[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item = whole(*events)["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert opened(item["encrypted_content"]) == ("sig", {"anthropic": {"redacted": "x"}})


def test_parts_of_reasoning_are_told_apart() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": text} for text in ("One", "Two")],
        "content": [{"type": "reasoning_text", "text": "Raw"}],
        "encrypted_content": "gAAAA",
    }
    body = json.dumps({"status": "completed", "output": [item]}).encode()
    events = list(outbound.read_body(body))
    assert fold(events).blocks[0].text == "OneTwoRaw"
    assert fold(events).blocks[0].signature == "gAAAA"
    assert whole(*events)["output"] == [item]
    seen = types(streamed(*events))
    assert seen.count("reasoning_summary_part.added") == 2
    assert "reasoning_text.delta" in seen


def test_an_item_that_only_this_dialect_has_comes_out_again() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
    body = json.dumps({"status": "completed", "output": [search]}).encode()
    events = list(outbound.read_body(body))
    assert [event.kind for event in events if isinstance(event, BlockStarted)] == ["other"]
    assert whole(*events)["output"] == [search]
    assert types(streamed(*events))[2:4] == ["output_item.added", "output_item.done"]


def test_a_block_that_only_another_provider_has_is_left_out() -> None:
    response = whole(
        BlockStarted(0, "other", extras={"anthropic": {"type": "server_tool_use"}}),
        BlockEnded(0),
        Finished("stop"),
    )
    assert response["output"] == []


def test_other_choices_than_the_first_are_left_out() -> None:
    events = (BlockStarted(0, "text", choice=1), TextDelta(0, "x"), BlockEnded(0))
    assert whole(*events, Finished("stop", 1))["output"] == []


def test_log_probabilities_come_with_their_text() -> None:
    entry = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    logprobs = {"logprobs": {"content": [entry]}}
    events = (BlockStarted(0, "text"), TextDelta(0, "Hi", logprobs), BlockEnded(0))
    seen = datas(streamed(*events, Finished("stop")))
    assert seen[4]["logprobs"] == [entry]
    assert seen[5]["logprobs"] == [entry]
    again = read(*seen)
    assert TextDelta(0, "Hi", logprobs) in again


def test_very_many_items_side_by_side_are_read_in_no_time() -> None:
    item = {"type": "function_call", "call_id": "c", "name": "f"}
    kinds = ("response.output_item.added", "response.output_item.done")
    began = time.process_time()
    events = read(
        *({"type": kind, "output_index": i, "item": item} for kind in kinds for i in range(40_000))
    )
    assert time.process_time() - began < 5  # it is less than one; it was fifteen
    assert sum(isinstance(event, BlockEnded) for event in events) == 40_000


def test_no_number_of_a_provider_is_too_large_to_be_written_again() -> None:
    logprobs = {"logprobs": {"content": [{"token": "Hi", "bytes": [2**70]}]}}
    extras = {"gemini": {"thoughtSignature": 2**70}}
    stream = streamed(
        BlockStarted(0, "reasoning", extras=extras),
        BlockEnded(0),
        BlockStarted(1, "text"),
        TextDelta(1, "Hi", logprobs),
        Finished("stop"),
    )
    assert TextDelta(1, "Hi", logprobs) in read(*datas(stream))


def test_citations_of_chat_completions_are_annotations() -> None:
    citation = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
    chat = {"annotations": [{"type": "url_citation", "url_citation": citation}]}
    events = (
        BlockStarted(0, "text"),
        TextDelta(0, "Hi"),
        TextDelta(0, "", {"openai": chat}),
        BlockEnded(0),
        Finished("stop"),
    )
    seen = datas(streamed(*events))
    assert seen[5]["type"] == "response.output_text.annotation.added"
    assert seen[5]["annotation"] == {"type": "url_citation", **citation}
    extras = fold(read(*seen)).blocks[0].extras
    assert extras["openai"] == chat


ENDS: list[tuple[FinishReason, str, str | None]] = [
    ("stop", "completed", None),
    ("tool_calls", "completed", None),
    ("length", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
    ("refusal", "incomplete", "content_filter"),
    ("pause", "incomplete", "pause"),
    ("error", "failed", None),
]


@pytest.mark.parametrize(("reason", "status", "why"), ENDS)
def test_an_answer_ends_as_its_provider_said(
    reason: FinishReason, status: str, why: str | None
) -> None:
    response = whole(STARTED, Finished(reason))
    assert response["status"] == status
    details = response["incomplete_details"]
    assert (details["reason"] if details else None) == why
    assert types(streamed(STARTED, Finished(reason)))[-1] == status


READ_ENDS: list[tuple[dict[str, Any], Finished]] = [
    ({"status": "completed"}, Finished("stop")),
    (
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        Finished("length"),
    ),
    (
        {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        Finished("content_filter"),
    ),
    (
        {"status": "incomplete", "incomplete_details": {"reason": "max_messages"}},
        Finished("pause", extras={"responses": {"incomplete_details": {"reason": "max_messages"}}}),
    ),
]


@pytest.mark.parametrize(("response", "finished"), READ_ENDS)
def test_an_end_is_read(response: dict[str, Any], finished: Finished) -> None:
    body = json.dumps({"output": [], **response}).encode()
    assert list(outbound.read_body(body))[-1] == finished


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "rate_limit"),
    ({"type": "error", "error": {"code": "server_error", "message": "down"}}, "server_error"),
    (
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "invalid_prompt", "message": "x"}},
        },
        "invalid_request",
    ),
    (
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "invalid_image", "message": "x"}},
        },
        "invalid_request",
    ),
    ({"type": "response.cancelled", "response": {"status": "cancelled"}}, "server_error"),
]


@pytest.mark.parametrize(("event", "kind"), FAILURES)
def test_an_error_inside_a_stream_is_of_its_kind(event: dict[str, Any], kind: str) -> None:
    failed = read(event)[-1]
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    frame = f"data: {json.dumps(event)}\n\n".encode()
    assert outbound.is_notable(frame)
    error = outbound.watch().sight(frame).error
    assert error is not None
    assert error.kind == kind


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"output": {}}', b'{"output": [', b"[]"])
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        outbound.sight_of_body(body)


ITEM = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"}
DONE = {"type": "response.completed", "response": {"status": "completed", "output": [ITEM, CALL]}}
LEAN: list[list[dict[str, Any]]] = [
    [DONE],
    [
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Hello"},
        {"type": "response.output_item.done", "output_index": 1, "item": CALL},
        DONE,
    ],
    [
        {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Hel"},
        {"type": "keepalive"},
        DONE,
    ],
    [
        {"type": "response.output_item.added", "output_index": 1, "item": ITEM},
        {"type": "response.output_item.done", "output_index": 1, "item": ITEM},
        {"type": "response.output_item.done", "output_index": 2, "item": CALL},
        DONE,
    ],
]


@pytest.mark.parametrize("events", LEAN, ids=["only the end", "no items", "cut", "renumbered"])
def test_events_that_a_server_leaves_out_are_made_up_for(events: list[dict[str, Any]]) -> None:
    answer = fold(read(*events))
    assert [(block.kind, block.text) for block in answer.blocks] == [
        ("text", "Hello"),
        ("tool_call", "{}"),
    ]
    assert answer.finish == "tool_calls"


def test_a_keepalive_says_nothing() -> None:
    frame = b'event: keepalive\ndata: {"type":"keepalive","sequence_number":9}\n\n'
    assert list(outbound.read_events().read(frame)) == []
    assert outbound.watch().sight(frame) == outbound.watch().sight(b": comment\n\n")


def test_a_tool_that_the_provider_runs_is_content() -> None:
    """From there on nothing falls back: it takes its time, and costs money."""
    item = {"type": "web_search_call", "id": "ws"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    assert outbound.watch().sight(f"data: {json.dumps(added)}\n\n".encode()).has_content


def test_the_response_repeats_what_was_asked() -> None:
    fields = {
        "input": "?",
        "instructions": "Be terse",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": "required",
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "max_output_tokens": 99,
    }
    request = inbound.read_request(inbound.parse(fields))
    response = datas(streamed(STARTED, Finished("stop"), request=request))[0]["response"]
    assert response["status"] == "in_progress"
    for name in ("instructions", "tools", "tool_choice", "text", "metadata", "max_output_tokens"):
        assert response[name] == fields[name]
    assert response["reasoning"] == {"effort": "low", "summary": None}
