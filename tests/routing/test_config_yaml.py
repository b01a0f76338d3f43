"""YAML as the gateway reads and writes it."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.config.problems import ConfigInvalid, Problem
from routing.config.yaml_text import dump, load


def _value(text: str) -> Any:
    return load(text)[0]


def _problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigInvalid) as raised:
        load(text)
    return raised.value.problems


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("2.50", Decimal("2.50")),
        ("'12'", "12"),
        ("2026-01-01", "2026-01-01"),
        ("22:00", "22:00"),
        ("1_000", "1_000"),
        ("0o17", "0o17"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1e5", "1e5"),
        (".5", ".5"),
        ("20%", "20%"),
        (".inf", ".inf"),
        ("1" * 19, "1" * 19),
    ],
)
def test_only_true_false_null_and_plain_numbers_are_more_than_text(written: str, read: Any) -> None:
    value = _value(f"key: {written}")["key"]
    assert value == read
    assert type(value) is type(read)


def test_keys_are_text_whatever_they_look_like() -> None:
    assert _value("{on: 1, 2026: 2, true: 3, null: 4}") == {
        "on": 1,
        "2026": 2,
        "true": 3,
        "null": 4,
    }


def test_a_duplicate_key_is_named_with_its_path_and_both_lines() -> None:
    [problem] = _problems("tenants:\n  acme:\n    tier: a\n    name: b\n    tier: c\n")
    assert problem.path == "tenants.acme.tier"
    assert "lines 3 and 5" in problem.message
    assert problem.line == 5


def test_every_duplicate_key_is_reported() -> None:
    paths = [problem.path for problem in _problems("a: 1\na: 2\nb:\n  - {c: 1, c: 2}\n")]
    assert paths == ["a", "b[0].c"]


def test_anchors_may_be_used() -> None:
    assert _value("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_anchors_that_explode_are_refused() -> None:
    tenfold = [f"a{level}: &a{level} [{f'*a{level - 1}, ' * 10}]" for level in range(1, 10)]
    [problem] = _problems("\n".join(["a0: &a0 [x, x]", *tenfold]))
    assert "exceeds" in problem.message


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 100 + "]" * 100, "[" * 50_000])
def test_endless_nesting_is_refused(text: str) -> None:
    assert _problems(text)


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "larger" in _problems("#" * 8_000_001)[0].message


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]\nb: !!binary aGk=",
        "a: !secret x",
        "? [1, 2]\n: 3",
        'a: "nul \\0"',
        'a: "half a pair \\ud800"',
        "a: 1\n--- \nb: 2",
        "a: [1",
        "a: 'open",
        "\tindented: 1",
        "a: !!int x",
    ],
)
def test_what_is_no_plain_yaml_is_refused(text: str) -> None:
    assert _problems(text)


def test_a_syntax_error_names_the_line_and_does_not_quote_it() -> None:
    [problem] = _problems("a: 1\nsecret: 'sk-live-1234\n")
    assert problem.line
    assert "sk-live" not in str(problem)


def test_lines_are_known_by_path() -> None:
    lines = load("a:\n  b:\n    - {c: 1}\n")[1]
    assert lines["a.b[0].c"] == 3


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.decimals(-(10**9), 10**9, places=9)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
)
_keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
_documents = st.recursive(
    _scalars,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(_keys, inside, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)  # a busy machine is no failure
@given(_documents)
def test_what_is_written_is_read_back(value: Any) -> None:
    text = dump({"value": value})
    assert _value(text) == {"value": value}
