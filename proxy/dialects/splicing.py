"""The caller's own body with another model in it, byte for byte the same elsewhere.

Strategy: a key `"model"` can only stand where its quotes are not escaped, so a pattern finds every
candidate, at any depth. Each is tried; the one after which a parser sees the new model at the top
level is the right one. A body in which none is (a key written with escapes) is serialised again.
Duplicate keys were refused before, so no second `model` can hide.
"""

import re

import orjson

_MODEL = re.compile(rb'(?<!\\)"model"\s*+:\s*+("(?:[^"\\]|\\.)*+"|null)')


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
    if given is None and b'"model"' not in raw and b"\\u" not in raw:
        return with_members(raw, [b'"model":' + encoded])
    for match in _MODEL.finditer(raw):
        spliced = raw[: match.start(1)] + encoded + raw[match.end(1) :]
        if orjson.loads(spliced).get("model") == model:
            return spliced
    return None


def serialised(raw: bytes, **changed: object) -> bytes:
    """The body with these members set, written anew."""
    return orjson.dumps({**orjson.loads(raw), **changed})


def ask_for_model(raw: bytes, given: str | None, model: str) -> bytes:
    """The body asking for `model`, spliced where it can be."""
    spliced = with_model(raw, given, model)
    return serialised(raw, model=model) if spliced is None else spliced
