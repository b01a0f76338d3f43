"""Answers of every provider, written as responses, and read by OpenAI's own SDK."""

import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest

from proxy.chat.events import BlockEnded, Event
from proxy.chat.fold import Answer, fold
from proxy.chat.request import ChatRequest
from proxy.dialects import OUTBOUND
from proxy.dialects.faces import Start
from proxy.dialects.responses import inbound
from proxy.errors import (
    AliasNotAllowed,
    AliasNotFound,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unauthenticated,
    UpstreamError,
)
from tests.proxy.dialects.anthropic.recorded import (
    DIALECTS,
    SPLICED_BY_HAND,
    events_of,
    exchanges,
)
from tests.proxy.dialects.responses import sdk
from tests.proxy.dialects.responses.recorded import RENAMED, REPEATED_IDS, items_of
from tests.proxy.recorded import Exchange

ANSWERED = [
    id_
    for id_, exchange in exchanges().items()
    if exchange["response_status"] == 200
    and exchange["endpoint"] != "count_tokens"
    and DIALECTS.get(exchange["dialect"]) in OUTBOUND
    and id_ not in {SPLICED_BY_HAND, *REPEATED_IDS}
]
START = Start("0198f1ce-0000-7000-8000-000000000000", "pro", 1_700_000_000)
REQUEST = ChatRequest(messages=())

pytestmark = pytest.mark.usefixtures("recordings")


def written(events: Iterable[Event], *, stream: bool) -> bytes:
    if not stream:
        return inbound.write_body(events, REQUEST, START)
    writer = inbound.stream_writer(REQUEST, START)
    return b"".join([*(writer.write(event) for event in events), writer.end()])


def _details(response: Any) -> str:
    return response.incomplete_details.reason if response.incomplete_details else ""


def _outcome(answer: Answer) -> tuple[str, str]:
    """Status and reason of an answer that finished so."""
    refused = any(block.kind == "refusal" for block in answer.blocks)
    finish = answer.finishes[0]
    own = finish.extras.get("responses", {}).get("incomplete_details")
    if own:
        return "incomplete", own["reason"]
    if finish.reason in ("content_filter", "refusal") and not refused:
        return "incomplete", "content_filter"
    reasons = {"length": "max_output_tokens", "pause": "pause", "content_filter": "content_filter"}
    if finish.reason in reasons:
        return "incomplete", reasons[finish.reason]
    return ("failed" if finish.reason == "error" else "completed"), ""


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("id_", ANSWERED)
def test_every_answer_reaches_a_caller_of_responses(id_: str, *, stream: bool) -> None:
    exchange = exchanges()[id_]
    events = events_of(exchange, OUTBOUND[DIALECTS[exchange["dialect"]]])
    answer = fold(events)
    if answer.failed is not None or 0 not in answer.finishes:
        pytest.skip("no whole answer was recorded")
    response = sdk.read(written(events, stream=stream), stream=stream)
    blocks = [block for block in answer.blocks if block.choice == 0]
    said = {
        kind: "".join(block.text for block in blocks if block.kind == kind)
        for kind in ("text", "reasoning", "refusal")
    }
    assert sdk.text_of(response) == said["text"]
    assert sdk.reasoning_of(response) == said["reasoning"]
    assert sdk.refusal_of(response) == said["refusal"]
    calls = [block for block in blocks if block.kind == "tool_call"]
    assert sdk.calls_of(response) == [(call.name, call.text or "{}") for call in calls]
    assert (response.status, _details(response)) == _outcome(answer)
    usage = response.usage
    assert usage is not None
    if answer.usage is not None:
        assert usage.input_tokens == answer.usage.total_input
        assert usage.input_tokens_details.cached_tokens == answer.usage.cached_input
        assert usage.output_tokens == answer.usage.total_output
        assert usage.output_tokens_details.reasoning_tokens == answer.usage.reasoning
    assert response.id
    assert response.model


OWN = [
    id_
    for id_ in ANSWERED
    if exchanges()[id_]["dialect"] == "openai-responses" and id_ not in RENAMED
]


@pytest.mark.parametrize("id_", OWN)
def test_items_come_back_as_their_provider_made_them(id_: str) -> None:
    """Through canonical events and back, with the ids, phases and encrypted content that the
    caller must return."""
    exchange = exchanges()[id_]
    events = events_of(exchange, OUTBOUND["responses"])
    answer = fold(events)
    if answer.failed is not None:
        pytest.skip("no whole answer was recorded")
    original = items_of(exchange)
    output = json.loads(written(events, stream=False))["output"]
    assert [item["type"] for item in output] == [item["type"] for item in original]
    for got, wanted in zip(output, original, strict=True):
        if wanted["type"] not in ("message", "function_call"):
            assert got == {**got, **wanted}
            continue
        for name in ("id", "phase", "call_id", "name", "namespace"):
            assert got.get(name) == wanted.get(name)
        for part, meant in zip(got.get("content", []), wanted.get("content", []), strict=True):
            assert part.get("annotations") == (meant.get("annotations") or [])


@pytest.mark.parametrize("id_", ANSWERED)
def test_the_events_of_a_stream_are_numbered_and_whole(id_: str) -> None:
    exchange = exchanges()[id_]
    events = events_of(exchange, OUTBOUND[DIALECTS[exchange["dialect"]]])
    if any(type(event).__name__ == "Failed" for event in events):
        pytest.skip("no whole answer was recorded")
    frames = written(events, stream=True).decode().split("\n\n")[:-1]
    datas = []
    for frame in frames:
        name, data = frame.split("\n")
        datas.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {datas[-1]['type']}"
    assert [data["sequence_number"] for data in datas] == list(range(len(datas)))
    types = [data["type"] for data in datas]
    assert types[:2] == ["response.created", "response.in_progress"]
    for opening, closing in (
        ("response.output_item.added", "response.output_item.done"),
        ("response.content_part.added", "response.content_part.done"),
        ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
    ):
        assert types.count(opening) == types.count(closing)
    done = [data["item"] for data in datas if data["type"] == "response.output_item.done"]
    ids = [item["id"] for item in datas[-1]["response"]["output"]]
    assert len(set(ids)) == len(ids)
    assert sorted(item["id"] for item in done) == sorted(ids)


RAISES: list[tuple[GatewayError, type[openai.APIStatusError]]] = [
    (InvalidRequest("no", param="input[0]"), openai.BadRequestError),
    (Unauthenticated("expired"), openai.AuthenticationError),
    (AliasNotAllowed("no"), openai.PermissionDeniedError),
    (AliasNotFound("no"), openai.NotFoundError),
    (UpstreamError("rate_limit", "slow", retry_after=3), openai.RateLimitError),
    (UpstreamError("server_error", "broken"), openai.InternalServerError),
    (Overloaded("full"), openai.InternalServerError),
]


@pytest.mark.parametrize(("error", "raised"), RAISES, ids=lambda value: type(value).__name__)
def test_an_error_is_raised_as_its_type(
    error: GatewayError, raised: type[openai.APIStatusError]
) -> None:
    body = inbound.write_error(error, "req_1")
    with pytest.raises(raised) as seen:
        sdk.client(body, status=error.status).responses.create(**sdk.ASK)
    assert (seen.value.code, seen.value.param) == (error.code, error.param)
    assert error.message in str(seen.value)


def test_an_error_in_a_stream_ends_it() -> None:
    writer = inbound.stream_writer(REQUEST, START)
    events = events_of(_a_stream(), OUTBOUND["openai"])
    begun = b"".join(writer.write(event) for event in events[:4])
    failed = inbound.write_stream_error(UpstreamError("timeout", "idle"), "req_1")
    with pytest.raises(openai.APIError, match="idle") as seen:
        sdk.events(begun + failed)
    assert seen.value.code == "upstream_timeout"
    assert b"response.completed" not in begun + failed


def _a_stream() -> Exchange:
    return exchanges()[next(id_ for id_ in ANSWERED if id_.startswith("openai-chat-s-"))]


def test_a_block_that_nobody_closed_is_closed() -> None:
    events = events_of(_a_stream(), OUTBOUND["openai"])
    left_open = [event for event in events if not isinstance(event, BlockEnded)]
    response = sdk.read(written(left_open, stream=True), stream=True)
    assert all(getattr(item, "status", "completed") == "completed" for item in response.output)
