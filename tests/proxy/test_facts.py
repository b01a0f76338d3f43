"""What is found in a request for routes to ask about."""

import pytest

from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    ReasoningRequest,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolResult,
)
from proxy.facts import contents_of, question_of


def _said(*parts: Part, role: Role = "user") -> Message:
    return Message(role=role, parts=parts)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ChatRequest(messages=(_said(Text(text="Hi")),)), set()),
        (ChatRequest(messages=(_said(Image(url="https://a")),)), {"images"}),
        (ChatRequest(messages=(_said(Audio(data="x", format="wav")),)), {"audio"}),
        (ChatRequest(messages=(_said(Document(file_id="f")),)), {"documents"}),
        (
            ChatRequest(
                messages=(_said(ToolResult(call_id="c", content=(Image(data="x"),)), role="tool"),)
            ),
            {"images"},
        ),
        (ChatRequest(messages=(), tools=(Tool(name="t"),)), {"tools"}),
        (ChatRequest(messages=(), response_format=ResponseFormat("json_schema")), {"json_schema"}),
        (ChatRequest(messages=(), response_format=ResponseFormat("json")), set()),
    ],
)
def test_what_a_request_contains(request_: ChatRequest, expected: set[str]) -> None:
    assert contents_of(request_) == expected


def test_the_question_is_the_last_that_the_user_said() -> None:
    request = ChatRequest(
        messages=(
            _said(Text(text="Be brief."), role="system"),
            _said(Text(text="Hello")),
            _said(Text(text="Hi!"), role="assistant"),
            _said(Text(text="Why"), Image(url="https://a"), Text(text="so?")),
            _said(Text(text="Well…"), role="assistant"),
        ),
        tools=(Tool(name="a"), Tool(name="b")),
        response_format=ResponseFormat("json_schema"),
    )
    question = question_of(request)
    assert (question.text, question.turns, question.tools) == ("Why\nso?", 2, 2)
    assert question.context == len("Be brief.HelloHi!Well…")
    assert (question.has_schema, question.has_media) == (True, True)


def test_a_request_without_a_user_asks_nothing() -> None:
    question = question_of(ChatRequest(messages=(_said(Text(text="Hi"), role="system"),)))
    assert (question.text, question.turns, question.context) == ("", 0, 2)


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (None, False),
        (ReasoningRequest(), False),
        (ReasoningRequest(effort="low"), False),
        (ReasoningRequest(effort="high"), True),
        (ReasoningRequest(budget_tokens=2048), True),
        (ReasoningRequest(budget_tokens=0), False),
        (ReasoningRequest(enabled=True), True),
        (ReasoningRequest(enabled=True, effort="low"), False),
        (ReasoningRequest(enabled=False), False),
    ],
)
def test_who_asks_for_reasoning_wants_it(
    reasoning: ReasoningRequest | None, expected: bool
) -> None:
    assert question_of(ChatRequest(messages=(), reasoning=reasoning)).wants_reasoning is expected
