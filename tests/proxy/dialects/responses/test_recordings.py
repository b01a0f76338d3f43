"""What was recorded of the Responses API, watched as it passes and read into canonical events."""

import json

import pytest

from proxy.chat.usage import Usage
from proxy.dialects.faces import Sight
from proxy.dialects.responses import inbound, outbound
from proxy.dialects.responses.writer import write_request
from proxy.errors import InvalidRequest
from tests.proxy.dialects.anthropic.recorded import exchanges, expected, ids
from tests.proxy.dialects.responses.recorded import (
    ALTERED,
    CUTS,
    QUEUED,
    folded,
    raw_thoughts,
    usage_of,
)
from tests.proxy.recorded import Exchange

pytestmark = pytest.mark.usefixtures("recordings")

DIALECT = "openai-responses"
STREAMS = [id_ for id_ in ids(DIALECT) if exchanges()[id_]["response_framing"] == "sse"]
BODIES = [id_ for id_ in ids(DIALECT) if exchanges()[id_]["response_framing"] == "json"]
ANSWERS = [id_ for id_ in ids(DIALECT) if id_ not in QUEUED]


def _sights(frames: list[bytes]) -> list[Sight]:
    watch = outbound.watch()
    return [watch.sight(frame) for frame in frames]


def _frames(body: bytes, cut: str) -> list[bytes]:
    framer = outbound.new_framer()
    frames = [frame for chunk in CUTS[cut](body) for frame in framer.feed(chunk)]
    return [*frames, framer.rest] if framer.rest else frames


@pytest.mark.parametrize("id_", STREAMS)
def test_frames_pass_as_they_are_however_they_are_cut(id_: str) -> None:
    body = exchanges()[id_]["response_body"].encode()
    frames = _frames(body, "whole")
    assert b"".join(frames) == body
    assert _frames(body, "by line") == frames
    assert _frames(body[:20_000], "byte by byte") == _frames(body[:20_000], "whole")


@pytest.mark.parametrize("id_", STREAMS)
def test_a_stream_is_metered_as_it_passes(id_: str) -> None:
    exchange = exchanges()[id_]
    frames = _frames(exchange["response_body"].encode(), "whole")
    sights = _sights(frames)
    failed = expected(exchange)["error"] is not None
    assert [sight.usage for sight in sights if sight.usage][-1:] == [
        usage for usage in [usage_of(exchange)] if usage
    ]
    assert any(sight.error for sight in sights) == failed
    assert any(sight.finished for sight in sights) != failed
    assert any(sight.has_content for sight in sights) != failed
    assert any(sight.ends_stream for sight in sights) != failed


@pytest.mark.parametrize("id_", STREAMS)
def test_no_frame_that_matters_goes_unnoticed(id_: str) -> None:
    frames = _frames(exchanges()[id_]["response_body"].encode(), "whole")
    for frame, sight in zip(frames, _sights(frames), strict=True):
        if sight.usage or sight.error or sight.finished or sight.ends_stream:
            assert outbound.is_notable(frame)


def test_few_frames_are_looked_into() -> None:
    frames = [
        frame
        for id_ in STREAMS
        for frame in _frames(exchanges()[id_]["response_body"].encode(), "whole")
    ]
    assert sum(map(outbound.is_notable, frames)) < len(STREAMS) * 5


@pytest.mark.parametrize("id_", BODIES)
def test_a_whole_answer_is_metered_as_it_passes(id_: str) -> None:
    exchange = exchanges()[id_]
    sight = outbound.sight_of_body(exchange["response_body"].encode())
    assert sight.usage == usage_of(exchange)
    assert sight.finished
    assert sight.error is None


def _finish(exchange: Exchange) -> str:
    seen = expected(exchange)
    if seen["finish"] == "incomplete":
        return "length"  # no other reason was recorded
    return "tool_calls" if seen["tool_calls"] else "stop"


_HAS_FREE_TEXT_CALL = {"openai-resp-n-56edbb0f"}
"""expect.py knows calls of functions only."""


@pytest.mark.parametrize("id_", ANSWERS)
def test_an_answer_is_read_as_a_correct_client_reads_it(id_: str) -> None:
    exchange, answer = exchanges()[id_], folded(id_)
    seen = expected(exchange)
    if seen["error"] is not None:
        assert answer.failed is not None
        assert (answer.failed.kind, answer.failed.message) == (
            "rate_limit",
            seen["error"]["message"],
        )
        return
    texts = {
        kind: "".join(block.text for block in answer.blocks if block.kind == kind)
        for kind in ("text", "reasoning", "refusal")
    }
    assert texts["text"] == seen["text"]
    assert texts["refusal"] == seen["refusal"]
    assert texts["reasoning"] == seen["reasoning"] + raw_thoughts(exchange)
    assert answer.usage == usage_of(exchange)
    if id_ in _HAS_FREE_TEXT_CALL:
        return
    assert answer.finish == _finish(exchange)
    calls = [block for block in answer.blocks if block.kind == "tool_call"]
    assert [call.name for call in calls] == [name for name, _ in seen["tool_calls"]]
    if id_ not in ALTERED:
        assert [_parsed(call.text) for call in calls] == [args for _, args in seen["tool_calls"]]


def _parsed(arguments: str) -> object:

    return json.loads(arguments) if arguments else {}


@pytest.mark.parametrize("id_", sorted(QUEUED))
def test_an_answer_that_is_none_yet_is_an_error(id_: str) -> None:
    failed = folded(id_).failed
    assert failed is not None
    assert "queued" in failed.message


@pytest.mark.parametrize(
    "id_", [id_ for status in (400, 401) for id_ in ids(DIALECT, status=status)]
)
def test_an_error_is_of_its_kind(id_: str) -> None:
    exchange = exchanges()[id_]
    body = exchange["response_body"].encode()
    error = outbound.read_error(exchange["response_status"], body, retry_after=None)
    assert error.body == body
    said = exchange["response_body"]
    kinds = {"model_not_found": "not_found", "context_length_exceeded": "context_window"}
    kind = next((kinds[code] for code in kinds if code in said), "invalid_request")
    assert error.kind == ("auth" if exchange["response_status"] == 401 else kind)


REQUESTS = [
    id_
    for id_ in ids(DIALECT)
    if exchanges()[id_]["request_body"] and exchanges()[id_]["request_method"] == "POST"
]
_STATEFUL = {
    "store": lambda value: value is True,
    "background": lambda value: value is True,
    "previous_response_id": lambda value: value is not None,
}


def _refused_field(body: dict[str, object]) -> str | None:
    """The field that asks for stored state, if one does."""
    for name, is_asked in _STATEFUL.items():
        if is_asked(body.get(name)):
            return name
    items = body.get("input")
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if item.get("type") == "item_reference":
            return f"input[{index}]"
    return None


@pytest.mark.parametrize("id_", REQUESTS)
def test_a_request_that_was_accepted_is_read_and_written_again(id_: str) -> None:
    fields = exchanges()[id_]["request_body"]
    refused = _refused_field(fields)
    if refused:
        with pytest.raises(InvalidRequest) as raised:
            inbound.parse(fields)
        assert raised.value.param == refused
        return
    request = inbound.read_request(inbound.parse(fields))
    written = write_request(request, model="m", output_limit=None)
    assert written.warnings == ()

    again = json.loads(written.body)
    assert inbound.read_request(inbound.parse(again)) == request
    assert again["store"] is False
    # What has no other spelling is said in the same words.
    for name in fields.keys() - {"input", "tools", "store", "include", "text", "model", "stream"}:
        if fields[name] not in (None, "", [], {}) and not _is_narrowed(fields, name):
            assert again[name] == _said(fields[name]), name


def _said(value: object) -> object:
    """A field without the members that say nothing."""
    if not isinstance(value, dict):
        return value
    return {name: member for name, member in value.items() if member is not None}


def _is_narrowed(fields: dict[str, object], name: str) -> bool:
    """`allowed_tools` is done by offering no others."""
    choice = fields.get("tool_choice")
    narrows = isinstance(choice, dict) and choice.get("type") == "allowed_tools"
    return name == "tool_choice" and narrows


def test_usage_is_in_disjoint_buckets() -> None:
    assert folded("openai-resp-n-4760b72e").usage == Usage(
        input=4158, cached_input=0, cache_write=4418, output=20, reasoning=32
    )
