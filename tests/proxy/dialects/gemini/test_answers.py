"""What callers get, judged by Google's own SDK."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.fold import Answer, Block, fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects import OUTBOUND
from proxy.dialects.faces import Start
from proxy.dialects.gemini import inbound, outbound
from proxy.dialects.gemini.carried import opened
from proxy.dialects.gemini.reader import read_body
from proxy.dialects.gemini.stream import ArrayFrames
from proxy.errors import GatewayError, InvalidRequest, Overloaded, Unauthenticated
from tests.proxy.dialects.gemini import recorded
from tests.proxy.dialects.gemini.recorded import Exchange
from tests.proxy.recorded import byte_by_byte
from tests.proxy.recorded import whole as whole_chunk

ASKED = ChatRequest(messages=())
START = Start(id="id", model="pro", created=1)
_OURS = {
    "openai-chat": "openai",
    "openai-responses": "responses",
    "anthropic-messages": "anthropic",
    "gemini": "gemini",
    "mistral-chat": "mistral",
    "ollama-native": "ollama",
}
_CHATS = ("chat", "messages", "responses", "generateContent", "streamGenerateContent")


class _Transport(httpx.BaseTransport):
    """Answers whatever the SDK asks; making a client of it for each answer would take its time."""

    answer = httpx.Response(404)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.answer


_transport = _Transport()
_client = genai.Client(
    api_key="k",
    http_options=types.HttpOptions(
        base_url="http://gateway.invalid",
        api_version="v1beta",
        httpx_client=httpx.Client(transport=_transport),
    ),
)


def client(body: bytes, kind: str = "text/event-stream", status: int = 200) -> genai.Client:
    """The SDK, and an answer that it gets."""
    _transport.answer = httpx.Response(status, headers={"content-type": kind}, content=body)
    return _client


def streamed(events: list[Event]) -> bytes:
    writer = inbound.stream_writer(ASKED, START)
    return b"".join(writer.write(event) for event in events) + writer.end()


def as_array(events: list[Event]) -> bytes:
    array = ArrayFrames()
    return array.take(streamed(events)) + array.end()


def whole(events: list[Event]) -> bytes:
    return inbound.write_body(events, ASKED, START)


def read_stream(body: bytes) -> list[types.GenerateContentResponse]:
    return list(client(body).models.generate_content_stream(model="pro", contents="?"))


def read_whole(body: bytes) -> types.GenerateContentResponse:
    return client(body, "application/json").models.generate_content(model="pro", contents="?")


def summary(answers: list[types.GenerateContentResponse]) -> dict[str, Any]:
    """What the SDK sees in the first candidate, and the usage."""
    seen: dict[str, Any] = {"text": "", "reasoning": "", "calls": [], "finish": None, "usage": None}
    for answer in answers:
        for candidate in answer.candidates or []:
            if candidate.index:
                continue
            for part in (candidate.content and candidate.content.parts) or []:
                if part.function_call:
                    seen["calls"].append((part.function_call.name, part.function_call.args or {}))
                elif part.text:
                    seen["reasoning" if part.thought else "text"] += part.text
            seen["finish"] = candidate.finish_reason or seen["finish"]
        if answer.usage_metadata:
            seen["usage"] = _buckets(answer.usage_metadata)
    return seen


def _buckets(report: types.GenerateContentResponseUsageMetadata) -> Usage:
    total = (report.prompt_token_count or 0) + (report.tool_use_prompt_token_count or 0)
    cached = report.cached_content_token_count or 0
    return Usage(
        input=total - cached,
        cached_input=cached,
        output=report.candidates_token_count or 0,
        reasoning=report.thoughts_token_count or 0,
    )


def expected(answer: Answer, *, streams: bool) -> dict[str, Any]:
    calls = [block for block in answer.blocks if block.kind == "tool_call" and not block.choice]
    usage = answer.usage
    if usage is None:
        counted = None if streams else Usage()
    else:  # the wire has no bucket of its own for what was written to a cache
        counted = Usage(
            input=usage.input + usage.cache_write,
            cached_input=usage.cached_input,
            output=usage.output,
            reasoning=usage.reasoning,
        )
    return {
        "text": recorded.said(answer, "text") + recorded.said(answer, "refusal"),
        "reasoning": recorded.said(answer, "reasoning"),
        "calls": [(call.name, _arguments(call)) for call in calls if _arguments(call) is not None],
        "finish": _finish(answer, bool([call for call in calls if _arguments(call) is None])),
        "usage": counted,
    }


def _arguments(call: Any) -> Any:
    if call.extras.get("openai", {}).get("type") == "custom":
        return {"input": call.text}
    try:
        arguments = json.loads(call.text or "{}")
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None


_FINISHES = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "error": "OTHER",
}


def _finish(answer: Answer, broke_a_call: bool) -> str | None:
    if 0 not in answer.finishes:
        return None
    finish = answer.finishes[0]
    own = finish.extras.get("gemini", {}).get("finishReason")
    name: str = own or _FINISHES[finish.reason]
    return "MALFORMED_FUNCTION_CALL" if broke_a_call and name == "STOP" else name


_DISAGREED = {"anthropic-msg-s-3314e949"}
"""A stream in which two blocks have one number: no reading of it is right."""


def _is_chat(exchange: Exchange) -> bool:
    return (
        exchange["id"] not in _DISAGREED
        and _OURS.get(exchange["dialect"]) in OUTBOUND
        and exchange["endpoint"] in _CHATS
        and exchange["response_status"] == 200
        and exchange["response_body"] != ""
    )


def _events(exchange: Exchange) -> list[Event]:
    return recorded.events_of(exchange, OUTBOUND[_OURS[exchange["dialect"]]])


def _fails(events: list[Event]) -> bool:
    """Whether the provider failed in the middle; if so, the SDK must raise it."""
    places = [place for place, event in enumerate(events) if isinstance(event, Failed)]
    if places:
        writer = inbound.stream_writer(ASKED, START)
        sent = b"".join(writer.write(event) for event in events[: places[0]])
        with pytest.raises(errors.ServerError, match="UNAVAILABLE"):
            read_stream(sent + inbound.write_stream_error(Overloaded("gone"), "r"))
    return bool(places)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("exchange", recorded.params(_is_chat))
def test_the_answer_of_any_provider_reads_as_one_of_gemini(exchange: Exchange) -> None:
    events = _events(exchange)
    if _fails(events):
        return
    answer = fold(events)
    if exchange["response_framing"] == "json":
        assert summary([read_whole(whole(events))]) == expected(answer, streams=False)
    else:
        assert summary(read_stream(streamed(events))) == expected(answer, streams=True)
    again = b"".join(
        b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in json.loads(as_array(events))
    )
    assert summary(read_stream(again)) == expected(answer, streams=True)


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("exchange", recorded.params(recorded.answers))
def test_an_answer_of_gemini_comes_out_as_it_went_in(exchange: Exchange) -> None:
    """Signatures, grounding, code and ratings too: written and read again, it says the same."""
    answer = fold(recorded.events_of(exchange))
    answer.id = answer.id or START.id
    assert fold(read_body(as_array(recorded.events_of(exchange)))) == answer


def test_a_frame_ends_in_crlf_and_names_its_model() -> None:
    writer = inbound.stream_writer(ASKED, START)
    assert writer.write(ResponseStarted("r1", "m1")) == b""
    assert writer.write(BlockStarted(0, "text")) == b""
    assert writer.write(TextDelta(0, "Hé")) == (
        'data: {"candidates":[{"content":{"parts":[{"text":"Hé"}],"role":"model"},"index":0}],'
        '"modelVersion":"m1","responseId":"r1"}\r\n\r\n'.encode()
    )


def test_an_array_is_open_until_its_end() -> None:
    array = ArrayFrames()
    first, second = array.take(b'data: {"a": 1}\n\n'), array.take(b'data: {"b": 2}\n\n')
    assert (first, second, array.end()) == (b'[{"a": 1}', b',\r\n{"b": 2}', b"]")
    assert array.content_type.startswith("application/json")


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("cut", [whole_chunk, byte_by_byte], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("exchange", recorded.params(recorded.flows))
def test_frames_of_gemini_are_the_elements_of_an_array(
    exchange: Exchange, cut: Callable[[bytes], list[bytes]]
) -> None:
    body = recorded.body_of(exchange)
    array = ArrayFrames()
    passed = b"".join(array.take(chunk) for chunk in cut(body)) + array.end()
    frames = recorded.framed(outbound, [body])
    assert json.loads(passed) == [json.loads(frame.partition(b"data:")[2]) for frame in frames]


def test_an_error_is_the_last_element_of_an_array() -> None:
    array = ArrayFrames()
    assert json.loads(ArrayFrames().end()) == []
    event = inbound.write_stream_error(Overloaded("full"), "r")
    sent = array.take(b'data: {"a": 1}\n\n') + array.take(event) + array.end()
    assert [*json.loads(sent)[1]] == ["error"]


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (InvalidRequest("no", param="contents"), errors.ClientError, "INVALID_ARGUMENT"),
        (Unauthenticated("unknown"), errors.ClientError, "UNAUTHENTICATED"),
        (Overloaded("full", retry_after=2.5), errors.ServerError, "UNAVAILABLE"),
    ],
)
def test_errors_are_the_sdk_s_own(
    error: GatewayError, kind: type[errors.APIError], status: str
) -> None:
    for body, code in (
        (inbound.write_error(error, "r1"), error.status),
        (inbound.write_stream_error(error, "r1"), 200),
    ):
        asking = client(body, "application/json" if code != 200 else "text/event-stream", code)
        with pytest.raises(kind) as raised:
            list(asking.models.generate_content_stream(model="pro", contents="?"))
        assert (raised.value.code, raised.value.status) == (error.status, status)
        assert raised.value.message == error.message
        details = {detail["@type"]: detail for detail in raised.value.details["error"]["details"]}
        told = {name.rpartition(".")[2]: detail for name, detail in details.items()}
        assert told["ErrorInfo"]["metadata"] == {"code": error.code}
        assert told["RequestInfo"]["requestId"] == "r1"
        assert ("BadRequest" in told) == (error.param is not None)
        assert ("RetryInfo" in told) == (error.retry_after is not None)


def test_an_error_that_we_write_is_read_as_it_was() -> None:
    error = Overloaded("full", param="model", retry_after=2.5)
    read = outbound.read_error(503, inbound.write_error(error, "r1"), retry_after=None)
    assert (read.kind, read.message, read.param, read.retry_after) == (
        "overloaded",
        "full",
        "model",
        2.5,
    )


def test_a_call_that_was_cut_off_is_told_not_made() -> None:
    events: list[Event] = [
        BlockStarted(0, "tool_call", call_id="c", name="pay"),
        ToolArgumentsDelta(0, '{"amount": 1'),
        BlockEnded(0),
        Finished("tool_calls"),
    ]
    for answer in (*read_stream(streamed(events)), read_whole(whole(events))):
        [candidate] = answer.candidates or []
        assert candidate.finish_reason == "MALFORMED_FUNCTION_CALL"
        assert not answer.function_calls
    [told] = json.loads(whole(events))["candidates"]
    assert told["finishMessage"] == 'The arguments of pay are no object: {"amount": 1'


def test_a_blocked_prompt_says_so() -> None:
    frame = b'data: {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"}\r\n\r\n'
    assert outbound.watch().sight(frame).finished
    events = list(outbound.read_events().read(frame))
    [finished] = [event for event in events if isinstance(event, Finished)]
    assert finished.reason == "content_filter"
    [answer] = read_stream(streamed(events))
    assert answer.prompt_feedback is not None
    assert answer.prompt_feedback.block_reason == "SAFETY"


def test_what_stands_beside_the_content_is_told_at_the_end() -> None:
    def frame(text: str, **aside: Any) -> bytes:
        candidate = {"content": {"parts": [{"text": text}]}, **aside}
        return b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\r\n\r\n"

    def chose(token: str) -> dict[str, Any]:
        return {"chosenCandidates": [{"token": token, "logProbability": -1.0}]}

    reader = outbound.read_events()
    grounding = {"groundingChunks": [{"web": {"uri": "https://a"}}]}
    frames = [
        frame("a", logprobsResult=chose("a"), groundingMetadata={}),
        frame("b", logprobsResult=chose("b"), groundingMetadata=grounding, finishReason="STOP"),
    ]
    answer = fold([event for one in frames for event in reader.read(one)])
    asides = answer.finishes[0].extras["gemini"]
    assert asides["groundingMetadata"] == grounding
    assert [one["token"] for one in asides["logprobsResult"]["chosenCandidates"]] == ["a", "b"]
    entries = answer.blocks[0].extras["logprobs"]["content"]
    assert [(entry["token"], entry["logprob"]) for entry in entries] == [("a", -1.0), ("b", -1.0)]


def test_log_probabilities_of_others_stand_where_gemini_has_them() -> None:
    entry = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]}
    events: list[Event] = [
        BlockStarted(0, "text"),
        TextDelta(0, "a", {"logprobs": {"content": [entry]}}),
        BlockEnded(0),
        Finished("stop"),
    ]
    for body in (json.loads(whole(events)), json.loads(as_array(events))[-1]):
        assert body["candidates"][0]["logprobsResult"] == {
            "chosenCandidates": [{"token": "a", "logProbability": -1.0}],
            "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2.0}]}],
        }


def test_the_list_of_models_is_one_for_the_sdk() -> None:
    listed = client(inbound.write_models([("pro", "The best")]), "application/json").models.list()
    assert [(model.name, model.description) for model in listed] == [("models/pro", "The best")]
    model = client(inbound.write_model("pro", ""), "application/json").models.get(model="pro")
    assert (model.name, model.display_name) == ("models/pro", "pro")


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
signatures = st.text("abc=", max_size=4)


@st.composite
def blocks(draw: st.DrawFn, number: int, choice: int) -> list[Event]:
    """The events of one block."""
    kind = draw(st.sampled_from(["text", "reasoning", "tool_call", "refusal", "other"]))
    if kind == "other":
        part = {"executableCode": {"code": draw(texts)}}
        return [BlockStarted(number, "other", choice, extras={"gemini": part}), BlockEnded(number)]
    if kind == "tool_call":
        arguments = json.dumps(draw(st.dictionaries(texts, texts, max_size=3)))
        cut = draw(st.integers(0, len(arguments)))
        return [
            BlockStarted(number, "tool_call", choice, call_id=f"c{number}", name="f"),
            ToolArgumentsDelta(number, arguments[:cut]),
            ToolArgumentsDelta(number, arguments[cut:]),
            BlockEnded(number),
        ]
    pieces = draw(st.lists(texts, min_size=1, max_size=3))
    deltas: list[Event] = [TextDelta(number, text) for text in pieces]
    if kind == "reasoning":
        deltas = [ReasoningDelta(number, text) for text in pieces]
        deltas.append(ReasoningDelta(number, signature=draw(signatures)))
    return [BlockStarted(number, kind, choice), *deltas, BlockEnded(number)]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = [ResponseStarted("r", "m")]
    number = 0
    choices = draw(st.integers(1, 2))
    for choice in range(choices):
        for _ in range(draw(st.integers(0, 4))):
            events += draw(blocks(number, choice))
            number += 1
    count = st.integers(0, 1000)
    events.append(UsageReported(Usage(draw(count), draw(count), 0, draw(count), draw(count))))
    reasons = st.sampled_from(list(_FINISHES))
    return [*events, *(Finished(draw(reasons), choice) for choice in range(choices))]


def _signature(block: Block) -> str:
    """One of another provider comes out of ours again."""
    carried = opened(block.extras.get("gemini", {}).get("thoughtSignature", ""))
    return carried[0] if carried else ""


def _told(answer: Answer) -> Any:
    """What survives: pieces of one kind that follow each other, by choice."""
    told: dict[int, list[list[str]]] = {index: [] for index in answer.finishes}
    for block in answer.blocks:
        kind = "text" if block.kind == "refusal" else block.kind
        of_choice = told[block.choice]
        if kind == "tool_call":
            of_choice.append(["call", block.name, json.loads(block.text)])
            continue
        if kind == "other":
            of_choice.append(["other", json.dumps(block.extras)])
            continue
        signature = block.signature or _signature(block)
        if of_choice and of_choice[-1][0] == kind:
            of_choice[-1][1] += block.text
            of_choice[-1][2] = signature or of_choice[-1][2]
        elif block.text or signature:
            of_choice.append([kind, block.text, signature])
    ends = {index: _FINISHES[end.reason] for index, end in answer.finishes.items()}
    return told, ends, answer.usage, answer.id, answer.model


@given(streams())
def test_any_stream_survives_being_written_and_read(events: list[Event]) -> None:
    reader = outbound.read_events()
    frames = recorded.framed(outbound, [streamed(events)])
    read = [event for frame in frames for event in reader.read(frame)]
    assert _told(fold([*read, *reader.end()])) == _told(fold(events))
    assert _told(fold(read_body(as_array(events)))) == _told(fold(events))
    assert _told(fold(read_body(whole(events)))) == _told(fold(events))
