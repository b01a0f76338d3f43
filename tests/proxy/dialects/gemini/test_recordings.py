"""Every recorded exchange is read as it was meant, however it was cut."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.chat.events import Failed, Finished
from proxy.chat.fold import fold
from proxy.dialects.gemini import inbound, outbound
from tests.proxy.dialects.gemini import recorded
from tests.proxy.dialects.gemini.recorded import Exchange
from tests.proxy.recorded import byte_by_byte, line_by_line, whole

CHUNKINGS = [whole, line_by_line, byte_by_byte]

pytestmark = pytest.mark.usefixtures("recordings")


@pytest.mark.parametrize("cut", CHUNKINGS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("exchange", recorded.params(recorded.flows))
def test_frames_are_the_stream_and_show_their_usage(
    exchange: Exchange, cut: Callable[[bytes], list[bytes]]
) -> None:
    body = recorded.body_of(exchange)
    frames = recorded.framed(outbound, cut(body))
    assert b"".join(frames) == body
    watch = outbound.watch()
    seen = [watch.sight(frame) for frame in frames]
    notable = [sight for sight, frame in zip(seen, frames, strict=True) if sight.usage]
    assert all(
        outbound.is_notable(frame)
        for frame, sight in zip(frames, seen, strict=True)
        if sight.usage or sight.finished or sight.error
    )
    usage = recorded.usage_of(exchange)
    assert (notable[-1].usage if notable else None) == usage
    assert any(sight.finished for sight in seen) == bool(recorded.expected(exchange)["finish"])
    assert any(bool(sight.error) for sight in seen) == bool(recorded.expected(exchange)["error"])


def _answers_whole(exchange: Exchange) -> bool:
    return recorded.answers(exchange) and exchange["response_framing"] == "json"


@pytest.mark.parametrize("exchange", recorded.params(_answers_whole))
def test_a_whole_answer_shows_its_usage(exchange: Exchange) -> None:
    seen = outbound.sight_of_body(recorded.body_of(exchange))
    assert seen.usage == recorded.usage_of(exchange)
    assert seen.finished
    assert seen.error is None


_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", "MODEL_ARMOR": "content_filter"}


@pytest.mark.parametrize("exchange", recorded.params(recorded.answers))
def test_an_answer_is_read(exchange: Exchange) -> None:
    events = recorded.events_of(exchange)
    answer, expected = fold(events), recorded.expected(exchange)
    assert recorded.said(answer, "text") == expected["text"]
    assert recorded.said(answer, "reasoning") == expected["reasoning"]
    calls = recorded.called(answer)
    assert [name for name, _ in calls] == [name for name, _ in expected["tool_calls"]]
    if exchange["id"] not in recorded.STREAMED_ARGUMENTS:
        assert calls == [(name, arguments) for name, arguments in expected["tool_calls"]]
    if expected["finish"]:
        reason = _REASONS[expected["finish"]]
        assert answer.finish == ("tool_calls" if calls and reason == "stop" else reason)
    assert any(isinstance(event, Failed) for event in events) == bool(expected["error"])
    assert answer.usage == recorded.usage_of(exchange)
    assert all(block.call_id for block in answer.blocks if block.kind == "tool_call")


def test_arguments_that_stream_in_parts_are_put_together() -> None:
    exchange = recorded.everything()["gemini-gen-s-0a0cbfd5"]
    [(_, arguments)] = recorded.called(fold(recorded.events_of(exchange)))
    assert arguments == {
        "operations": [
            {
                "action": "add",
                "description": "Fresh red apple",
                "itemid": "apple_001",
                "price": 0.5,
            },
            {
                "action": "add",
                "description": "Ripe yellow banana",
                "itemid": "banana_001",
                "price": 0.3,
            },
        ]
    }


@pytest.mark.parametrize("exchange", recorded.params(recorded.flows))
def test_a_stream_is_read_alike_however_it_was_cut(exchange: Exchange) -> None:
    body = recorded.body_of(exchange)
    reader = outbound.read_events()
    events: list[Any] = []
    for frame in recorded.framed(outbound, byte_by_byte(body)):
        events += reader.read(frame)
    assert [*events, *reader.end()] == recorded.events_of(exchange)


def _was_taken(exchange: Exchange) -> bool:
    return recorded.answers(exchange) and exchange["request_body"] is not None


@pytest.mark.parametrize("exchange", recorded.params(_was_taken))
def test_a_request_that_the_provider_took_is_read_and_written_alike(exchange: Exchange) -> None:
    request = inbound.read_request(inbound.parse(exchange["request_body"]))
    written = outbound.write_request(request, model=exchange["model"] or "u", output_limit=None)
    assert inbound.read_request(inbound.parse(json.loads(written.body))) == request
    assert written.warnings == ()


_KINDS = {403: "auth", 404: "not_found", 429: "rate_limit", 500: "server_error", 503: "overloaded"}


def _failed(exchange: Exchange) -> bool:
    return recorded.generates(exchange) and exchange["response_status"] != 200


@pytest.mark.parametrize("exchange", recorded.params(_failed))
def test_an_error_is_told_by_its_kind(exchange: Exchange) -> None:
    status, body = exchange["response_status"], recorded.body_of(exchange)
    error = outbound.read_error(status, body, retry_after=None)
    told = json.loads(body)["error"]
    kind = "auth" if "API_KEY_INVALID" in exchange["response_body"] else "invalid_request"
    assert error.kind == _KINDS.get(status, kind)
    assert error.message == told["message"]
    assert error.upstream_status == status
    assert error.body == body
    assert (error.retry_after is not None) == ("retryDelay" in exchange["response_body"])


def test_a_blocked_answer_ends_with_the_reason() -> None:
    exchange = recorded.everything()["x-vertex-gen-n-c374b30e"]
    [finished] = [event for event in recorded.events_of(exchange) if isinstance(event, Finished)]
    assert finished.reason == "content_filter"
    assert finished.extras["gemini"]["finishReason"] == "MODEL_ARMOR"
    assert "Responsible AI" in finished.extras["gemini"]["finishMessage"]
