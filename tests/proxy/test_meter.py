"""What is counted where nobody reports it: the same, however it came and however it was cut."""

import math

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import meter
from proxy.chat.events import (
    BlockStarted,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
)
from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from proxy.chat.usage import Usage, disjoint
from proxy.dialects.openai import outbound
from proxy.meter import MEDIA_TOKENS, MESSAGE_TOKENS, Delivered, count_request, count_text

# ---- text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \n\t", 0),
        ("Hello", 1),
        ("Hello, world!", 4),
        ("internationalisation", 3),
        ("1234567", 3),
        ("a1b2", 4),
        ("日本語", 3),
        ("🦁", 1),
        ("def f(x): return x", 8),
    ],
)
def test_a_text_is_counted_in_words_numbers_and_signs(text: str, tokens: int) -> None:
    assert count_text(text) == tokens


@given(st.text(), st.text())
def test_a_blank_between_texts_changes_no_count(one: str, other: str) -> None:
    assert count_text(f"{one} {other}") == count_text(one) + count_text(other)


@given(st.text())
def test_a_count_is_no_more_than_characters_and_no_less_than_an_eighth(text: str) -> None:
    visible = sum(1 for character in text if not character.isspace())
    assert math.ceil(visible / 8) <= count_text(text) <= visible


@given(st.binary())
def test_a_quick_count_is_a_quarter_of_the_bytes(body: bytes) -> None:
    assert (
        (meter.quick_count(body) - 1) * 4 < max(len(body), 1) <= max(meter.quick_count(body) * 4, 1)
    )


# ---- requests


def _request(*parts: Part, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    return ChatRequest(messages=(Message("user", parts),), tools=tools)


@pytest.mark.parametrize(
    ("parts", "tokens"),
    [
        ((), 0),
        ((Text(text="Hello, world!"),), 4),
        ((Text(text="Hello"), Text(text="world")), 2),
        ((Refusal(text="No."),), 2),
        ((Reasoning(text="Let me think"),), 3),
        ((Image(url="https://example.org/a.png"),), MEDIA_TOKENS),
        ((Audio(data="AAAA", format="wav"),), MEDIA_TOKENS),
        ((Document(data="AAAA", media_type="application/pdf"),), MEDIA_TOKENS),
        ((Document(text="plain words"),), 2),
        ((ToolCall(id="1", name="look", arguments='{"at":1}'),), 8),
        (
            (ToolResult(call_id="1", content=(Text(text="a b"), Image(data="AA"))),),
            2 + MEDIA_TOKENS,
        ),
    ],
)
def test_each_kind_of_content_is_counted(parts: tuple[Part, ...], tokens: int) -> None:
    assert count_request(_request(*parts)) == MESSAGE_TOKENS + tokens


def test_each_message_costs_some_and_tools_theirs() -> None:
    message = Message("user", (Text(text="a b c"),))
    assert count_request(ChatRequest(messages=(message,) * 3)) == 3 * (MESSAGE_TOKENS + 3)
    tool = Tool(name="look", description="Looks around", schema={"type": "object"})
    schema = len(orjson.dumps(tool.schema)) // 4
    assert count_request(_request(tools=(tool,))) == MESSAGE_TOKENS + 2 + schema


# ---- what was delivered

PIECES = st.lists(st.text(st.sampled_from("ab 12,é🦁\n"), max_size=12), max_size=12)


def _frame(text: str, field: str = "content") -> bytes:
    choice = {"index": 0, "delta": {field: text}}
    return b"data: " + orjson.dumps({"id": "1", "choices": [choice]}) + b"\n\n"


def _delivered() -> Delivered:
    return Delivered(outbound.read_events().read)


@given(PIECES, PIECES, st.integers(0, 3_000))
@settings(max_examples=100)
def test_a_stream_is_counted_as_the_text_that_it_adds_up_to(
    texts: list[str], thoughts: list[str], fold_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "FOLD_BYTES", fold_bytes)
        delivered = _delivered()
        for thought in thoughts:
            delivered.add(_frame(thought, "reasoning_content"))
        for text in texts:
            delivered.add(b": ping\n\n" + _frame(text))
        expected = Usage(
            7, output=count_text("".join(texts)), reasoning=count_text("".join(thoughts))
        )
        assert delivered.usage(input_tokens=7) == expected
        assert delivered.usage(input_tokens=7) == expected, "counting is not to count twice"


def test_a_token_that_two_deltas_share_is_one_token() -> None:
    delivered = _delivered()
    for piece in ("Hel", "lo"):
        delivered.add(_frame(piece))
    assert delivered.usage(input_tokens=0).output == 1


def test_choices_and_tool_calls_are_counted_each_for_itself() -> None:
    delivered = _delivered()
    events: list[Event] = [
        BlockStarted(0, "text"),
        BlockStarted(1, "tool_call", call_id="1", name="look"),
        TextDelta(0, "Hel"),
        ToolArgumentsDelta(1, '{"a":'),
        TextDelta(0, "lo"),
        ToolArgumentsDelta(1, "12}"),
        BlockStarted(2, "reasoning"),
        ReasoningDelta(2, "well"),
        Finished("stop"),
    ]
    for event in events:
        delivered.add_events([event])
    assert delivered.usage(input_tokens=3) == Usage(input=3, output=1 + 7, reasoning=1)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"data: <html>\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\n\n",
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": 7}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"function": "f"}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": [{"custom": 7, "index": []}]}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": 7, "reasoning": [], "refusal": {}}}]}\n\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": 1e300, "completion_tokens": "x"}}\n\n',
        b'data: {"choices": [], "usage": ' + b"[" * 5_000 + b"]" * 5_000 + b"}\n\n",
        b'data: {"choices": "none"}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_what_cannot_be_read_is_passed_over_and_costs_no_count(nonsense: bytes) -> None:
    delivered = _delivered()
    for frame in (_frame("Hello"), nonsense, _frame(", world!")):
        delivered.add(frame)
    assert delivered.usage(input_tokens=0).output == count_text("Hello, world!")


def test_frames_are_kept_until_they_are_counted() -> None:
    delivered = _delivered()
    delivered.add(_frame("a"))
    delivered.add(_frame("b"))
    assert delivered.frames() == _frame("a") + _frame("b")
    delivered.usage(input_tokens=0)
    assert delivered.frames() == b""


def test_memory_is_bounded_while_a_stream_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "FOLD_BYTES", 1_000)
    delivered = _delivered()
    for _ in range(1_000):
        delivered.add(_frame("word "))
        assert len(delivered.frames()) <= 1_000
    assert delivered.usage(input_tokens=0).output == 1_000


# ---- buckets

counts = st.integers(-10, 1_000)


@given(counts, counts, counts, counts, counts)
def test_buckets_are_disjoint_and_add_up_to_what_was_reported(
    total_input: int, cached: int, cache_write: int, total_output: int, reasoning: int
) -> None:
    usage = disjoint(
        total_input=total_input,
        cached=cached,
        cache_write=cache_write,
        total_output=total_output,
        reasoning=reasoning,
    )
    parts = (usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning)
    assert min(parts) >= 0
    assert usage.total_input == max(total_input, 0)
    assert usage.total_output == max(total_output, 0)
    assert usage.cached_input <= max(cached, 0)
    assert usage.cache_write <= max(cache_write, 0)
    assert usage.reasoning <= max(reasoning, 0)
    if cached >= 0 and cache_write >= 0 and cached + cache_write <= total_input:
        assert (usage.cached_input, usage.cache_write) == (cached, cache_write)
    if 0 <= reasoning <= total_output:
        assert usage.reasoning == reasoning
