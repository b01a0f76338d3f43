"""Whatever callers and upstreams send, nothing but the declared errors comes of it."""

import json
import re
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.chat.fold import fold
from proxy.chat.request import ChatRequest
from proxy.dialects.faces import Start
from proxy.dialects.openai import inbound, outbound
from proxy.errors import InvalidRequest, UpstreamError
from proxy.meter import Delivered, count_request
from tests.proxy.dialects.crossing import write_for_every_caller, write_for_every_provider

pytestmark = pytest.mark.once

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))

START = Start("chatcmpl-1", "pro", 0)
ASKED = ChatRequest(messages=(), stream=True, include_usage=True)

WORDS = st.sampled_from(
    re.findall(
        r"\w+",
        """type text function name arguments custom input id index role user assistant tool content
        image_url url detail file file_data file_id input_audio data format refusal error message
        code token logprob prompt_tokens completion_tokens total_tokens cached_tokens audio
        prompt_tokens_details completion_tokens_details reasoning_tokens stop length tool_calls
        function_call max_tokens json_schema schema strict allowed_tools mode cache_control""",
    )
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=8,
)


def _members(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES))


# ---- what upstreams send

CALLS = _members("index", "id", "type", "function", "custom") | VALUES
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "tool_calls": st.lists(CALLS, max_size=3) | VALUES,
        **dict.fromkeys(
            ("content", "function_call", "refusal", "reasoning_content", "reasoning"), VALUES
        ),
        **dict.fromkeys(("reasoning_details", "annotations", "audio", "role"), VALUES),
    },
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "delta": st.none() | DELTAS,
        "message": st.none() | DELTAS,
        **dict.fromkeys(("index", "finish_reason", "finish_details", "logprobs"), VALUES),
    },
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.none() | st.lists(CHOICES, max_size=3) | VALUES,
        "usage": _members("prompt_tokens", "completion_tokens", "prompt_tokens_details") | VALUES,
        **dict.fromkeys(("error", "id", "model", "created", "service_tier"), VALUES),
    },
)


def _check_answer(chunks: list[dict[str, Any]]) -> None:
    reader, watch = outbound.read_events(), outbound.watch()
    delivered = Delivered(outbound.read_events().read)
    events = []
    for chunk in chunks:
        body = json.dumps(chunk).encode()
        frame = b"data: " + body + b"\n\n"
        watch.sight(frame)
        delivered.add(frame)
        with suppress(msgspec.DecodeError):
            events += reader.read(frame)
        with suppress(UpstreamError):
            outbound.sight_of_body(body)
        with suppress(msgspec.DecodeError):
            whole = list(outbound.read_body(body))
            write_for_every_caller(whole)
        outbound.read_error(400, body, retry_after=None)
    events += reader.end()
    write_for_every_caller(events)
    answer = fold(events)
    assert fold(events) == answer, "folding changes no event"
    writer = inbound.stream_writer(ASKED, START)
    stream = b"".join(writer.write(event) for event in events) + writer.end()
    assert stream.endswith(b"data: [DONE]\n\n")
    usage = delivered.usage(input_tokens=0)
    assert min(usage.total_input, usage.total_output) >= 0


@given(st.lists(CHUNKS, max_size=4))
@QUICK
def test_an_upstreams_nonsense_breaks_nothing(chunks: list[dict[str, Any]]) -> None:
    _check_answer(chunks)


@pytest.mark.long
@given(st.lists(CHUNKS, max_size=4))
@LONG
def test_any_nonsense_of_an_upstream_breaks_nothing(chunks: list[dict[str, Any]]) -> None:
    _check_answer(chunks)


@given(st.binary())
@QUICK
def test_any_bytes_of_an_upstream_break_nothing(raw: bytes) -> None:
    outbound.watch().sight(raw)
    outbound.watch().sight(b"data: " + raw + b"\n\n")
    outbound.read_error(500, raw, retry_after=None)
    with suppress(UpstreamError):
        outbound.sight_of_body(raw)
    with suppress(msgspec.DecodeError):
        outbound.read_events().read(b"data: " + raw + b"\n\n")


# ---- what callers send

CONTENT = (
    st.none()
    | st.text(max_size=5)
    | st.lists(
        _members("type", "text", "image_url", "input_audio", "file", "refusal")
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "refusal"])},
            optional=dict.fromkeys(("text", "image_url", "input_audio", "file", "refusal"), VALUES),
        ),
        max_size=3,
    )
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "function"]) | WORDS},
    optional={
        "content": CONTENT,
        "tool_calls": st.none()
        | st.lists(_members("id", "type", "function", "custom"), max_size=2),
        **dict.fromkeys(("name", "refusal", "tool_call_id", "function_call", "audio"), VALUES),
    },
)
TOOLS = _members("type", "function", "custom") | st.fixed_dictionaries(
    {"type": st.just("function"), "function": _members("name", "parameters", "strict")}
)
BODIES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=3)},
    optional={
        "tools": st.none() | st.lists(TOOLS, max_size=2),
        **dict.fromkeys(
            ("tool_choice", "response_format", "stop", "metadata", "user", "stream"), VALUES
        ),
        **dict.fromkeys(("stream_options", "max_tokens", "n", "reasoning_effort"), VALUES),
    },
) | _members("messages", "model", "tools")


def _check_request(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        parsed = inbound.parse(body)
        assert (parsed.output_limit or 1) >= 1
        assert parsed.end_user is None or isinstance(parsed.end_user, str)
        request = inbound.read_request(parsed)
        assert count_request(request) >= 0
        write_for_every_provider(request)
        written = outbound.write_request(request, model="gpt-4o", output_limit=None)
        assert json.loads(written.body)["model"] == "gpt-4o"


@given(BODIES)
@QUICK
def test_a_callers_nonsense_is_read_or_refused(body: dict[str, Any]) -> None:
    _check_request(body)


@pytest.mark.long
@given(BODIES)
@LONG
def test_any_nonsense_of_a_caller_is_read_or_refused(body: dict[str, Any]) -> None:
    _check_request(body)
