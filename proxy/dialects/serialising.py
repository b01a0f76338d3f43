"""Values as JSON text, whatever a caller's JSON held."""

import json
from typing import Any

import orjson

from proxy.errors import InvalidRequest


class JsonText:
    """JSON text of an object, which goes into what is serialised as it is."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


def serialised(value: Any) -> bytes:
    """Raises InvalidRequest for what is nested too deeply.

    orjson refuses integers of more than 64 bits and lone surrogates, which JSON allows and callers
    send; the standard library is slower and takes them.
    """
    try:
        return orjson.dumps(value, default=_fragment)
    except TypeError:
        try:
            return json.dumps(value, separators=(",", ":"), default=_parsed).encode()
        except RecursionError:
            raise InvalidRequest("The request is nested too deeply.") from None


def as_object(text: str) -> JsonText | None:
    """JSON text of an object, to be written as it is; None where it is no such text."""
    encoded = text.encode("utf-8", "surrogatepass")
    try:
        parsed = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return None
    return JsonText(encoded) if isinstance(parsed, dict) else None


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError


def _parsed(value: Any) -> Any:
    if isinstance(value, JsonText):
        return json.loads(value.text)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
