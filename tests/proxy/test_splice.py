"""The caller's own body for another model: nothing else of it changes, not even a blank."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.body import parse_json
from proxy.dialects.openai.request import parse
from proxy.dialects.openai.splice import for_upstream
from proxy.errors import InvalidRequest

MODEL = 'gpt-"4o"\\é'
"""What JSON must escape is in it."""

ASKS_USAGE = {"include_usage": True}


def _spliced(raw: bytes, model: str = MODEL) -> tuple[bytes, bool]:
    return for_upstream(raw, parse(parse_json(raw)), model)


def _expected(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = {**fields, "model": MODEL}
    if fields.get("stream"):
        wanted["stream_options"] = {**(fields.get("stream_options") or {}), **ASKS_USAGE}
    return wanted


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key stands twice"
    return dict(pairs)


# ---- bodies, written in every way that JSON allows

NAMES = st.sampled_from(["model", "stream_options", "messages", "n", '"', 'x"model', '\\"model'])
TEXTS = st.sampled_from(
    [
        "",
        "model",
        '"model":',
        '"model":"x"',
        '\\"model\\":"x"',
        "\\",
        "\n",
        "\u2028",
        "🦁",
        "\ud83d",
    ]
)
VALUES = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.none() | st.fixed_dictionaries(
    {}, optional={"include_usage": st.none() | st.booleans(), "include_obfuscation": st.booleans()}
)
BODIES = st.fixed_dictionaries(
    {"messages": st.just([{"role": "user", "content": 'say "model": "x"'}])},
    optional={
        "model": st.none() | TEXTS | st.just(MODEL),
        "stream": st.none() | st.booleans(),
        "stream_options": OPTIONS,
        "metadata": st.none() | st.dictionaries(NAMES, VALUES, max_size=3),
        "tools": st.none() | st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=2),
        "vendor": VALUES,
        'a"model': TEXTS,
    },
).flatmap(lambda body: st.permutations(list(body.items())).map(dict))


class _Style:
    """How a serialiser writes: blanks, and which characters it escapes."""

    def __init__(self, blank: Callable[[], str], escapes: Callable[[str], bool]) -> None:
        self._blank = blank
        self._escapes = escapes

    def text(self, value: str) -> str:
        return '"' + "".join(self._character(character) for character in value) + '"'

    def _character(self, character: str) -> str:
        if "\ud800" <= character <= "\udfff" or self._escapes(character):
            units = character.encode("utf-16-be", "surrogatepass")
            return "".join(
                f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)
            )
        return json.dumps(character, ensure_ascii=False)[1:-1]

    def write(self, value: Any) -> str:
        blank = self._blank
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            inner = ",".join(f"{blank()}{self.write(item)}{blank()}" for item in value)
            return f"[{inner}{blank()}]"
        if isinstance(value, dict):
            inner = ",".join(
                f"{blank()}{self.text(name)}{blank()}:{blank()}{self.write(item)}{blank()}"
                for name, item in value.items()
            )
            return f"{{{inner}{blank()}}}"
        return json.dumps(value)


@st.composite
def written_bodies(draw: st.DrawFn) -> bytes:
    body = draw(BODIES)
    blanks = draw(st.sampled_from([[""], [" "], ["", " ", "\n", "\t", "\r\n  "]]))
    escaped = draw(st.sampled_from(["", '"\\', "🦁é", "model", "s", "o"]))
    style = _Style(
        blank=lambda: draw(st.sampled_from(blanks)) if len(blanks) > 1 else blanks[0],
        escapes=lambda character: character in escaped and draw(st.booleans()),
    )
    return (blanks[-1] + style.write(body) + blanks[-1]).encode()


def _check(raw: bytes) -> None:
    fields = json.loads(raw)
    sent, hides_usage = _spliced(raw)
    assert json.loads(sent, object_pairs_hook=_without_twins) == _expected(fields)
    wants_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
    assert hides_usage == (bool(fields.get("stream")) and not wants_usage)


@given(written_bodies())
@example(b'{"messages": [], "metadata": {"model": "x"}}')
@example(b'{"messages": [], "tools": [{"model": null}], "stream": true, "stream_options": null}')
@example(b'{"messages": [], "metadata": {"m": "\\ud83d"}, "model": "a"}')
@example(b'{"messages": [], "seed": 123456789012345678901234567890, "mod\\u0065l": "a"}')
@settings(max_examples=200)
def test_only_the_model_and_the_wish_for_usage_change(raw: bytes) -> None:
    _check(raw)


@pytest.mark.long
@given(written_bodies())
@settings(max_examples=10_000, deadline=None)
def test_any_body_is_asked_for_another_model(raw: bytes) -> None:
    _check(raw)


# ---- byte for byte

PLAIN = (
    '{ "messages" : [ {"role":"user", "content":"\\u00e9\\ud83d é\\/"} ],\n'
    '\t"temperature":1e0, %s"n":1 }'
)
WANTED = json.dumps(MODEL, ensure_ascii=False)


@pytest.mark.parametrize("given_model", ['"pro"', "null", '"\\u0070ro"', '""'])
def test_all_but_the_model_is_the_callers_own_to_the_byte(given_model: str) -> None:
    raw = (PLAIN % f'"model" :  {given_model} ,').encode()
    sent, hides_usage = _spliced(raw)
    assert sent.decode() == PLAIN % f'"model" :  {WANTED} ,'
    assert not hides_usage


def test_a_body_that_asks_for_the_model_already_is_sent_as_it_is() -> None:
    raw = (PLAIN % f'"model": {WANTED}, ').encode()
    assert _spliced(raw) == (raw, False)


@pytest.mark.parametrize(
    "inside", ["", '"metadata": {"model": "x"}, ', '"tools": [{"model": null}], ']
)
def test_a_body_without_a_model_gets_one_at_its_head(inside: str) -> None:
    raw = (PLAIN % inside).encode()
    sent, _ = _spliced(raw)
    assert sent.decode() == '{"model":' + WANTED + "," + (PLAIN % inside)[1:]


@pytest.mark.parametrize("options", ["", '"metadata": {"x": "stream_option"}, '])
def test_a_stream_asks_for_usage_at_the_head_of_the_body(options: str) -> None:
    raw = (PLAIN % f'"model": "pro", "stream": true, {options}').encode()
    sent, hides_usage = _spliced(raw)
    asked = '{"stream_options":{"include_usage":true},'
    assert sent.decode() == asked + (PLAIN % f'"model": {WANTED}, "stream": true, {options}')[1:]
    assert hides_usage


@pytest.mark.parametrize(
    ("options", "hides_usage"),
    [
        ("null", True),
        ("{}", True),
        ('{"include_usage": false, "include_obfuscation": true}', True),
        ('{"include_usage": null}', True),
        ('{"include_usage": true}', False),
    ],
)
def test_options_of_the_callers_stream_are_kept_beside_our_wish(
    options: str, hides_usage: bool
) -> None:
    raw = (PLAIN % f'"model": "pro", "stream": true, "stream_options": {options}, ').encode()
    sent, hides = _spliced(raw)
    assert hides is hides_usage
    stored = json.loads(sent, object_pairs_hook=_without_twins)["stream_options"]
    assert stored == {**(json.loads(options) or {}), "include_usage": True}


@pytest.mark.parametrize("where", ['"model"', '"mod\\u0065l"', '"\\u006dodel"'])
def test_a_nested_model_is_left_alone_wherever_it_stands(where: str) -> None:
    nested = '"tools": [{"model": "pro"}, {"a": {"model": "pro"}}], '
    for body in (f'{nested}{where}: "pro", ', f'{where}: "pro", {nested}'):
        sent = json.loads(_spliced((PLAIN % body).encode())[0])
        assert sent["model"] == MODEL
        assert sent["tools"] == [{"model": "pro"}, {"a": {"model": "pro"}}]


@pytest.mark.parametrize(
    "before",
    [
        r'"a": "\\", ',
        r'"a": "\\\"}}]", ',
        r'"a": "{[\"", ',
        r'"a": "\"model\": \"pro\"", ',
        r'"a\"model": "pro", ',
        r'"\\\"model": null, ',
        r'"a": {"b\\": [{"model": "pro"}, "]}"]}, ',
    ],
)
def test_what_only_looks_like_the_model_is_left_alone(before: str) -> None:
    sent, _ = _spliced((PLAIN % f'{before}"model": "pro", ').encode())
    assert sent.decode() == PLAIN % f'{before}"model": {WANTED}, '


@pytest.mark.parametrize("value", ["5", "true", "[]", "{}", '{"model":"pro"}', '["model"]'])
def test_a_model_that_is_no_text_is_replaced_where_it_does_not_count(value: str) -> None:
    raw = (PLAIN % f'"model": {value}, ').encode()
    fields = parse_json(raw)
    del fields["model"]  # as where the path names the alias
    sent, _ = for_upstream(raw, parse(fields), MODEL)
    assert json.loads(sent, object_pairs_hook=_without_twins) == {**fields, "model": MODEL}


def test_numbers_keep_their_value_where_the_body_is_written_anew() -> None:
    huge = 123456789012345678901234567890
    raw = f'{{"messages": [], "mod\\u0065l": "a", "x": [{huge}, 1.5, -0.0, 1e300, 0.1]}}'.encode()
    sent = json.loads(_spliced(raw)[0])
    assert sent["x"] == [huge, 1.5, -0.0, 1e300, 0.1]


@pytest.mark.parametrize("depth", [100, 250, 260, 500, 900, 960, 985, 995])
@pytest.mark.parametrize("rest", ['"model": "a"', '"mod\\u0065l": "a"', '"n": 1'])
def test_a_deeply_nested_body_is_sent_or_refused(depth: int, rest: str) -> None:
    raw = f'{{"messages": [], {rest}, "x": {"[" * depth}{"]" * depth}}}'.encode()
    told = _sent_or_told(raw)
    nested = b"[" * depth + b"]" * depth
    assert nested in told or (depth > 800 and b"nested too deeply" in told)


def _sent_or_told(raw: bytes) -> bytes:
    """What the upstream gets, or else what the caller is told."""
    try:
        return _spliced(raw)[0]
    except InvalidRequest as refused:
        return refused.message.encode()


@pytest.mark.parametrize("at_the_end", ['"model": "a"', '"mod\\u0065l": "a"', '"n": 1'])
def test_a_body_full_of_models_costs_no_more_than_its_length(at_the_end: str) -> None:
    many = ",".join(['{"model":"x"}'] * 40_000)
    raw = f'{{"messages": [], "tools": [{many}], {at_the_end}}}'.encode()
    started = time.perf_counter()
    sent, _ = _spliced(raw)
    assert time.perf_counter() - started < 3
    assert json.loads(sent)["model"] == MODEL
