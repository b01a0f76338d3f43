"""What other providers want back (signatures, encrypted thoughts), carried through callers in texts
that they return as they got them: a signature of ours, marked, holds another's.

No provider may see such a text: it refuses what it has not signed. So a body that passes through is
cleared of them.
"""

import base64
import binascii
from typing import Any

import orjson

from proxy.dialects.serialising import serialised

Object = dict[str, Any]

CALL_FIELD = "gateway_extras"
"""The field of a tool call that carries them, which clients that keep whole calls return."""
MARK = "gateway."


def sealed(signature: str, extras: Object) -> str:
    """A text that holds these; empty when there is nothing to hold."""
    if not (signature or extras):
        return ""
    return MARK + base64.b64encode(serialised([signature, extras])).decode()


def opened(text: str) -> tuple[str, Object] | None:
    """The signature and extras of a `sealed` text; None where it is the provider's own."""
    if not text.startswith(MARK):
        return None
    try:
        signature, extras = orjson.loads(base64.b64decode(text[len(MARK) :]))
    except (binascii.Error, ValueError, TypeError):
        return "", {}
    if not isinstance(signature, str) or not isinstance(extras, dict):
        return "", {}
    return signature, {name: own for name, own in extras.items() if isinstance(own, dict)}
