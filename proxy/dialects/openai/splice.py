"""The caller's own body, asking for another model, and for usage where it did not."""

import json
from typing import Any

from proxy.dialects.openai.shapes import ChatBody
from proxy.dialects.splicing import may_name, serialised, with_members, with_model

_ASK_USAGE = b'"stream_options":{"include_usage":true}'


def for_upstream(raw: bytes, body: ChatBody, model: str) -> tuple[bytes, bool]:
    """The body to send, and whether we ask for a usage frame that the caller did not ask for."""
    asks_usage = bool(body.stream) and not body.wants_usage
    spliced = with_model(raw, body.model, model)
    if spliced is None or (asks_usage and may_name(raw, b"stream_options")):
        changed: dict[str, Any] = {"model": model}
        if asks_usage:
            options = json.loads(raw).get("stream_options") or {}
            changed["stream_options"] = {**options, "include_usage": True}
        return serialised(raw, **changed), asks_usage
    return with_members(spliced, [_ASK_USAGE] if asks_usage else []), asks_usage
