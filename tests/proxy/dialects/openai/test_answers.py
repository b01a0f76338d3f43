"""How servers that resemble OpenAI's deviate, and what their answers mean all the same."""

import json
from typing import Any

import orjson
import pytest

from proxy.chat.events import Event, Failed, Finished, ResponseStarted, UsageReported
from proxy.chat.fold import Answer, fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.openai import inbound, outbound
from proxy.errors import UpstreamError

START = Start("chatcmpl-1", "pro", 7)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **beside: Any) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"id": "c", "model": "m", "choices": choices, **beside})


def read(*frames: bytes) -> list[Event]:
    reader = outbound.read_events()
    return [*(event for frame in frames for event in reader.read(frame + b"\n\n")), *reader.end()]


def answer_of(*frames: bytes) -> Answer:
    return fold(read(*frames))


def calls(answer: Answer) -> list[tuple[str, str, str]]:
    return [
        (block.call_id, block.name, block.text)
        for block in answer.blocks
        if block.kind == "tool_call"
    ]


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def test_usage_may_come_on_the_last_choice() -> None:
    answer = answer_of(chunk({"content": "hi"}), chunk(finish="stop", usage=USAGE))
    assert answer.usage == Usage(input=5, output=2)


def test_usage_on_every_chunk_is_replaced_and_never_added_up() -> None:
    growing = {**USAGE, "completion_tokens": 1}
    answer = answer_of(
        chunk({"content": "h"}, usage=growing), chunk({"content": "i"}, "stop", usage=USAGE)
    )
    assert answer.usage == Usage(input=5, output=2)


def test_usage_may_never_come() -> None:
    assert answer_of(chunk({"content": "hi"}, "stop", usage=None)).usage is None


def test_audio_that_the_prompt_does_not_include_is_counted() -> None:
    report = {
        "prompt_tokens": 9,
        "completion_tokens": 248,
        "total_tokens": 632,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
    }
    assert answer_of(chunk(finish="stop", usage=report)).usage == Usage(input=384, output=248)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_has_two_names(field: str) -> None:
    answer = answer_of(chunk({field: "hm", "content": None}), chunk({"content": "yes"}, "stop"))
    assert [(block.kind, block.text) for block in answer.blocks] == [
        ("reasoning", "hm"),
        ("text", "yes"),
    ]


def test_null_deltas_say_nothing() -> None:
    nothing = {"content": None, "tool_calls": None, "refusal": None, "reasoning": None}
    assert read(chunk(nothing)) == [ResponseStarted("c", "m")]
    assert read(b'data: {"choices":[{"delta":null,"finish_reason":null}]}') == [
        ResponseStarted("", "")
    ]


@pytest.mark.parametrize(
    "frame",
    [b": keep-alive", b": OPENROUTER PROCESSING", b"data:", b"event: ping", b"data: [DONE]"],
)
def test_comments_and_keep_alives_say_nothing(frame: bytes) -> None:
    assert read(frame) == []
    assert not outbound.sight(frame + b"\n\n").has_content


def test_a_stream_without_an_end_marker_is_finished_by_its_reason() -> None:
    assert answer_of(chunk({"content": "hi"}), chunk(finish="length")).finish == "length"
    assert outbound.sight(chunk(finish="length")).finished


def test_tool_calls_without_an_index_are_told_apart_by_id_and_name() -> None:
    first = {"id": "a", "function": {"name": "f", "arguments": '{"x"'}}
    more = {"function": {"name": "", "arguments": ":1}"}}
    second = {"id": "b", "function": {"name": "f", "arguments": {"y": 2}}}
    answer = answer_of(
        chunk({"tool_calls": [first]}),
        chunk({"tool_calls": [more]}),
        chunk({"tool_calls": [second]}, "tool_calls"),
    )
    assert calls(answer) == [("a", "f", '{"x":1}'), ("b", "f", '{"y":2}')]


def test_two_whole_calls_in_one_chunk_are_two_calls() -> None:
    both = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    answer = answer_of(chunk({"tool_calls": both}, "stop"))
    assert [name for _, name, _ in calls(answer)] == ["a", "b"]
    assert answer.finish == "tool_calls"


def test_a_forced_tool_ends_with_stop_for_our_callers_too() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    events = read(chunk({"tool_calls": [call]}, "stop"))
    whole = json.loads(inbound.write_body(events, ChatRequest(messages=()), START))
    assert whole["choices"][0]["finish_reason"] == "stop"


def test_a_whole_answer_that_gives_no_reason_has_stopped() -> None:
    body = b'{"choices":[{"message":{"content":"hi"},"finish_details":{"type":"max_tokens"}}]}'
    assert fold(outbound.read_body(body)).finish == "length"
    assert fold(outbound.read_body(b'{"choices":[{"message":{"content":"hi"}}]}')).finish == "stop"


def test_an_error_inside_a_stream_keeps_its_kind() -> None:
    frame = b'data: {"error":{"code":429,"message":"Rate limit exceeded"}}'
    assert read(frame) == [Failed("rate_limit", "Rate limit exceeded", 429)]
    error = outbound.sight(frame).error
    assert error is not None
    assert error.kind == "rate_limit"


OWN: dict[str, dict[str, Any]] = {
    "custom tool": {
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "custom", "custom": {"name": "sum", "input": "4 + 4"}},
        ],
    },
    "function call": {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
    "annotations": {
        "content": "see",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}],
    },
    "audio": {"content": None, "audio": {"id": "audio_1", "data": "AAAA", "transcript": "hi"}},
    "reasoning details": {
        "content": "so",
        "reasoning_content": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
    },
    "refusal": {"content": None, "refusal": "No."},
}


@pytest.mark.parametrize("name", OWN)
def test_what_only_this_dialect_says_comes_out_again(name: str) -> None:
    message = {"role": "assistant", **OWN[name]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    given = orjson.dumps({"id": "c", "choices": [choice], "system_fingerprint": "fp_1"})
    events = list(outbound.read_body(given))
    whole = json.loads(inbound.write_body(events, ChatRequest(messages=()), START))
    assert whole["choices"] == [choice]
    assert whole["system_fingerprint"] == "fp_1"
    writer = inbound.stream_writer(ChatRequest(messages=(), stream=True), START)
    frames = [writer.write(event) for event in events]
    streamed = fold(read(*(piece for frame in frames for piece in frame.split(b"\n\n") if piece)))
    assert [(block.kind, block.text, block.extras) for block in streamed.blocks] == [
        (block.kind, block.text, block.extras) for block in fold(events).blocks
    ]


def test_log_probabilities_stand_beside_the_text_in_both_forms() -> None:
    entry = {"token": "hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "logprobs": {"content": [entry]},
        "finish_reason": "stop",
    }
    events = list(outbound.read_body(orjson.dumps({"choices": [choice]})))
    whole = json.loads(inbound.write_body(events, ChatRequest(messages=()), START))
    assert whole["choices"] == [choice]
    writer = inbound.stream_writer(ChatRequest(messages=(), stream=True), START)
    streamed = b"".join(writer.write(event) for event in events)
    assert orjson.dumps({"logprobs": {"content": [entry]}})[1:-1] in streamed


def test_a_call_without_arguments_means_the_empty_object() -> None:
    events = read(chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}))
    writer = inbound.stream_writer(ChatRequest(messages=(), stream=True), START)
    streamed = b"".join(writer.write(event) for event in [*events, Finished("tool_calls")])
    pieces = [json.loads(line[6:]) for line in streamed.split(b"\n\n") if line]
    deltas = [piece["choices"][0]["delta"] for piece in pieces]
    told = [
        call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", [])
    ]
    assert "".join(told) == "{}"


def test_usage_is_written_where_the_caller_asked_for_it() -> None:
    for asked in (False, True):
        request = ChatRequest(messages=(), stream=True, include_usage=asked)
        writer = inbound.stream_writer(request, START)
        writer.write(UsageReported(Usage(input=5, cached_input=1, output=2, reasoning=1)))
        assert (b'"prompt_tokens":6' in writer.end()) == asked
        assert writer.end().endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "retry"),
    [
        (401, {"detail": "Invalid API Key"}, "auth", "Invalid API Key", None),
        (429, {"message": "Requests rate limit exceeded"}, "rate_limit", "Requests", None),
        (
            422,
            {"message": {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs"}]}},
            "invalid_request",
            "top_k: Extra inputs",
            None,
        ),
        (
            422,
            {"detail": [{"loc": ["body", "messages", 0], "msg": "bad"}]},
            "invalid_request",
            "messages.0: bad",
            None,
        ),
        (
            400,
            {"error": {"message": "too long", "code": "context_length_exceeded"}},
            "context_window",
            "too long",
            None,
        ),
        (
            400,
            {"error": {"message": "filtered", "code": "content_filter"}},
            "content_filter",
            "filtered",
            None,
        ),
        (
            429,
            {"error": {"message": "Please try again in 1m30.5s. Visit us"}},
            "rate_limit",
            "Please",
            90.5,
        ),
        (429, {"error": {"message": "Please try again in 120ms."}}, "rate_limit", "Pl", 0.12),
        (503, {"error": "server busy"}, "overloaded", "server busy", None),
        (500, "<html>", "server_error", "The upstream answered 500.", None),
    ],
)
def test_errors_have_kinds_in_whatever_shape(
    status: int, body: Any, kind: str, message: str, retry: float | None
) -> None:
    given = body.encode() if isinstance(body, str) else orjson.dumps(body)
    error = outbound.read_error(status, given, retry_after=None)
    assert (error.kind, error.retry_after) == (kind, retry)
    assert error.message.startswith(message)
    assert outbound.read_error(status, given, retry_after=3.0).retry_after == 3.0


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices":1}', b"", b"[]"])
def test_what_is_no_completion_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        outbound.sight_of_body(body)
