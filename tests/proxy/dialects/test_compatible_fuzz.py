"""Whatever a caller asks and whatever Mistral, Ollama or a maker of embeddings answers, nothing but
the declared errors comes of it."""

import json
import re
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.chat.events import Event
from proxy.dialects import EMBEDDERS, OUTBOUND
from proxy.dialects.openai import embeddings, inbound
from proxy.errors import InvalidRequest, UpstreamError
from tests.proxy.dialects.crossing import write_for_every_caller

pytestmark = pytest.mark.once

DIALECTS = ("openai", "mistral", "ollama")
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from(
    re.findall(
        r"\w+",
        """type text thinking content role user assistant system tool function name arguments index
        image_url url input_audio data file file_id refusal parameters strict json_schema schema
        message usage prompt_tokens completion_tokens total_tokens prompt_tokens_details
        audio_tokens error code detail loc msg done done_reason created_at prompt_eval_count
        eval_count embedding embeddings reference reference_ids cache_control num_ctx""",
    )
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(2**70) | st.floats(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=5,
)
OBJECTS = st.dictionaries(WORDS, VALUES, max_size=6)
FUNCTIONS = st.fixed_dictionaries({}, optional={"name": WORDS, "arguments": VALUES})
CALLS = st.fixed_dictionaries({}, optional={"id": VALUES, "index": VALUES, "function": FUNCTIONS})
PARTS = st.fixed_dictionaries(
    {"type": WORDS}, optional=dict.fromkeys(("text", "thinking", "image_url", "file"), VALUES)
)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "content": WORDS | st.lists(PARTS, max_size=3) | VALUES,
        "thinking": WORDS | VALUES,
        "tool_calls": st.lists(CALLS, max_size=3) | VALUES,
    },
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"index": VALUES, "delta": SAID, "message": SAID, "finish_reason": VALUES}
)
ANSWERS = OBJECTS | st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(CHOICES, max_size=2),
        "message": SAID,
        "usage": OBJECTS,
        "done": st.booleans(),
        "done_reason": VALUES,
        "created_at": VALUES,
        "logprobs": VALUES,
        "error": VALUES,
        "data": st.lists(OBJECTS, max_size=2),
        "embeddings": st.lists(st.lists(st.floats(-1, 1)), max_size=2),
    },
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "function"])},
    optional={
        "content": WORDS | st.lists(PARTS, max_size=3),
        "tool_calls": st.lists(CALLS, max_size=2),
        "reasoning_content": WORDS,
    },
)
BODIES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=4)},
    optional={
        "tools": st.lists(st.fixed_dictionaries({"function": FUNCTIONS}), max_size=2),
        "tool_choice": st.sampled_from(["auto", "required", "none"]),
        "options": VALUES,
        "prediction": VALUES,
        "stream": st.booleans(),
    },
)


def _check_request(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        request = inbound.read_request(inbound.parse(body))
        for dialect in DIALECTS:
            with suppress(InvalidRequest):
                written = OUTBOUND[dialect].write_request(request, model="m", output_limit=None)
                json.loads(written.body)


def _check_answers(answers: list[Any]) -> None:
    for dialect in ("mistral", "ollama"):
        outbound = OUTBOUND[dialect]
        lead = b"" if dialect == "ollama" else b"data: "
        framer, reader, watch = outbound.new_framer(), outbound.read_events(), outbound.watch()
        events: list[Event] = []
        for answer in answers:
            raw = json.dumps(answer).encode()
            for frame in framer.feed(lead + raw + b"\n\n"):
                watch.sight(frame)
                with suppress(msgspec.DecodeError):
                    events += reader.read(frame)
            with suppress(UpstreamError):
                outbound.sight_of_body(raw)
            with suppress(msgspec.DecodeError):
                write_for_every_caller(list(outbound.read_body(raw)))
            outbound.read_error(429, raw, retry_after=None)
        write_for_every_caller([*events, *reader.end()])


@QUICK
@given(BODIES)
def test_a_request_is_written_or_refused(body: dict[str, Any]) -> None:
    _check_request(body)


@QUICK
@given(st.lists(ANSWERS, max_size=3))
def test_an_answer_is_read_or_is_none(answers: list[Any]) -> None:
    _check_answers(answers)


@QUICK
@given(st.fixed_dictionaries({"input": VALUES | st.lists(st.integers())}), ANSWERS)
def test_embeddings_are_read_or_are_none(body: dict[str, Any], answer: Any) -> None:
    with suppress(InvalidRequest):
        request = embeddings.read_request(embeddings.parse(body))
        for dialect in DIALECTS:
            with suppress(InvalidRequest):
                EMBEDDERS[dialect].write_embeddings(request, model="m")
    for dialect in DIALECTS:
        with suppress(UpstreamError):
            EMBEDDERS[dialect].read_embeddings(json.dumps(answer).encode())


@pytest.mark.long
@LONG
@given(BODIES)
def test_any_request_is_written_or_refused(body: dict[str, Any]) -> None:
    _check_request(body)


@pytest.mark.long
@LONG
@given(st.lists(ANSWERS, max_size=3))
def test_any_answer_is_read_or_is_none(answers: list[Any]) -> None:
    _check_answers(answers)
