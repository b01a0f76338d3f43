"""Whatever comes in, parsers raise what they declare and nothing else; what is written is read."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.fold import fold
from proxy.chat.request import (
    ChatRequest,
    Message,
    Part,
    ReasoningRequest,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.responses import inbound, outbound
from proxy.errors import InvalidRequest, UpstreamError

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just("")
)
WORDS = [
    *("message", "function_call", "function_call_output", "custom_tool_call", "reasoning"),
    *("output_text", "input_text", "input_image", "refusal", "summary_text", "reasoning_text"),
    *("user", "assistant", "developer", "completed", "incomplete", "failed", "error", "function"),
    *("response.created", "response.output_item.added", "response.output_item.done"),
    *("response.content_part.added", "response.output_text.delta", "response.refusal.delta"),
    *("response.function_call_arguments.delta", "response.reasoning_summary_text.delta"),
    *("response.reasoning_text.delta", "response.completed", "response.failed", "json_schema"),
    *("custom_tool_call_output", "allowed_tools", "gateway.bnVsbA==", "rate_limit_exceeded"),
]
NAMES = [
    *("type", "role", "content", "input", "output", "item", "part", "delta", "response", "text"),
    *("summary", "arguments", "call_id", "name", "id", "status", "usage", "error", "code"),
    *("message", "tools", "tool_choice", "format", "reasoning", "effort", "include", "prompt"),
    *("instructions", "metadata", "stream", "max_output_tokens", "incomplete_details", "reason"),
    *("encrypted_content", "gateway_extras", "annotations", "logprobs", "image_url", "mode"),
    *("input_tokens", "output_tokens", "input_tokens_details", "created_at", "schema", "strict"),
]
INDEXES = ("output_index", "content_index", "summary_index")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(SCALARS, st.sampled_from(WORDS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=16,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
FRAMES = st.builds(
    lambda fields, kind, indexes: {**fields, **indexes, "type": kind},
    BODIES,
    st.sampled_from([word for word in WORDS if word.startswith("response.") or word == "error"]),
    st.fixed_dictionaries({}, optional={name: st.integers(0, 2) for name in INDEXES}),
)
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
START = Start("0198f1ce-0000-7000-8000-000000000000", "pro", 1)


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def check_request(fields: dict[str, Any]) -> None:
    try:
        request = inbound.read_request(inbound.parse(fields))
        written = outbound.write_request(request, model="m", output_limit=None)
    except InvalidRequest:
        return
    again = inbound.read_request(inbound.parse(json.loads(written.body)))
    # Not JSON: NaN is not equal to itself, and infinities are written as null.
    if "NaN" not in json.dumps(fields) and "Infinity" not in json.dumps(fields):
        assert again == request


def check_stream(frames: list[dict[str, Any]]) -> None:
    reader, watch = outbound.read_events(), outbound.watch()
    events: list[Event] = []
    for frame in frames:
        wire = b"data: " + _encoded(frame) + b"\n\n"
        watch.sight(wire)
        try:
            events += reader.read(wire)
        except msgspec.DecodeError:
            continue
    events += reader.end()
    check_grammar(events)
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    for event in events:
        writer.write(event)
    writer.end()
    fold(events)


def check_grammar(events: list[Event]) -> None:
    """Deltas belong to blocks that are open, of a kind that has them; all blocks end."""
    kinds: dict[int, str] = {}
    has = {
        TextDelta: ("text", "refusal"),
        ReasoningDelta: ("reasoning",),
        ToolArgumentsDelta: ("tool_call",),
    }
    for event in events:
        if isinstance(event, BlockStarted):
            assert event.block not in kinds
            kinds[event.block] = event.kind
        elif isinstance(event, TextDelta | ReasoningDelta | ToolArgumentsDelta):
            assert kinds[event.block] in has[type(event)]
        elif isinstance(event, BlockEnded):
            kinds[event.block] = "ended"
    assert set(kinds.values()) <= {"ended"}


def check_body(value: Any) -> None:
    body = _encoded(value)
    try:
        outbound.sight_of_body(body)
        check_grammar(list(outbound.read_body(body)))
    except (UpstreamError, msgspec.DecodeError):
        pass
    outbound.read_error(400, body, retry_after=None)


CHECKS: list[tuple[Callable[[Any], None], st.SearchStrategy[Any]]] = [
    (check_request, BODIES),
    (check_request, st.builds(lambda items: {"input": items}, st.lists(BODIES, max_size=4))),
    (check_stream, st.lists(FRAMES, max_size=8)),
    (check_body, st.builds(lambda fields, out: {**fields, "output": out}, BODIES, VALUES)),
    (check_body, st.builds(lambda items: {"output": items}, st.lists(BODIES, max_size=4))),
]
NAMED = ["a request", "input items", "a stream", "a body", "output items"]


@pytest.mark.parametrize(("check", "values"), CHECKS, ids=NAMED)
def test_nothing_but_declared_errors_comes_of_anything(
    check: Callable[[Any], None], values: st.SearchStrategy[Any]
) -> None:
    QUICK(given(values)(check))()


@pytest.mark.long
@pytest.mark.parametrize(("check", "values"), CHECKS, ids=NAMED)
def test_nothing_but_declared_errors_comes_of_anything_at_length(
    check: Callable[[Any], None], values: st.SearchStrategy[Any]
) -> None:
    LONG(given(values)(check))()


@QUICK
@given(st.binary(max_size=200))
def test_bytes_that_are_no_events_are_no_trouble(frame: bytes) -> None:
    outbound.watch().sight(frame)
    outbound.is_notable(frame)
    outbound.read_error(500, frame, retry_after=None)
    with suppress(msgspec.DecodeError):
        list(outbound.read_events().read(frame))


# What is written is read again.

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SCHEMAS = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
TOOLS = st.builds(
    Tool,
    name=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    description=TEXTS,
    schema=SCHEMAS,
    strict=st.sampled_from([True, False]),
    extras=st.just({"responses": {}}),
)
USER_PARTS = st.builds(Text, text=TEXTS)
ASSISTANT_PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments=TEXTS),
)
RESULTS = st.builds(ToolResult, call_id=TEXTS, content=st.lists(USER_PARTS, max_size=2).map(tuple))


def _message(role: Any, parts: st.SearchStrategy[Part], most: int = 3) -> Any:
    return st.lists(parts, min_size=1, max_size=most).map(lambda given: Message(role, tuple(given)))


MESSAGES = st.lists(
    st.one_of(
        _message("user", USER_PARTS),
        _message("developer", USER_PARTS),
        st.tuples(
            _message("assistant", ASSISTANT_PARTS),
            _message("tool", RESULTS, most=1),
        ),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda given: tuple(
        message for one in given for message in (one if isinstance(one, tuple) else (one,))
    )
)
REQUESTS = st.builds(
    ChatRequest,
    messages=MESSAGES,
    stream=st.booleans(),
    include_usage=st.just(True),
    max_output_tokens=st.one_of(st.none(), st.integers(1, 9999)),
    temperature=st.one_of(st.none(), st.floats(0, 2)),
    top_p=st.one_of(st.none(), st.floats(0, 1)),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    tool_choice=st.one_of(
        st.none(),
        st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "required"])),
        st.builds(ToolChoice, mode=st.just("named"), name=TEXTS, parallel=st.booleans()),
    ),
    response_format=st.one_of(
        st.none(),
        st.just(ResponseFormat(kind="json")),
        st.builds(ResponseFormat, kind=st.just("json_schema"), name=TEXTS, schema=SCHEMAS),
    ),
    reasoning=st.one_of(
        st.none(), st.builds(ReasoningRequest, effort=st.sampled_from(["low", "high"]))
    ),
    user=st.one_of(st.just(""), TEXTS),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=2),
)


@QUICK
@given(REQUESTS)
def test_a_request_survives_being_written_and_read(request: ChatRequest) -> None:
    written = outbound.write_request(request, model="m", output_limit=None)
    assert written.warnings == ()
    assert inbound.read_request(inbound.parse(json.loads(written.body))) == request


def _block(index: int, kind: str, pieces: list[str]) -> list[Event]:
    start = BlockStarted(index, kind, call_id=f"c{index}", name="f")  # type: ignore[arg-type]
    if kind == "tool_call":
        return [start, *(ToolArgumentsDelta(index, piece) for piece in pieces), BlockEnded(index)]
    start = BlockStarted(index, kind)  # type: ignore[arg-type]
    delta: Any = ReasoningDelta if kind == "reasoning" else TextDelta
    return [start, *(delta(index, piece) for piece in pieces), BlockEnded(index)]


BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["text", "refusal", "reasoning", "tool_call"]),
        st.lists(TEXTS, min_size=1, max_size=4),
    ),
    max_size=5,
)


@QUICK
@given(BLOCKS, st.integers(0, 10_000))
def test_an_answer_survives_being_written_and_read(
    blocks: list[tuple[str, list[str]]], tokens: int
) -> None:
    events: list[Event] = [ResponseStarted("r", "m", 7)]
    for index, (kind, pieces) in enumerate(blocks):
        events += _block(index, kind, pieces)
    kinds = {kind for kind, _ in blocks}
    reason: Any = "tool_calls" if "tool_call" in kinds else "stop"
    reason = "refusal" if "refusal" in kinds else reason
    events += [UsageReported(Usage(input=tokens, output=3)), Finished(reason)]
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    wire = b"".join([*(writer.write(event) for event in events), writer.end()])
    reader = outbound.read_events()
    seen = [event for frame in outbound.new_framer().feed(wire) for event in reader.read(frame)]
    sent, got = fold(events), fold(seen)
    assert [(block.kind, block.text, block.name) for block in got.blocks] == [
        (block.kind, block.text, block.name) for block in sent.blocks
    ]
    assert (got.id, got.model, got.created) == ("r", "m", 7)
    assert (got.usage, got.finish) == (sent.usage, sent.finish)
