"""What counts as simple and as complex; docs/complexity.md says the same."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.complexity import COMPLEX_FROM, Question, classify, points

TRACE = 'Traceback (most recent call last):\n  File "a.py", line 3\nKeyError: 1'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hi!",
        "What is the capital of France?",
        'Translate "good morning" into German.',
        "Why is the sky blue?",
        "Compare A and B, and explain why one is faster.",
        "Was ist die Hauptstadt von Frankreich?",
        "法国的首都是哪里？",
        "Summarise this in one sentence: the meeting moved to Tuesday.",
        "Is P equal to NP?",
    ],
)
def test_everyday_questions_are_simple(text: str) -> None:
    assert classify(Question(text)) == "simple"


@pytest.mark.parametrize(
    "text",
    [
        f"Compare A and B, and explain why one is faster.\n{TRACE}",
        "Design a schema for a library. Justify each table. Evaluate the trade-offs.",
        "Prove that the algorithm terminates, derive its complexity and verify it step by step.",
        "Why does this fail?\n```python\nfor i in range(3): print(i)\n```",
        "Erklären Sie:\n- Ursache\n- Wirkung\n- Abhilfe\nWann? Wo? Wie lange? Was kostet es?",
        "请写一篇报告。" * 60 + "\n1. 原因\n2. 影响\n3. 对策",
        "Please read. " * 300,
    ],
)
def test_tasks_that_need_thought_are_complex(text: str) -> None:
    assert classify(Question(text)) == "complex"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question("Hi", wants_reasoning=True), 3),
        (Question("Hi", tools=1), 1),
        (Question("Hi", tools=4), 2),
        (Question("Hi", has_schema=True), 1),
        (Question("Hi", has_media=True), 2),
        (Question("Hi", turns=4), 1),
        (Question("Hi", turns=10), 2),
        (Question("Hi", context=8_000), 1),
        (Question("Hi", context=30_000), 2),
        (Question("x" * 299), 0),
        (Question("x" * 300), 1),
        (Question("x" * 1_000), 2),
        (Question("x" * 3_000), 3),
        (Question("字" * 100), 1),
        (Question("Why is the sky blue?"), 1),
        (Question("Compare A and B, and explain why one is faster."), 2),
        (Question("SELECT name FROM users"), 2),
        (Question("Solve x^2 = 4"), 2),
        (Question("Who? When?"), 1),
        (Question("1. a\n2. b\n3. c"), 1),
    ],
)
def test_each_sign_has_its_points(question: Question, expected: int) -> None:
    assert points(question) == expected


@given(st.text(max_size=300), st.integers(0, 50_000), st.integers(0, 20), st.integers(0, 9))
def test_the_same_question_always_gets_the_same_answer_and_more_is_never_simpler(
    text: str, context: int, turns: int, tools: int
) -> None:
    question = Question(text, context=context, turns=turns, tools=tools)
    assert points(question) == points(question)
    assert (classify(question) == "complex") is (points(question) >= COMPLEX_FROM)
    more = Question(text, context=context + 9_000, turns=turns + 3, tools=tools + 1, has_media=True)
    assert points(more) > points(question)


@pytest.mark.parametrize("text", ["Why? " * 40, "a" * 2_000_000, "(" * 50_000, "1 + " * 50_000])
def test_it_takes_microseconds_whatever_is_asked(text: str) -> None:
    question = Question(text)
    best = min(_timed(question) for _ in range(20))
    assert best < 0.002


def _timed(question: Question) -> float:
    started = time.perf_counter()
    classify(question)
    return time.perf_counter() - started
