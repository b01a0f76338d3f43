"""The caller's own body with another model in it, byte for byte the same elsewhere.

Strategy: a key `"model"` can only stand where its quotes are not escaped, so a pattern finds every
candidate, at any depth. The right one is at depth one, counted by the brackets before it that are
in no string; each byte is looked at once. A key written with escapes is not found: such a body is
serialised again. Duplicate keys were refused before, so no second `model` can hide.
"""

import json
import re

import orjson

from proxy.dialects.serialising import serialised as as_json

_KEY = b'"model"'
_VALUE = re.compile(rb'\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+"|null)?+')
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""What no serialiser writes, and the only other way to spell a key."""


def hides_letters(raw: bytes) -> bool:
    """Whether some key may be written with escapes, so that no pattern finds it."""
    return _ESCAPED_LETTER.search(raw) is not None


def may_name(raw: bytes, key: bytes) -> bool:
    """Whether a body may have this key, at any depth; False is certain."""
    return b'"%b"' % key in raw or hides_letters(raw)


def with_members(raw: bytes, members: list[bytes]) -> bytes:
    """New members at the head of an object that has at least one."""
    if not members:
        return raw
    start = raw.index(b"{") + 1
    return raw[:start] + b",".join(members) + b"," + raw[start:]


def with_model(raw: bytes, given: str | None, model: str) -> bytes | None:
    """The body asking for `model` where it asked for `given`; None where that cannot be spliced."""
    if given == model:
        return raw
    encoded = orjson.dumps(model)
    own = _model_in(raw)
    if own is None:
        may_be_new = given is None and not hides_letters(raw)
        return with_members(raw, [b'"model":' + encoded]) if may_be_new else None
    if own[1] is None:
        return None
    return raw[: own.start(1)] + encoded + raw[own.end(1) :]


def _model_in(raw: bytes) -> re.Match[bytes] | None:
    """What follows the object's own key `model`; its group is the value where that can be spliced:
    text or null."""
    depth = counted = 0
    at = raw.find(_KEY)
    while at >= 0:
        value = _VALUE.match(raw, at + len(_KEY))
        if value is not None and raw[at - 1 : at] != b"\\":
            depth += _depth_gained(raw[counted:at])
            if depth == 1:
                return value
            counted = value.end()
        at = raw.find(_KEY, at + len(_KEY))
    return None


def _depth_gained(piece: bytes) -> int:
    """Brackets opened less brackets closed, outside of strings. Searches of bytes are several times
    quicker than a pattern: first go escaped backslashes and quotes, then the rest is told apart."""
    pieces = piece.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    outside = b"".join(pieces[::2])
    opened = outside.count(b"{") + outside.count(b"[")
    return opened - outside.count(b"}") - outside.count(b"]")


def serialised(raw: bytes, **changed: object) -> bytes:
    """The body with these members set, written anew. Raises InvalidRequest for what is nested too
    deeply."""
    return as_json({**json.loads(raw), **changed})


def ask_for_model(raw: bytes, given: str | None, model: str) -> bytes:
    """The body asking for `model`, spliced where it can be."""
    spliced = with_model(raw, given, model)
    return serialised(raw, model=model) if spliced is None else spliced
