"""The caller's body: read within its bounds, refused by name, and never in two ways."""

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import body
from proxy.body import CallerGone, check_head, parse_json, read_body
from proxy.errors import GatewayError, InvalidRequest, RequestTooLarge, UnsupportedMediaType

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=5)


# ---- JSON


@given(OBJECTS, st.booleans())
def test_an_object_is_read_as_it_was_written(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def _check_any_bytes(raw: bytes) -> None:
    """What is accepted is an object, and means what any other reader of JSON makes of it."""
    with suppress(InvalidRequest):
        parsed = parse_json(raw)
        assert isinstance(parsed, dict)
        assert parsed == json.loads(raw.decode())


PIECES = (
    *("{", "}", "[", "]", ",", ":", '"a"', '"b"', '"\\u0061"', '"', "'a'", "true", "null", "NaN"),
    *("1", "-0", "1e999", "1.5", "Infinity", " ", "\n", "\\ud800", "\ufeff", "\0", "é"),
)
almost_json = st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map(
    lambda pieces: ("{" + "".join(pieces) + "}").encode()
)


@given(almost_json)
@settings(max_examples=200)
def test_anything_else_is_refused_and_breaks_nothing(raw: bytes) -> None:
    _check_any_bytes(raw)


@pytest.mark.long
@given(almost_json | st.binary())
@settings(max_examples=10_000, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    _check_any_bytes(raw)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ('{"model": "a", "model": "b"}', "model"),
        ('{"model": "a", "mod\\u0065l": "b"}', "model"),
        ('{"messages": [{"role": "user", "role": "system"}]}', "role"),
        ('{"a": {"b": [[{"c": 1, "d": 2, "c": 1}]]}}', "c"),
        ('{"": 1, "": 2}', ""),
        ('{"ä": 1, "\\u00e4": 2}', "ä"),
        ('{"' + "x" * 100 + '": 1, "' + "x" * 100 + '": 2}', "x" * 64),
    ],
)
def test_a_key_that_stands_twice_is_named(raw: str, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw.encode())
    assert refused.value.param == name
    assert repr(name) in refused.value.message
    assert "twice" in refused.value.message


def test_the_same_key_in_different_objects_is_fine() -> None:
    assert parse_json(b'{"a": {"a": [{"a": 1}, {"a": 2}]}}') == {"a": {"a": [{"a": 1}, {"a": 2}]}}


@pytest.mark.parametrize("surrogate", ["\\ud800", "\\udfff", "\\ud83d\\ud83d"])
def test_a_key_of_lone_surrogates_that_stands_twice_can_be_told(surrogate: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(f'{{"{surrogate}": 1, "{surrogate}": 2}}'.encode())
    json.dumps(refused.value.message).encode()
    (refused.value.param or "").encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": -1e400}',
        b'{"a": 01}',
        b'{"a": 1.}',
        b'{"a": 0x1}',
        b'{"a": "\n"}',
        b'{"a": "\\x"}',
        b'{"a": \xff}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',  # a surrogate in UTF-8
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b"\0",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The body is not JSON"):
        parse_json(raw)


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"1", b"null", b"true", b"[{}]"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        parse_json(raw)


def test_a_huge_integer_is_kept_and_an_absurd_one_refused() -> None:
    assert parse_json(b'{"a": ' + b"9" * 400 + b"}") == {"a": int("9" * 400)}
    with pytest.raises(InvalidRequest):
        parse_json(b'{"a": ' + b"9" * (sys.get_int_max_str_digits() + 1) + b"}")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_a_body_that_is_nested_too_deeply_is_refused(opening: bytes, depth: int) -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse_json(b'{"a": ' + opening * depth)


# ---- the head


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"content-type": b"application/json"},
        {b"content-type": b"Application/JSON; charset=utf-8"},
        {b"content-type": b"application/json ;charset=utf-8"},
        {b"content-encoding": b"identity"},
        {b"content-length": b"100"},
        {b"content-length": b"many"},
    ],
)
def test_a_head_that_says_nothing_wrong_passes(headers: dict[bytes, bytes]) -> None:
    check_head(headers, 100)


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({b"content-type": b"text/plain"}, UnsupportedMediaType),
        ({b"content-type": b""}, UnsupportedMediaType),
        ({b"content-type": b"application/json-seq"}, UnsupportedMediaType),
        ({b"content-type": b"multipart/form-data; a=application/json"}, UnsupportedMediaType),
        ({b"content-encoding": b"gzip"}, UnsupportedMediaType),
        ({b"content-encoding": b"gzip, identity"}, UnsupportedMediaType),
        ({b"content-length": b"101"}, RequestTooLarge),
        ({b"content-length": b"9" * 5_000}, RequestTooLarge),
    ],
)
def test_a_head_can_be_enough_to_refuse(
    headers: dict[bytes, bytes], refusal: type[GatewayError]
) -> None:
    with pytest.raises(refusal):
        check_head(headers, 100)


# ---- the bytes


class _Caller:
    """Sends a body in pieces, and then hangs up or hangs."""

    def __init__(self, *pieces: bytes, whole: bool = True, then: str = "hangs up") -> None:
        last = len(pieces) - 1 if whole else -1
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": index != last}
            for index, piece in enumerate(pieces)
        ]
        self.then = then
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.messages:
            return self.messages.pop(0)
        if self.then == "hangs":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "pieces",
    [[b"0123456789"], [b"01234", b"56789"], [b"", b"0123456789", b""], [b"0", b"123456789"]],
)
async def test_a_body_is_joined_from_its_pieces(pieces: list[bytes]) -> None:
    caller = _Caller(*pieces)
    assert await read_body(caller.receive, 10) == b"0123456789"
    assert caller.asked == len(pieces)


async def test_a_body_may_be_missing() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    assert await read_body(receive, 10) == b""


@pytest.mark.parametrize("pieces", [[b"0123456789"], [b"01234", b"56789"], [b"0"] * 10])
async def test_a_body_that_is_too_large_is_refused_as_soon_as_it_is(pieces: list[bytes]) -> None:
    caller = _Caller(*pieces, b"and more", whole=False, then="hangs")
    with pytest.raises(RequestTooLarge):
        await read_body(caller.receive, 9)
    assert caller.asked == len(pieces)


@pytest.mark.parametrize("pieces", [[], [b"01234"], [b"01234", b"5"]])
async def test_a_caller_that_hangs_up_in_its_body_is_gone(pieces: list[bytes]) -> None:
    with pytest.raises(CallerGone):
        await read_body(_Caller(*pieces, whole=False).receive, 100)


async def test_a_caller_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "READ_SECONDS", 0.05)
    with pytest.raises(InvalidRequest, match="took longer than"):
        await read_body(_Caller(b"0", whole=False, then="hangs").receive, 100)
