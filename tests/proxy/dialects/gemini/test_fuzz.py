"""Whatever comes in, only the declared exceptions come out."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.chat.events import Event
from proxy.chat.fold import fold
from proxy.dialects.gemini import counting, embeddings, inbound, outbound
from proxy.dialects.gemini.partial_arguments import PartialArguments
from proxy.dialects.gemini.spelling import camel
from proxy.errors import InvalidRequest, UpstreamError
from tests.proxy.dialects.crossing import write_for_every_caller, write_for_every_provider

pytestmark = pytest.mark.once

NAMES = [
    "candidates",
    "content",
    "parts",
    "text",
    "thought",
    "thoughtSignature",
    "functionCall",
    "name",
    "args",
    "id",
    "willContinue",
    "partialArgs",
    "jsonPath",
    "stringValue",
    "numberValue",
    "boolValue",
    "index",
    "finishReason",
    "usageMetadata",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "promptFeedback",
    "blockReason",
    "error",
    "code",
    "message",
    "status",
    "details",
    "retryDelay",
    "logprobsResult",
    "chosenCandidates",
    "topCandidates",
    "token",
    "groundingMetadata",
    "responseId",
    "modelVersion",
    "createTime",
    "contents",
    "role",
    "inlineData",
    "mimeType",
    "data",
    "fileData",
    "fileUri",
    "functionResponse",
    "response",
    "generationConfig",
    "thinkingConfig",
    "thinkingBudget",
    "responseSchema",
    "responseJsonSchema",
    "responseMimeType",
    "type",
    "properties",
    "items",
    "nullable",
    "tools",
    "functionDeclarations",
    "parameters",
    "toolConfig",
    "functionCallingConfig",
    "mode",
    "allowedFunctionNames",
    "systemInstruction",
    "system_instruction",
    "inline_data",
    "topK",
    "stopSequences",
    "embeddings",
    "values",
    "totalTokens",
]
WORDS = [
    *("user", "model", "STOP", "SAFETY", "ANY", "OBJECT", "$.a[0].b", "$.a", "3s", "[]", ""),
    "\ud800",
]

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=6)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)
parts = st.lists(objects | values, max_size=3)
contents = st.fixed_dictionaries({"parts": parts}, optional={"role": st.sampled_from(WORDS)})
requests = st.builds(
    lambda given, more: {**more, "contents": given},
    st.lists(contents, min_size=1, max_size=3),
    objects,
)
answers = st.builds(
    lambda given, more: {**more, "candidates": given},
    st.lists(st.builds(lambda given, more: {**more, "content": given}, contents, objects)),
    objects,
)


def read(body: Any) -> None:
    """A request that is read can be written, read again, and counted."""
    try:
        request = inbound.read_request(inbound.parse(body))
    except InvalidRequest as refused:
        inbound.write_error(refused, "r")
        return
    write_for_every_provider(request)
    with contextlib.suppress(InvalidRequest):
        written = outbound.write_request(request, model="gemini-2.5-pro", output_limit=None)
        inbound.parse(json.loads(written.body))
        counting.write_count(request, model="m")


def take_in(body: bytes) -> None:
    """An answer, whole and as a frame, is read and written, or refused."""
    outbound.read_error(500, body, retry_after=None)
    frame = b"data: " + body + b"\r\n\r\n"
    outbound.watch().sight(frame)
    events: list[Event] = []
    with contextlib.suppress(msgspec.DecodeError):
        reader = outbound.read_events()
        events = [*reader.read(frame), *reader.end()]
    write_for_every_caller(events)
    fold(events)
    for face in (outbound.sight_of_body, embeddings.read_embeddings, counting.read_count):
        with contextlib.suppress(UpstreamError):
            face(body)
    with contextlib.suppress(msgspec.DecodeError):
        write_for_every_caller(list(outbound.read_body(body)))


@given(requests)
@settings(max_examples=200, deadline=None)
@example({"contents": [{"parts": [{"text": "\ud800"}]}], "generationConfig": {"seed": 2**70}})
@example({"contents": [], "\ud800_a": 1, "\ud800A": 1})
def test_no_request_breaks_the_reader(body: Any) -> None:
    read(body)


@pytest.mark.long
@given(requests)
@settings(max_examples=10_000, deadline=None)
def test_no_request_breaks_the_reader_at_length(body: Any) -> None:
    read(body)


@given(answers | objects | values)
@settings(max_examples=200, deadline=None)
@example(
    {
        "candidates": [
            {
                "x": 2**70,
                "content": {
                    "parts": [
                        {"functionCall": {"name": "f", "args": {"a": 2**70}}},
                        {"text": "a", "thoughtSignature": 2**70},
                        {
                            "functionCall": {
                                "name": "f",
                                "partialArgs": [{"jsonPath": "$.a", "numberValue": 2**70}],
                            }
                        },
                    ]
                },
            }
        ]
    }
)
def test_no_answer_breaks_the_reader(answer: Any) -> None:
    take_in(json.dumps(answer).encode())


@pytest.mark.long
@given(answers | objects | values)
@settings(max_examples=10_000, deadline=None)
def test_no_answer_breaks_the_reader_at_length(answer: Any) -> None:
    take_in(json.dumps(answer).encode())


@given(st.binary(max_size=60))
@settings(max_examples=200)
@example(b'{"candidates":[{"content":{"parts":[{"text":"\\ud800"}]}}]}')
@example(b'{"candidates":[{"index":1e999,"finishReason":"STOP"}]}')
@example(b'{"error":{"code":429,"details":[{"retryDelay":"999999999999s"}]}}')
@example(b"[" * 5000)
def test_no_bytes_break_the_reader(body: bytes) -> None:
    take_in(body)


def _places(value: Any, path: str) -> list[tuple[str, Any]]:
    """Every leaf of a value, in the order of its text."""
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _places(inner, f"{path}.{name}")]
    if isinstance(value, list):
        return [
            leaf for place, inner in enumerate(value) for leaf in _places(inner, f"{path}[{place}]")
        ]
    return [(path, value)]


def _parts_of(path: str, value: Any, cut: int) -> list[dict[str, Any]]:
    if isinstance(value, str):
        first = {"jsonPath": path, "stringValue": value[:cut], "willContinue": True}
        return [first, {"jsonPath": path, "stringValue": value[cut:]}]
    if isinstance(value, bool):
        return [{"jsonPath": path, "boolValue": value}]
    if value is None:
        return [{"jsonPath": path, "nullValue": "NULL_VALUE"}]
    return [{"jsonPath": path, "numberValue": float(value)}]


@pytest.mark.parametrize("depth", [200, 500, 900])
@pytest.mark.parametrize("name", ["args", "response", "parameters", "responseSchema", "other"])
def test_depth_is_no_error_of_ours(name: str, depth: int) -> None:
    deep = json.loads('{"items":' * depth + "1" + "}" * depth)
    function = {"name": "f", name: deep}
    read({"contents": [{"parts": [{"functionCall": function}, {"functionResponse": function}]}]})
    read({"contents": [{"parts": [{"text": "a"}, {name: deep}]}], name: deep})
    tools = [{"functionDeclarations": [function]}]
    read({"contents": [{"parts": [{"text": "a"}]}], "tools": tools, "generationConfig": function})
    part = {"functionCall": function}
    take_in(json.dumps({"candidates": [{"content": {"parts": [part]}, name: deep}]}).encode())


names = st.text("abcXYZ_", min_size=1, max_size=4)
arguments = st.dictionaries(
    names,
    st.recursive(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
        | st.booleans()
        | st.none()
        | st.integers(-(2**50), 2**50),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(names, inner, min_size=1, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@given(arguments, st.integers(0, 6))
def test_arguments_in_parts_become_the_same_json(value: dict[str, Any], cut: int) -> None:
    growing = PartialArguments()
    pieces = [
        growing.add(part)
        for path, leaf in _places(value, "$")
        for part in _parts_of(path, leaf, cut)
    ]
    assert json.loads("".join(pieces) + growing.end()) == value


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "jsonPath": st.sampled_from(
                    [
                        "$.a",
                        "$.a.b",
                        "$.a[2]",
                        "$.a[0].b",
                        "$['x y']",
                        '$["z"][1]',
                        "$",
                        "$[0]",
                        "a",
                        "",
                    ]
                )
            },
            optional={"stringValue": st.text(max_size=3), "willContinue": st.booleans()},
        ),
        max_size=6,
    )
)
def test_parts_in_any_order_are_json(parts_: list[dict[str, Any]]) -> None:
    growing = PartialArguments()
    text = "".join(growing.add(part) for part in parts_) + growing.end()
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("given_", "name"),
    [("max_output_tokens", "maxOutputTokens"), ("topK", "topK"), ("_x", "_x"), ("a_1", "a1")],
)
def test_names_are_spelled_as_the_api_spells_them(given_: str, name: str) -> None:
    assert camel(given_) == name
