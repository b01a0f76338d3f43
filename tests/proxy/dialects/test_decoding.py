"""What no parser can read is an error of the upstream in every dialect, never one of ours."""

from contextlib import suppress

import msgspec
import pytest

from proxy.dialects import OUTBOUND
from proxy.errors import UpstreamError

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
