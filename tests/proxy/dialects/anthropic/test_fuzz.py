"""Whatever comes in, nothing but the declared errors comes out."""

import json
import re
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
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.anthropic import inbound, outbound
from proxy.dialects.faces import Start
from proxy.errors import InvalidRequest, UpstreamError
from proxy.framing.sse import SseFramer
from tests.proxy.dialects.crossing import write_for_every_caller, write_for_every_provider

pytestmark = pytest.mark.once

START = Start("msg_1", "pro", 0)
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from(
    re.findall(
        r"\w+",
        """type text thinking tool_use tool_result image document base64 url data source content
        name id input tool_use_id is_error cache_control signature redacted_thinking
        role user assistant system model messages tools tool_choice output_config
        format schema effort index delta content_block message usage input_tokens
        output_tokens error text_delta input_json_delta partial_json thinking_delta
        citations_delta citation stop_reason end_turn title any auto respond_with_json
        server_tool_use media_type budget_tokens ping""",
    )
)
TEXTS = st.text() | st.just("\ud800")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | WORDS


def objects(names: st.SearchStrategy[str], values: Any, most: int) -> Any:
    """Quicker to draw than dictionaries, which look at every name for its twin."""
    return st.lists(st.tuples(names, values), max_size=most).map(dict)


def holding(inner: Any) -> Any:
    return SCALARS | st.lists(inner, max_size=4) | objects(WORDS | st.text(max_size=4), inner, 4)


VALUES = holding(holding(SCALARS))
OBJECTS = objects(WORDS, VALUES, 6)
BLOCKS = OBJECTS | st.fixed_dictionaries({"type": WORDS}, optional={"text": VALUES, "id": VALUES})
BODIES = OBJECTS | st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "assistant", "system"]),
                    "content": TEXTS | st.lists(BLOCKS, max_size=4),
                }
            ),
            min_size=1,
            max_size=4,
        )
    },
    optional={
        "tools": st.lists(OBJECTS, max_size=3),
        "tool_choice": OBJECTS,
        "output_config": OBJECTS,
        "thinking": OBJECTS,
        "system": TEXTS | st.lists(BLOCKS, max_size=3),
        "max_tokens": st.integers(0, 10**6),
        "temperature": st.floats(0, 2),
    },
)
EVENTS = (
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "error",
)
FRAMES = OBJECTS | st.fixed_dictionaries(
    {"type": st.sampled_from(EVENTS)},
    optional={
        "index": st.integers(0, 3),
        "delta": OBJECTS,
        "content_block": BLOCKS,
        "message": OBJECTS,
        "usage": OBJECTS,
        "error": VALUES,
    },
)


def check_request(fields: dict[str, Any]) -> None:
    """Read, and written for every provider, or refused."""
    with suppress(InvalidRequest):
        request = inbound.read_request(inbound.parse(fields))
        write_for_every_provider(request)
        body = outbound.write_request(request, model="claude-sonnet-4-5", output_limit=None).body
        json.loads(body)


def check_stream(frames: list[dict[str, Any]]) -> None:
    """Read and watched, and written for every caller."""
    reader, watch = outbound.read_events(), outbound.watch()
    events: list[Event] = []
    for fields in frames:
        frame = b"data: " + json.dumps(fields).encode() + b"\n\n"
        watch.sight(frame)
        try:
            events += reader.read(frame)
        except msgspec.DecodeError:
            continue
    events += reader.end()
    write_for_every_caller(events)
    fold(events)


def check_bytes(data: bytes, status: int) -> None:
    for read in (outbound.sight_of_body, outbound.read_count):
        with suppress(UpstreamError):
            read(data)
    with suppress(msgspec.DecodeError):
        write_for_every_caller(list(outbound.read_body(data)))
    outbound.watch().sight(data)
    with suppress(msgspec.DecodeError):
        list(outbound.read_events().read(data))
    outbound.read_error(status, data, retry_after=None)


STATUSES = st.integers(400, 599)
ANY_BYTES = st.binary() | VALUES.map(lambda value: json.dumps(value).encode())


@QUICK
@given(BODIES)
def test_any_body_is_read_or_refused(fields: dict[str, Any]) -> None:
    check_request(fields)


@QUICK
@given(st.lists(FRAMES, max_size=5))
def test_any_frames_are_read_or_skipped(frames: list[dict[str, Any]]) -> None:
    check_stream(frames)


@QUICK
@given(ANY_BYTES, STATUSES)
def test_any_bytes_are_read_or_declared_unreadable(data: bytes, status: int) -> None:
    check_bytes(data, status)


@pytest.mark.long
@LONG
@given(BODIES)
def test_very_many_bodies_are_read_or_refused(fields: dict[str, Any]) -> None:
    check_request(fields)


@pytest.mark.long
@LONG
@given(st.lists(FRAMES, max_size=5))
def test_very_many_frames_are_read_or_skipped(frames: list[dict[str, Any]]) -> None:
    check_stream(frames)


@pytest.mark.long
@LONG
@given(ANY_BYTES, STATUSES)
def test_very_many_bytes_are_read_or_declared_unreadable(data: bytes, status: int) -> None:
    check_bytes(data, status)


def test_nesting_without_end_is_read_or_refused() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [{"type": "tool_result", "tool_use_id": "a", "content": deep}]
    check_request({"messages": [{"role": "user", "content": deep}]})
    schema: Any = {}
    for _ in range(900):
        schema = {"properties": {"a": schema}}
    tool = {"name": "f", "input_schema": schema}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    said = [{"role": "user", "content": "hi"}]
    check_request({"messages": said, "tools": [tool]})
    check_request({"messages": said, "output_config": wanted})


PIECES = st.lists(st.text(min_size=1, max_size=6), max_size=4)
COUNTS = st.integers(0, 10**6)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Events of an answer whose blocks come one after another."""
    events: list[Event] = [ResponseStarted("msg_2", "claude")]
    for block in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["text", "reasoning", "tool_call"]))
        if kind == "tool_call":
            events.append(BlockStarted(block, "tool_call", call_id=f"toolu_{block}", name="f"))
            given_ = json.dumps(draw(st.dictionaries(st.text(max_size=3), st.integers())))
            cut = draw(st.integers(1, len(given_)))
            pieces = [piece for piece in (given_[:cut], given_[cut:]) if piece]
            events += [ToolArgumentsDelta(block, piece) for piece in pieces]
        elif kind == "text":
            events.append(BlockStarted(block, "text"))
            events += [TextDelta(block, piece) for piece in draw(PIECES)]
        else:
            own = {"anthropic": {"type": "thinking"}}
            events.append(BlockStarted(block, "reasoning", extras=own))
            events += [ReasoningDelta(block, piece) for piece in draw(PIECES)]
            events.append(ReasoningDelta(block, signature=draw(st.text(min_size=1, max_size=5))))
        events.append(BlockEnded(block))
    counts = [draw(COUNTS) for _ in range(5)]
    events.append(UsageReported(Usage(*counts)))
    reason = draw(st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"]))
    return [*events, Finished(reason)]


@QUICK
@given(answers())
def test_any_answer_survives_being_written_and_read(events: list[Event]) -> None:
    writer = inbound.stream_writer(ChatRequest(messages=()), START)
    written = b"".join([*(writer.write(event) for event in events), writer.end()])
    framer, reader = SseFramer(), outbound.read_events()
    again = [event for frame in framer.feed(written) for event in reader.read(frame)]
    assert fold(again) == fold(events)
