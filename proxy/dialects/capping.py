"""A caller's own body with fewer output tokens in it, byte for byte the same elsewhere where that
can be spliced."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from proxy.dialects.openai.writer import REASONING_MODEL
from proxy.dialects.splicing import may_name, serialised, with_members

_LEAST_THINKING = 1_024
"""Below this the provider refuses a budget of thoughts (docs, "Extended thinking")."""


def _openai(raw: bytes, model: str, limit: int) -> bytes:
    field = "max_completion_tokens" if REASONING_MODEL.search(model) else "max_tokens"
    names = ("max_tokens", "max_completion_tokens")
    if not any(may_name(raw, name.encode()) for name in names):
        return with_members(raw, [b'"%b":%d' % (field.encode(), limit)])
    given = json.loads(raw)
    fields = [name for name in names if given.get(name) is not None]
    return serialised(raw, **dict.fromkeys(fields or [field], limit))


def _responses(raw: bytes, model: str, limit: int) -> bytes:
    if may_name(raw, b"max_output_tokens"):
        return serialised(raw, max_output_tokens=limit)
    return with_members(raw, [b'"max_output_tokens":%d' % limit])


def _anthropic(raw: bytes, model: str, limit: int) -> bytes:
    """A budget of thoughts must be smaller than the limit."""
    changed: dict[str, Any] = {"max_tokens": limit}
    thinking = json.loads(raw).get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if isinstance(budget, int | float) and budget >= limit:
        fits = limit > _LEAST_THINKING
        changed["thinking"] = (
            {**thinking, "budget_tokens": limit - 1} if fits else {"type": "disabled"}
        )
    return serialised(raw, **changed)


def _gemini(raw: bytes, model: str, limit: int) -> bytes:
    given = json.loads(raw)
    name = "generation_config" if "generation_config" in given else "generationConfig"
    config = dict(given.get(name) or {})
    config.pop("max_output_tokens", None)
    return serialised(raw, **{name: {**config, "maxOutputTokens": limit}})


_CAPS: Mapping[str, Callable[[bytes, str, int], bytes]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
}


def capped(raw: bytes, *, dialect: str, model: str, limit: int) -> bytes:
    """The body, allowing `limit` output tokens. `model` is the upstream's name for it."""
    return _CAPS[dialect](raw, model, limit)
