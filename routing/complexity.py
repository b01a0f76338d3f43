"""Is a request simple or complex? Points for what can be seen at a glance; no model is asked.

Pure, deterministic, ten microseconds for a usual question and a third of a millisecond at worst: of
a long text only the beginning and the end are looked at. The rules, their points and what they
cannot see: docs/complexity.md. Structure, length, code and tools say the same in every language;
the words are English.
"""

import re
from dataclasses import dataclass

COMPLEX_FROM = 3
"""Points."""
LONG = 3_000
"""Characters of a question that is complex for its length alone."""
LOOKED_AT = 2_000
"""Characters of the question; of a longer one half of it from each end."""

_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
"""Scripts that say in one character what takes others about three."""

_CODE_SIGNS = ("```", "</", "=>", "()", ");", ";\n", "{\n", "Traceback (most", "#include")
_CODE_LINE = re.compile(
    r"^[ \t]{0,40}(?:(?:def|class|func|fn|function)[ ]\w{1,80}[ ]?[({:<]"
    r"|(?:const|let|var)[ ]\w{1,80}[ ]?="
    r"|from[ ][\w.]{1,80}[ ]import[ ]|import[ ][\w.]{1,80};?$"
    r"|SELECT[ ].{1,200}[ ]FROM[ ])",
    re.MULTILINE,
)
_MATHS_SIGNS = ("\\frac", "\\sum", "\\int", "\\sqrt", "^2")
_MATHS = re.compile(r"[∑∫√∂∀∃≤≥≠∞]|\b[a-z] ?[=^*/+] ?[-\d]|\d ?[*^] ?[a-z]\b")
# No repetition in these is unbounded: whoever writes the text must not set the time it takes.
_LISTED = re.compile(r"^[ \t]{0,8}(?:[-*•][ ]|\d{1,2}[.)、])[ ]{0,4}\S", re.MULTILINE)
_ASKED = re.compile(r"[?？؟]+")
_WORD = re.compile(r"[a-z]+")

REASONING_WORDS = frozenset(
    _WORD.findall(
        "algorithm analyse analyze argue assess calculate compare complexity contrast critique "
        "debug deduce derive design diagnose estimate evaluate explain forecast formalise "
        "formalize hypothesis implement infer investigate justify migrate model optimise optimize "
        "plan prioritise prioritize proof prove reason reconcile refactor simulate solve strategy "
        "synthesise synthesize theorem tradeoff tradeoffs troubleshoot verify why"
    )
)
REASONING_PHRASES = ("step by step", "trade-off", "root cause", "pros and cons", "in depth")


@dataclass(frozen=True, slots=True)
class Question:
    """What a request looks like. `text` is the last that the user said, `context` the characters of
    everything else, `turns` how often the user spoke."""

    text: str
    context: int = 0
    turns: int = 1
    tools: int = 0
    has_schema: bool = False
    has_media: bool = False
    wants_reasoning: bool = False


def _steps(number: int, *bounds: int) -> int:
    """How many of the bounds a number has reached."""
    return sum(number >= bound for bound in bounds)


def _length(text: str) -> int:
    """Characters, with those of dense scripts counted as three."""
    return len(text) if text.isascii() else len(text) + 2 * len(_WIDE.findall(text[:LONG]))


def _reasoning(text: str) -> int:
    lowered = text.lower()
    words = REASONING_WORDS.intersection(_WORD.findall(lowered))
    return len(words) + sum(phrase in lowered for phrase in REASONING_PHRASES)


def _of_text(text: str) -> int:
    """Points of the question itself."""
    points = _steps(_reasoning(text), 1, 2, 4)
    points += _steps(len(_ASKED.findall(text)), 2, 4)
    points += _steps(len(_LISTED.findall(text)), 3)
    points += 2 if _holds(text, _CODE_SIGNS, _CODE_LINE) else 0
    points += 1 if _holds(text, _MATHS_SIGNS, _MATHS) else 0
    return points


def _holds(text: str, signs: tuple[str, ...], pattern: re.Pattern[str]) -> bool:
    """Signs first: looking for a constant costs next to nothing."""
    return any(sign in text for sign in signs) or pattern.search(text) is not None


def _of_size(question: Question) -> int:
    """Points of everything but what the question says: seen without reading it."""
    return (
        _steps(_length(question.text), 300, 1_000, LONG)
        + _steps(question.context, 8_000, 30_000)
        + _steps(question.turns, 4, 10)
        + _steps(question.tools, 1, 4)
        + (1 if question.has_schema else 0)
        + (2 if question.has_media else 0)
        + (COMPLEX_FROM if question.wants_reasoning else 0)
    )


def points(question: Question) -> int:
    """What a request scores."""
    text = question.text
    if len(text) > LOOKED_AT:
        text = f"{text[: LOOKED_AT // 2]}\n{text[-LOOKED_AT // 2 :]}"
    return _of_size(question) + _of_text(text)


def classify(question: Question) -> str:
    """`simple` or `complex`. What is complex by its size alone is not read."""
    if _of_size(question) >= COMPLEX_FROM or points(question) >= COMPLEX_FROM:
        return "complex"
    return "simple"
