"""The caller's body: read within its bounds, and JSON in which no key stands twice."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

from proxy.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

Receive = Callable[[], Awaitable[dict[str, Any]]]

_MOST_DIGITS = 18
READ_SECONDS = 60
"""How long a caller may take to send its body."""


class CallerGone(Exception):
    """The caller hung up before its request was whole."""


class _DuplicateKey(ValueError):
    pass


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _DuplicateKey(name)
            seen.add(name)
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


_decode = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_float=_finite, parse_constant=_no_constant
).decode


def parse_json(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises InvalidRequest for anything else, naming a key that stands twice."""
    try:
        parsed = _decode(raw.decode())
    except _DuplicateKey as duplicate:
        name = str(duplicate)[:64].encode(errors="replace").decode()
        raise InvalidRequest(f"The body has the key {name!r} twice.", param=name) from None
    except (ValueError, RecursionError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"The body is not JSON: {detail[:200]}") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("The body is not a JSON object.")
    return parsed


def check_head(headers: dict[bytes, bytes], limit: int) -> None:
    """Refuses by the head alone, where it says enough."""
    media_type = headers.get(b"content-type", b"application/json").partition(b";")[0]
    if media_type.strip().lower() != b"application/json":
        raise UnsupportedMediaType("The content-type must be application/json.")
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > _MOST_DIGITS or int(length) > limit):
        raise RequestTooLarge(f"The body is larger than {limit} bytes.")


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises RequestTooLarge, InvalidRequest (too slow) or CallerGone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise RequestTooLarge(f"The body is larger than {limit} bytes.")
    if not message.get("more_body"):
        return body
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _read_on(receive, [body], limit)
    except TimeoutError:
        raise InvalidRequest(f"The body took longer than {READ_SECONDS} s to arrive.") from None


async def _read_on(receive: Receive, pieces: list[bytes], limit: int) -> bytes:
    size = len(pieces[0])
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit:
            raise RequestTooLarge(f"The body is larger than {limit} bytes.")
        if not message.get("more_body"):
            return b"".join(pieces)
