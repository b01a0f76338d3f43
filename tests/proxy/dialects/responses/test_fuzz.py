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
from tests.proxy.dialects.crossing import write_for_every_caller, write_for_every_provider
from tests.proxy.dialects.responses import nearly_right
from tests.proxy.dialects.responses.nearly_right import several, usually

pytestmark = pytest.mark.once

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
    write_for_every_provider(request)
    # What we write is said plainly: a refusal of the user's is a text from then on.
    plain = _read_again(written.body)
    # Not JSON: NaN is not equal to itself, and infinities are written as null.
    if "NaN" not in json.dumps(fields) and "Infinity" not in json.dumps(fields):
        again = outbound.write_request(plain, model="m", output_limit=None)
        assert _read_again(again.body) == plain


def _read_again(body: bytes) -> ChatRequest:
    return inbound.read_request(inbound.parse(json.loads(body)))


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
    write_for_every_caller(events)
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
        events = list(outbound.read_body(body))
        check_grammar(events)
        write_for_every_caller(events)
    except (UpstreamError, msgspec.DecodeError):
        pass
    outbound.read_error(400, body, retry_after=None)


CHECKS: list[tuple[Callable[[Any], None], nearly_right.Values]] = [
    (check_request, nearly_right.REQUESTS),
    (check_request, st.builds(lambda items: {"input": items}, several(nearly_right.ITEMS))),
    (check_stream, st.lists(usually(nearly_right.FRAMES), max_size=6)),
    (check_body, usually(nearly_right.ANSWERS)),
    (check_body, st.builds(lambda items: {"output": items}, several(nearly_right.ITEMS))),
]
NAMED = ["a request", "input items", "a stream", "a body", "output items"]


@pytest.mark.parametrize(("check", "values"), CHECKS, ids=NAMED)
def test_nothing_but_declared_errors_comes_of_anything(
    check: Callable[[Any], None], values: nearly_right.Values
) -> None:
    QUICK(given(values)(check))()


@pytest.mark.long
@pytest.mark.parametrize(("check", "values"), CHECKS, ids=NAMED)
def test_nothing_but_declared_errors_comes_of_anything_at_length(
    check: Callable[[Any], None], values: nearly_right.Values
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
TOOLS = st.builds(
    Tool,
    name=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    description=TEXTS,
    schema=nearly_right.SCHEMAS,
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
CANONICAL = st.builds(
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
        st.builds(
            ResponseFormat, kind=st.just("json_schema"), name=TEXTS, schema=nearly_right.SCHEMAS
        ),
    ),
    reasoning=st.one_of(
        st.none(), st.builds(ReasoningRequest, effort=st.sampled_from(["low", "high"]))
    ),
    user=st.one_of(st.just(""), TEXTS),
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=2),
)


@QUICK
@given(CANONICAL)
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
