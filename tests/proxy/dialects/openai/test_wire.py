"""One table for both directions: these chunks are read as these events, and these events are
written as these chunks. Of what is written the official SDK makes the same answer."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.chat.events import (
    BlockEnded,
    BlockKind,
    BlockStarted,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    ResponseStarted,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from proxy.chat.fold import Answer, fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.openai import inbound, outbound
from proxy.framing.sse import SseFramer

Wire = dict[str, Any]

pytestmark = pytest.mark.once

START = Start("chatcmpl-ours", "pro", 7)
STARTED = ResponseStarted("chatcmpl-1", "gpt-4o", 1_700_000_000)
ASKED = ChatRequest(messages=(), stream=True, include_usage=True)
FRAME = SseFramer().feed


def _chunk(delta: Wire, finish: str | None = None, *, index: int = 0, **beside: Any) -> Wire:
    choice = {"index": index, "delta": delta, **beside, "finish_reason": finish}
    return {
        "id": STARTED.id,
        "object": "chat.completion.chunk",
        "created": STARTED.created,
        "model": STARTED.model,
        "choices": [choice],
    }


def _call(index: int, call_id: str, name: str, kind: str = "function") -> Wire:
    arguments = "input" if kind == "custom" else "arguments"
    return {"index": index, "id": call_id, "type": kind, kind: {"name": name, arguments: ""}}


def _piece(index: int, arguments: str) -> Wire:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


USAGE = {
    **_chunk({}),
    "choices": [],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 8,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 3},
    },
}

LOGPROBS = {"content": [{"token": "x", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}

TABLE: dict[str, tuple[list[Event], list[Wire]]] = {
    "text": (
        [
            BlockStarted(0, "text"),
            TextDelta(0, "Hel"),
            TextDelta(0, "lo\n\u2028"),
            BlockEnded(0),
            Finished("stop"),
        ],
        [
            _chunk({"role": "assistant", "content": "Hel"}),
            _chunk({"content": "lo\n\u2028"}),
            _chunk({}, "stop"),
        ],
    ),
    "nothing but an end": ([Finished("length")], [_chunk({"role": "assistant"}, "length")]),
    "reasoning, then text": (
        [
            BlockStarted(0, "reasoning"),
            ReasoningDelta(0, "hm"),
            BlockStarted(1, "text"),
            TextDelta(1, "yes"),
            BlockEnded(0),
            BlockEnded(1),
            Finished("stop"),
        ],
        [
            _chunk({"role": "assistant", "reasoning_content": "hm"}),
            _chunk({"content": "yes"}),
            _chunk({}, "stop"),
        ],
    ),
    "a refusal": (
        [
            BlockStarted(0, "refusal"),
            TextDelta(0, "I can"),
            TextDelta(0, "not."),
            BlockEnded(0),
            Finished("stop"),
        ],
        [
            _chunk({"role": "assistant", "refusal": "I can"}),
            _chunk({"refusal": "not."}),
            _chunk({}, "stop"),
        ],
    ),
    "two calls that interleave": (
        [
            BlockStarted(0, "tool_call", call_id="a", name="look"),
            ToolArgumentsDelta(0, '{"at":'),
            BlockStarted(1, "tool_call", call_id="b", name="go"),
            ToolArgumentsDelta(1, "{}"),
            ToolArgumentsDelta(0, "1}"),
            BlockEnded(0),
            BlockEnded(1),
            Finished("tool_calls"),
        ],
        [
            _chunk({"role": "assistant", "tool_calls": [_call(0, "a", "look")]}),
            _chunk(_piece(0, '{"at":')),
            _chunk({"tool_calls": [_call(1, "b", "go")]}),
            _chunk(_piece(1, "{}")),
            _chunk(_piece(0, "1}")),
            _chunk({}, "tool_calls"),
        ],
    ),
    "a call of a custom tool": (
        [
            BlockStarted(
                0, "tool_call", call_id="a", name="sum", extras={"openai": {"type": "custom"}}
            ),
            ToolArgumentsDelta(0, "4 + 4"),
            BlockEnded(0),
            Finished("tool_calls"),
        ],
        [
            _chunk({"role": "assistant", "tool_calls": [_call(0, "a", "sum", "custom")]}),
            _chunk({"tool_calls": [{"index": 0, "custom": {"input": "4 + 4"}}]}),
            _chunk({}, "tool_calls"),
        ],
    ),
    "two choices that interleave": (
        [
            BlockStarted(0, "text", 1),
            TextDelta(0, "two"),
            BlockStarted(1, "text", 0),
            TextDelta(1, "one"),
            BlockEnded(0),
            Finished("length", 1),
            TextDelta(1, "!"),
            BlockEnded(1),
            Finished("content_filter", 0),
        ],
        [
            _chunk({"role": "assistant", "content": "two"}, index=1),
            _chunk({"role": "assistant", "content": "one"}),
            _chunk({}, "length", index=1),
            _chunk({"content": "!"}),
            _chunk({}, "content_filter"),
        ],
    ),
    "a reason of its own": (
        [
            BlockStarted(0, "text"),
            TextDelta(0, "x"),
            BlockEnded(0),
            Finished("stop", extras={"openai": {"finish_reason": "eos"}}),
        ],
        [_chunk({"role": "assistant", "content": "x"}), _chunk({}, "eos")],
    ),
    "log probabilities": (
        [
            BlockStarted(0, "text"),
            TextDelta(0, "x", {"logprobs": LOGPROBS}),
            BlockEnded(0),
            Finished("stop"),
        ],
        [
            _chunk(
                {"role": "assistant", "content": "x"},
                logprobs=LOGPROBS,
            ),
            _chunk({}, "stop"),
        ],
    ),
    "usage at the end": (
        [Finished("stop"), UsageReported(Usage(7, 5, 0, 5, 3))],
        [_chunk({"role": "assistant"}, "stop"), USAGE],
    ),
}


def _write(events: list[Event]) -> bytes:
    writer = inbound.stream_writer(ASKED, START)
    return b"".join(writer.write(event) for event in events) + writer.end()


def _frames(chunks: list[Wire]) -> list[bytes]:
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]


def _read(frames: list[bytes]) -> list[Event]:
    reader = outbound.read_events()
    return [*(event for frame in frames for event in reader.read(frame)), *reader.end()]


def _parsed(stream: bytes) -> list[Wire]:
    frames = SseFramer().feed(stream)
    assert frames.pop() == b"data: [DONE]\n\n"
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


@pytest.mark.parametrize(("events", "chunks"), TABLE.values(), ids=TABLE)
def test_chunks_are_read_as_events(events: list[Event], chunks: list[Wire]) -> None:
    assert _read(_frames(chunks)) == [STARTED, *events]


@pytest.mark.parametrize(("events", "chunks"), TABLE.values(), ids=TABLE)
def test_events_are_written_as_chunks(events: list[Event], chunks: list[Wire]) -> None:
    assert _parsed(_write([STARTED, *events])) == chunks


NOT_IN_THE_SDK = {"a call of a custom tool", "a reason of its own"}


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOT_IN_THE_SDK])
def test_what_is_written_is_what_the_sdk_knows(name: str) -> None:
    events, _ = TABLE[name]
    for chunk in _parsed(_write([STARTED, *events])):
        ChatCompletionChunk.model_validate(chunk)
    body = json.loads(inbound.write_body([STARTED, *events], ASKED, START))
    ChatCompletion.model_validate(body)


def test_an_answer_without_a_name_gets_ours() -> None:
    [chunk] = _parsed(_write([ResponseStarted("", ""), Finished("stop")]))
    assert (chunk["id"], chunk["model"], chunk["created"]) == (START.id, START.model, START.created)
    body = json.loads(inbound.write_body([ResponseStarted("", "")], ASKED, START))
    assert (body["id"], body["model"], body["created"]) == (START.id, START.model, START.created)


# ---- random answers

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NAME = st.from_regex(r"[a-z_]{1,10}", fullmatch=True)
REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "error": "stop",
}
"""As the wire says them."""
KINDS: list[BlockKind] = ["reasoning", "text", "refusal", "tool_call", "tool_call"]


def _delta(kind: BlockKind, block: int, text: str) -> Event:
    if kind == "tool_call":
        return ToolArgumentsDelta(block, text)
    return ReasoningDelta(block, text) if kind == "reasoning" else TextDelta(block, text)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Some choices, each with some blocks, whose deltas interleave in any way."""
    events: list[Event] = []
    tracks: list[list[Event]] = []
    block = 0
    choices = range(draw(st.integers(1, 2)))
    for choice in choices:
        for kind in draw(st.permutations(KINDS)):
            pieces = draw(st.lists(TEXT, max_size=3))
            if not pieces and kind != "tool_call":
                continue
            named = {"call_id": f"c{block}", "name": draw(NAME)} if kind == "tool_call" else {}
            tracks.append(
                [
                    BlockStarted(block, kind, choice, **named),
                    *(_delta(kind, block, piece) for piece in pieces),
                    BlockEnded(block),
                ]
            )
            block += 1
    while tracks:
        track = draw(st.sampled_from(tracks))
        events.append(track.pop(0))
        if not track:
            tracks.remove(track)
    reasons: list[FinishReason] = list(REASONS)
    events += [Finished(draw(st.sampled_from(reasons)), choice) for choice in choices]
    if draw(st.booleans()):
        events.append(UsageReported(Usage(*draw(st.tuples(*[st.integers(0, 10**6)] * 5)))))
    return [STARTED, *events]


def _essence(answer: Answer) -> Any:
    """What an answer says: per choice, text by kind and calls in order."""
    said = {}
    for choice, finish in sorted(answer.finishes.items()):
        blocks = [block for block in answer.blocks if block.choice == choice]
        calls = [(b.call_id, b.name, b.text or "{}") for b in blocks if b.kind == "tool_call"]
        texts = {
            kind: "".join(block.text for block in blocks if block.kind == kind)
            for kind in ("text", "reasoning", "refusal")
        }
        wire = REASONS[finish.reason]
        said[choice] = (texts, calls, "tool_calls" if calls and wire == "stop" else wire)
    usage = answer.usage
    counts = usage and (usage.total_input, usage.cached_input, usage.output, usage.reasoning)
    return answer.id, answer.model, answer.created, said, counts


def _by_sdk(stream: bytes) -> Any:
    """The same, as the official SDK adds the chunks up."""
    state = ChatCompletionStreamState()
    for chunk in _parsed(stream):
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    return _of_completion(state.current_completion_snapshot)


def _in_order(stream: bytes) -> bool:
    """Whether the choices begin one after another: the SDK cannot add up others."""
    begun = [choice["index"] for chunk in _parsed(stream) for choice in chunk["choices"]]
    return list(dict.fromkeys(begun)) == sorted(set(begun))


def _of_completion(completion: Any) -> Any:
    said = {}
    for choice in sorted(completion.choices, key=lambda choice: choice.index):
        message = choice.message
        calls = [
            (call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or []
        ]
        texts = {
            "text": message.content or "",
            "reasoning": getattr(message, "reasoning_content", None) or "",
            "refusal": message.refusal or "",
        }
        reason = choice.finish_reason
        said[choice.index] = (texts, calls, "tool_calls" if calls and reason == "stop" else reason)
    usage = completion.usage
    counts = usage and (
        usage.prompt_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens - usage.completion_tokens_details.reasoning_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )
    return completion.id, completion.model, completion.created, said, counts


def _check(events: list[Event]) -> None:
    expected = _essence(fold(events))
    stream = _write(events)
    assert _essence(fold(_read(SseFramer().feed(stream)))) == expected
    if _in_order(stream):
        assert _by_sdk(stream) == expected
    body = inbound.write_body(events, ASKED, START)
    read, sdk = fold(outbound.read_body(body)), ChatCompletion.model_validate(json.loads(body))
    if expected[-1] is None:  # a whole answer always has counts
        assert read.usage == Usage()
        expected = (*expected[:-1], (0, 0, 0, 0))
    assert _essence(read) == expected
    assert _of_completion(sdk) == expected


@given(answers())
@settings(max_examples=200, deadline=None)
def test_an_answer_that_is_written_and_read_again_says_the_same(events: list[Event]) -> None:
    _check(events)


@pytest.mark.long
@given(answers())
@settings(max_examples=10_000, deadline=None)
def test_any_answer_says_the_same(events: list[Event]) -> None:
    _check(events)
