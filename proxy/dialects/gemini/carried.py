"""What other providers want back with their reasoning, carried through callers of this dialect.

They return a thoughtSignature as they got it, and it is base64 of something that is nobody's
business; so a foreign signature and foreign extras travel in one that is marked as ours. A provider
of this dialect is shown none of it: it would refuse what it has not signed.
"""

import base64
import binascii
from typing import Any

import orjson

from proxy.dialects.serialising import serialised

Object = dict[str, Any]

_MARK = b"gateway\0"


def sealed(signature: str, extras: Object) -> str:
    """A thoughtSignature that holds these; empty where there is nothing to hold."""
    foreign = {name: own for name, own in extras.items() if name != "gemini"}
    if not (signature or foreign):
        return ""
    return base64.b64encode(_MARK + serialised([signature, foreign])).decode()


def opened(signature: str) -> tuple[str, Object] | None:
    """The signature and extras of a `sealed` one; None where it is the provider's own."""
    try:
        held = base64.b64decode(signature, validate=True)
        if not held.startswith(_MARK):
            return None
        carried, extras = orjson.loads(held[len(_MARK) :])
    except (binascii.Error, ValueError, TypeError):
        return None
    if not isinstance(carried, str) or not isinstance(extras, dict):
        return None
    return carried, {name: own for name, own in extras.items() if isinstance(own, dict)}
