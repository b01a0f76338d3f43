"""Values as JSON text, whatever a caller's JSON held."""

import json
from typing import Any

import orjson

from proxy.errors import InvalidRequest


def serialised(value: Any) -> bytes:
    """Raises InvalidRequest for what is nested too deeply.

    orjson refuses integers of more than 64 bits and lone surrogates, which JSON allows and callers
    send; the standard library is slower and takes them.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, separators=(",", ":")).encode()
        except RecursionError:
            raise InvalidRequest("The request is nested too deeply.") from None


def as_object(text: str) -> orjson.Fragment | None:
    """JSON text of an object, to be written as it is; None where it is no such text."""
    encoded = text.encode("utf-8", "surrogatepass")
    try:
        parsed = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(encoded) if isinstance(parsed, dict) else None
