"""The caller's own body with another model in it, byte for byte the same elsewhere.

Strategy: a key `"model"` can only stand where its quotes are not escaped, so a pattern finds every
candidate, at any depth. Each is tried; the one after which a parser sees the new model at the top
level, and no other change, is the right one. A body in which none is (a key written with escapes)
is serialised again. Duplicate keys were refused before, so no second `model` can hide.
"""

import re

import orjson

from proxy.dialects.openai.shapes import ChatBody

_MODEL = re.compile(rb'(?<!\\)"model"\s*+:\s*+("(?:[^"\\]|\\.)*+"|null)')


def _with_model(raw: bytes, model: str) -> bytes | None:
    encoded = orjson.dumps(model)
    for match in _MODEL.finditer(raw):
        spliced = raw[: match.start(1)] + encoded + raw[match.end(1) :]
        if orjson.loads(spliced)["model"] == model:
            return spliced
    return None


def _inserted(raw: bytes, members: list[bytes]) -> bytes:
    """New members at the head of an object that has at least one."""
    start = raw.index(b"{") + 1
    return raw[:start] + b",".join(members) + b"," + raw[start:]


def for_upstream(raw: bytes, body: ChatBody, model: str) -> tuple[bytes, bool]:
    """The body to send, and whether we ask for a usage frame that the caller did not ask for."""
    asks_usage = bool(body.stream) and not body.wants_usage
    if asks_usage and body.stream_options is not None:
        return _serialised(raw, model, asks_usage=True), True
    members = [b'"stream_options":{"include_usage":true}'] if asks_usage else []
    if body.model is None and b'"model"' not in raw and b"\\u" not in raw:
        members.append(b'"model":' + orjson.dumps(model))
    elif body.model != model:
        spliced = _with_model(raw, model)
        if spliced is None:
            return _serialised(raw, model, asks_usage=asks_usage), asks_usage
        raw = spliced
    return (_inserted(raw, members) if members else raw), asks_usage


def _serialised(raw: bytes, model: str, *, asks_usage: bool) -> bytes:
    fields = orjson.loads(raw)
    fields["model"] = model
    if asks_usage:
        fields["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
    return orjson.dumps(fields)
