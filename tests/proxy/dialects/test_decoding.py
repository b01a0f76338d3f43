"""What no parser can read is an error of whoever sent it, in every dialect, never one of ours."""

from contextlib import suppress

import msgspec
import pytest

from proxy.dialects import INBOUND, OUTBOUND
from proxy.errors import InvalidRequest, UpstreamError

DEEP = b"[" * 5_000 + b"]" * 5_000
NONSENSE = {
    "nothing": b"",
    "no JSON": b"<html>",
    "no UTF-8": b'{"id": "\xff", "type": "\xff", "model": "\xff", "error": "\xff"}',
    "no UTF-8 inside": b'{"type": "message", "choices": [{"delta": {"content": "\xff"}}]}',
    "a lone surrogate": b'{"type": "message", "id": "\\ud83d", "error": {"message": "\\ud83d"}}',
    "nested deeply": b'{"type": "message", "usage": %b, "error": %b, "id": %b}'
    % (DEEP, DEEP, DEEP),
    "cut off": b'{"type": "message", "id": "1',
    "a number too large": b'{"type": "message", "created": 1e999, "usage": {"x": 1e999}}',
    "another shape": b'[{"choices": 7, "type": 7, "candidates": 7}]',
    "null": b"null",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("dialect", OUTBOUND)
def test_nonsense_is_an_error_of_the_upstream(dialect: str, nonsense: bytes) -> None:
    outbound = OUTBOUND[dialect]
    for frame in (b"data: " + nonsense + b"\n\n", nonsense + b"\n"):
        outbound.watch().sight(frame)
        outbound.is_notable(frame)
        with suppress(msgspec.DecodeError):
            list(outbound.read_events().read(frame))
    with suppress(UpstreamError):
        outbound.sight_of_body(nonsense)
    with suppress(msgspec.DecodeError):
        list(outbound.read_body(nonsense))
    for status in (400, 429, 500):
        error = outbound.read_error(status, nonsense, retry_after=None)
        error.message.encode()
        assert error.status >= 400


@pytest.mark.parametrize("dialect", INBOUND)
def test_half_a_character_out_of_place_is_refused_by_name(dialect: str) -> None:
    said = {
        "messages": [{"role": "user", "content": "?"}],
        "contents": [{"parts": [{"text": "?"}]}],
        "input": "?",
    }
    with pytest.raises(InvalidRequest) as refused:
        INBOUND[dialect].parse({"model": "m", "max_tokens": 1, "tools": "\ud800", **said})
    assert refused.value.param == "tools"
