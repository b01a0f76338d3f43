"""Every recorded message is read as it was meant, however it was cut, and every request carried."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from proxy.chat.events import Event
from proxy.chat.fold import Answer, fold
from proxy.chat.request import ChatRequest
from proxy.dialects.anthropic import inbound, outbound
from proxy.dialects.faces import Start
from proxy.framing.sse import SseFramer
from tests.proxy.dialects.anthropic.recorded import (
    SPLICED_BY_HAND,
    events_of,
    exchanges,
    expected,
    ids,
    usage_of,
)
from tests.proxy.recorded import byte_by_byte, line_by_line, whole

MESSAGES = ids("anthropic-messages")
FAILED = [
    id_
    for id_, exchange in exchanges().items()
    if exchange["dialect"].startswith("anthropic") and exchange["response_status"] >= 400
]
ASKED = [
    id_
    for id_, exchange in exchanges().items()
    if exchange["dialect"].startswith("anthropic") and exchange["request_body"]
]
CUT_IN_ARGUMENTS = "anthropic-msg-s-d45ddec7"
"""The limit came in the middle of a tool call, which a whole answer cannot show as it was."""
STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "length",
    None: None,
}

pytestmark = pytest.mark.usefixtures("recordings")


def text_of(answer: Answer, kind: str) -> str:
    return "".join(block.text for block in answer.blocks if block.kind == kind)


def calls_of(answer: Answer) -> list[tuple[str, Any]]:
    """Arguments that were cut off stay text, as expect.py has them."""
    calls = []
    for block in answer.blocks:
        if block.kind == "tool_call":
            try:
                calls.append((block.name, json.loads(block.text)))
            except ValueError:
                calls.append((block.name, block.text))
    return calls


@pytest.mark.parametrize("id_", [id_ for id_ in MESSAGES if id_ != SPLICED_BY_HAND])
def test_an_answer_says_what_was_recorded(id_: str) -> None:
    exchange = exchanges()[id_]
    wanted, answer = expected(exchange), fold(events_of(exchange, outbound))
    assert text_of(answer, "text") == wanted["text"]
    assert text_of(answer, "reasoning") == wanted["reasoning"]
    assert calls_of(answer) == [tuple(call) for call in wanted["tool_calls"]]
    assert answer.finish == STOPS[wanted["finish"]]
    assert answer.usage == usage_of(wanted["usage"])
    assert (answer.failed is not None) == (wanted["error"] is not None)


@pytest.mark.parametrize("id_", [id_ for id_ in MESSAGES if "-n-" in id_])
def test_a_whole_answer_shows_its_usage_and_end(id_: str) -> None:
    exchange = exchanges()[id_]
    wanted, seen = expected(exchange), outbound.sight_of_body(exchange["response_body"].encode())
    assert seen.usage == usage_of(wanted["usage"])
    assert seen.finished == (wanted["finish"] is not None)


@pytest.mark.parametrize("cut", [whole, line_by_line, byte_by_byte])
def test_a_stream_passes_as_it_was_and_shows_all_that_matters(
    cut: Callable[[bytes], list[bytes]],
) -> None:
    for id_ in MESSAGES:
        exchange = exchanges()[id_]
        if exchange["response_framing"] != "sse":
            continue
        body, wanted = exchange["response_body"].encode(), expected(exchange)
        framer, watch = SseFramer(), outbound.watch()
        frames = [frame for chunk in cut(body) for frame in framer.feed(chunk)]
        assert b"".join(frames) + framer.rest == body
        # As the gateway does: once content flows, what is not notable is not looked at.
        flowing, sights = False, []
        for frame in [*frames, framer.rest]:
            if not flowing or outbound.is_notable(frame):
                sights.append(watch.sight(frame))
                flowing = flowing or sights[-1].has_content
        usages = [seen.usage for seen in sights if seen.usage is not None]
        assert (usages[-1] if usages else None) == usage_of(wanted["usage"]), id_
        assert any(seen.finished for seen in sights) == (wanted["finish"] is not None), id_
        assert any(seen.error for seen in sights) == (wanted["error"] is not None), id_
        says = wanted["text"] or wanted["reasoning"] or wanted["tool_calls"]
        assert flowing or not says, id_


@pytest.mark.parametrize("id_", FAILED)
def test_an_error_is_of_its_kind(id_: str) -> None:
    exchange = exchanges()[id_]
    status, body = exchange["response_status"], exchange["response_body"].encode()
    error = outbound.read_error(status, body, retry_after=None)
    kinds = {401: "auth", 404: "not_found", 429: "rate_limit", 529: "overloaded"}
    assert error.kind == kinds.get(status, error.kind)
    assert error.message == json.loads(body)["error"]["message"]
    assert error.body == body
    if "prompt is too long" in error.message:
        assert error.kind == "context_window"


def request_of(body: dict[str, Any]) -> ChatRequest:
    return inbound.read_request(inbound.parse(body))


@pytest.mark.parametrize("id_", ASKED)
def test_a_request_is_read_and_written_back_alike(id_: str) -> None:
    body = exchanges()[id_]["request_body"]
    model = body.get("model") or "claude-sonnet-4-5"
    request = request_of(body)
    written = outbound.write_request(request, model=model, output_limit=None)
    again = request_of(json.loads(written.body))
    if request.max_output_tokens is None:  # which the provider wants to be told
        again = replaced(again, max_output_tokens=None)
    if all(tool.strict is False for tool in request.tools):  # which older models are not told
        again = replaced(again, tools=request.tools)
    assert again == request
    assert not written.warnings


def replaced(request: ChatRequest, **fields: Any) -> ChatRequest:
    kept = {name: getattr(request, name) for name in request.__struct_fields__}
    return ChatRequest(**{**kept, **fields})


@pytest.mark.parametrize("id_", [id_ for id_ in MESSAGES if id_ != SPLICED_BY_HAND])
def test_an_answer_written_again_says_the_same(id_: str) -> None:
    """Also what only this dialect has: citations, signatures, blocks of server tools."""
    exchange = exchanges()[id_]
    events = events_of(exchange, outbound)
    if fold(events).failed or not fold(events).finishes:
        return
    request, start = request_of({"messages": [{"role": "user", "content": "?"}]}), Start("", "", 0)
    body = json.loads(inbound.write_body(events, request, start))
    if id_ != CUT_IN_ARGUMENTS:
        assert spaceless(outbound.read_body(json.dumps(body).encode())) == spaceless(events)
    if exchange["response_framing"] == "json":
        given = json.loads(exchange["response_body"])
        assert [block for block in body["content"] if block["type"] != "text"] == [
            block for block in given["content"] if block["type"] != "text"
        ]
    writer = inbound.stream_writer(request, start)
    frames = [*(writer.write(event) for event in events), writer.end()]
    framer, reader = SseFramer(), outbound.read_events()
    again = [event for frame in framer.feed(b"".join(frames)) for event in reader.read(frame)]
    assert fold(again) == fold(events)


def spaceless(events: Iterable[Event]) -> Answer:
    """Folded, with arguments as what they mean: a whole answer has an object for their text."""
    answer = fold(events)
    for block in answer.blocks:
        if block.kind == "tool_call":
            block.text = json.dumps(json.loads(block.text))
    return answer
