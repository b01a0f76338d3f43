"""A caller's own body with fewer output tokens in it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.body import parse_json
from proxy.dialects.capping import capped

USER = {"role": "user", "content": "Hi"}
BLANKS = b'{ "model" : "m",\n "messages":[ {"role":"user" , "content":"max \xe2\x80\xa8 \\n"} ]\t}'
ITEMS = {"responses": "input", "gemini": "contents"}


def cap(raw: bytes, dialect: str, *, model: str = "gpt-4o", limit: int = 50) -> dict[str, Any]:
    """The capped body, in which no key stands twice."""
    return parse_json(capped(raw, dialect=dialect, model=model, limit=limit))


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def raw(**fields: Any) -> bytes:
    return json.dumps(body(**fields)).encode()


# ---- chat completions


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("llama-3", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
    ],
)
def test_a_request_without_a_limit_gets_the_models_own_field(model: str, field: str) -> None:
    assert cap(raw(), "openai", model=model) == body(**{field: 50})


def test_where_the_limit_can_be_spliced_every_other_byte_stays() -> None:
    assert capped(BLANKS, dialect="openai", model="gpt-4o", limit=50) == (
        b'{"max_tokens":50,' + BLANKS[1:]
    )
    assert capped(BLANKS, dialect="responses", model="gpt-4o", limit=50) == (
        b'{"max_output_tokens":50,' + BLANKS[1:]
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 900}, {"max_tokens": 50}),
        ({"max_completion_tokens": 900}, {"max_completion_tokens": 50}),
        (
            {"max_tokens": 900, "max_completion_tokens": 700},
            {"max_tokens": 50, "max_completion_tokens": 50},
        ),
        (
            {"max_tokens": None, "max_completion_tokens": 900},
            {"max_tokens": None, "max_completion_tokens": 50},
        ),
    ],
)
def test_the_callers_own_limit_is_replaced_where_it_stands(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert cap(raw(**given), "openai") == body(**expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": None},
        {"tools": [{"function": {"parameters": {"max_tokens": {"type": "integer"}}}}]},
        {"metadata": {"max_completion_tokens": "7"}},
    ],
)
@pytest.mark.parametrize(
    ("model", "field"), [("llama-3", "max_tokens"), ("o3", "max_completion_tokens")]
)
def test_a_limit_that_is_none_does_not_change_which_field_the_model_understands(
    fields: dict[str, Any], model: str, field: str
) -> None:
    """Servers that only resemble the provider know `max_tokens` alone."""
    assert cap(raw(**fields), "openai", model=model) == body(**{**fields, field: 50})


def test_a_limit_whose_name_is_written_with_escapes_is_found() -> None:
    hidden = raw(max_tokens=900).replace(b"max_tokens", b"max\\u005ftokens")
    assert cap(hidden, "openai") == body(max_tokens=50)
    both = hidden.replace(b"{", b'{"max_completion_tokens":800,', 1)
    assert cap(both, "openai") == body(max_completion_tokens=50, max_tokens=50)


def test_escapes_elsewhere_cost_no_limit() -> None:
    assert cap(raw().replace(b"Hi", b"H\\u0069"), "openai") == body(max_tokens=50)


# ---- responses


def test_a_response_is_held_to_its_limit() -> None:
    asked = json.dumps({"model": "m", "input": "Hi"}).encode()
    expected = {"model": "m", "input": "Hi", "max_output_tokens": 50}
    assert cap(asked, "responses") == expected
    own = json.dumps({**expected, "max_output_tokens": 900}).encode()
    assert cap(own, "responses") == expected
    hidden = own.replace(b"max_output", b"m\\u0061x_output")
    assert cap(hidden, "responses") == expected
    assert cap(own.replace(b"900", b"null"), "responses") == expected


# ---- messages


def test_a_message_is_held_to_its_limit() -> None:
    plain = raw(max_tokens=900)
    for asked in (plain, plain.replace(b"max_t", b"m\\u0061x_t")):
        assert cap(asked, "anthropic") == body(max_tokens=50)


@pytest.mark.parametrize(
    ("thinking", "limit", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 4_000}, 5_000, 4_000),
        ({"type": "enabled", "budget_tokens": 4_000}, 4_001, 4_000),
        ({"type": "enabled", "budget_tokens": 4_000}, 4_000, 3_999),
        ({"type": "enabled", "budget_tokens": 4_000}, 1_025, 1_024),
        ({"type": "enabled", "budget_tokens": 4_000}, 1_024, None),
        ({"type": "enabled", "budget_tokens": 1_024}, 16, None),
    ],
)
def test_a_budget_of_thoughts_stays_below_the_limit_or_there_are_none(
    thinking: dict[str, Any], limit: int, expected: int | None
) -> None:
    found = cap(raw(max_tokens=9_000, thinking=thinking), "anthropic", limit=limit)
    kept = {**thinking, "budget_tokens": expected}
    assert found["thinking"] == ({"type": "disabled"} if expected is None else kept)
    assert found["max_tokens"] == limit


@pytest.mark.parametrize(
    "thinking",
    [
        None,
        {"type": "disabled"},
        {"type": "adaptive"},
        {"type": "enabled", "budget_tokens": None},
        {"type": "enabled", "budget_tokens": "4000"},
    ],
)
def test_what_is_no_budget_of_thoughts_stays(thinking: dict[str, Any] | None) -> None:
    """Wrong values are the provider's to refuse."""
    assert cap(raw(max_tokens=9, thinking=thinking), "anthropic") == body(
        max_tokens=50, thinking=thinking
    )


def test_what_else_was_said_of_thoughts_is_kept() -> None:
    thinking = {"type": "enabled", "budget_tokens": 9_000, "display": "omitted"}
    found = cap(raw(max_tokens=9_001, thinking=thinking), "anthropic", limit=2_000)
    assert found["thinking"] == {"type": "enabled", "budget_tokens": 1_999, "display": "omitted"}


# ---- generateContent

CONTENTS = [{"parts": [{"text": "Hi"}]}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"generationConfig": {"maxOutputTokens": 50}}),
        ({"generationConfig": None}, {"generationConfig": {"maxOutputTokens": 50}}),
        (
            {"generationConfig": {"maxOutputTokens": 900, "topK": 1}},
            {"generationConfig": {"maxOutputTokens": 50, "topK": 1}},
        ),
        (
            {"generation_config": {"max_output_tokens": 900, "top_k": 1}},
            {"generation_config": {"maxOutputTokens": 50, "top_k": 1}},
        ),
        (
            {"generationConfig": {"max_output_tokens": 900}},
            {"generationConfig": {"maxOutputTokens": 50}},
        ),
        (
            {"generation_config": {"maxOutputTokens": 900}},
            {"generation_config": {"maxOutputTokens": 50}},
        ),
        ({"generation_config": None}, {"generation_config": {"maxOutputTokens": 50}}),
    ],
)
def test_contents_are_held_to_their_limit_in_either_spelling(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    asked = {"contents": CONTENTS, **given}
    found = cap(json.dumps(asked).encode(), "gemini")
    assert found == {"contents": CONTENTS, **expected}


# ---- all of them

NAMES = st.sampled_from(
    ["max_tokens", "max_completion_tokens", "max_output_tokens", "thinking", "n", 'x"', "\\"]
)
VALUES = st.recursive(
    st.none() | st.integers(0, 99) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
LIMITS = {
    "openai": ("max_tokens", "max_completion_tokens"),
    "responses": ("max_output_tokens",),
    "anthropic": ("max_tokens",),
}


@given(
    st.sampled_from(sorted(LIMITS)),
    st.dictionaries(st.sampled_from(["a", "metadata", "tools"]), VALUES),
    st.dictionaries(NAMES.filter(lambda name: name.startswith("max")), st.integers(1, 99)),
    st.booleans(),
)
@settings(max_examples=150)
def test_whatever_else_a_body_says_stays_and_some_limit_is_set(
    dialect: str, others: dict[str, Any], given_limits: dict[str, int], hides: bool
) -> None:
    asked = {"messages": [USER], **others, **given_limits}
    text = json.dumps(asked).encode()
    if hides:
        text = text.replace(b"max_", b"m\\u0061x_")
    found = cap(text, dialect)
    fields = LIMITS[dialect]
    assert any(found.get(name) == 50 for name in fields)
    assert all(found[name] == 50 for name in fields if name in asked)
    assert {k: v for k, v in found.items() if k not in fields} == {
        k: v for k, v in asked.items() if k not in fields
    }
