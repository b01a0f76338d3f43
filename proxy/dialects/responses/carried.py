"""What other providers want back (signatures, encrypted thoughts), carried through callers of this
dialect in fields that they return as they got them.

Reasoning carries it in `encrypted_content`, which every client returns; a function call in a field
of its own, which clients that keep whole items return. Neither is for a provider of this dialect to
see: `without_carried` takes both out of a body that passes through.
"""

import base64
import binascii
from typing import Any

import orjson

from proxy.dialects.responses.shapes import Object

CALL_FIELD = "gateway_extras"
_MARK = "gateway."


def sealed(signature: str, extras: Object) -> str:
    """An `encrypted_content` that holds these; empty when there is nothing to hold."""
    if not (signature or extras):
        return ""
    return _MARK + base64.b64encode(orjson.dumps([signature, extras])).decode()


def opened(encrypted: str) -> tuple[str, Object] | None:
    """The signature and extras of a `sealed` text; None where it is the provider's own."""
    if not encrypted.startswith(_MARK):
        return None
    try:
        signature, extras = orjson.loads(base64.b64decode(encrypted[len(_MARK) :]))
    except (binascii.Error, ValueError, TypeError):
        return "", {}
    if not isinstance(signature, str) or not isinstance(extras, dict):
        return "", {}
    return signature, {name: own for name, own in extras.items() if isinstance(own, dict)}


def may_hold_carried(raw: bytes) -> bool:
    return b'"gateway' in raw or b"\\u" in raw


def _own(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    encrypted = item.get("encrypted_content")
    if isinstance(encrypted, str) and encrypted.startswith(_MARK):
        return None
    return {name: value for name, value in item.items() if name != CALL_FIELD}


def without_carried(items: list[Any]) -> list[Any]:
    """The items that a provider of this dialect can read."""
    return [own for item in items if (own := _own(item)) is not None]
