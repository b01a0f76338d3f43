"""What other providers want back (signatures, encrypted thoughts), carried through callers of this
dialect in fields that they return as they got them.

Reasoning carries it in `encrypted_content`, which every client returns; a function call in a field
of its own, which clients that keep whole items return. Neither is for a provider of this dialect to
see: `without_carried` takes both out of a body that passes through.
"""

from typing import Any

from proxy.dialects.carrying import CALL_FIELD, MARK, opened, sealed

__all__ = ["CALL_FIELD", "may_hold_carried", "opened", "sealed", "without_carried"]


def may_hold_carried(raw: bytes) -> bool:
    return b'"gateway' in raw or b"\\u" in raw


def _own(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    encrypted = item.get("encrypted_content")
    if isinstance(encrypted, str) and encrypted.startswith(MARK):
        return None
    return {name: value for name, value in item.items() if name != CALL_FIELD}


def without_carried(items: list[Any]) -> list[Any]:
    """The items that a provider of this dialect can read."""
    return [own for item in items if (own := _own(item)) is not None]
