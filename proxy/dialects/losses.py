"""What a provider cannot take, told to the caller by name: a setting is a warning, content an
error. Nothing is dropped silently."""

from collections.abc import Container
from typing import Any

from proxy.chat.request import ChatRequest
from proxy.errors import InvalidRequest

_SAYS_NOTHING: dict[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "n": 1,
}
"""Values that ask for what happens anyway; None and empty ones do so for every setting."""


def _is_asked(request: ChatRequest, setting: str) -> bool:
    value = getattr(request, setting)
    if value is None or value in ("", (), {}):
        return False
    return setting not in _SAYS_NOTHING or bool(value != _SAYS_NOTHING[setting])


def unsupported(request: ChatRequest, dialect: str, *settings: str) -> list[str]:
    """A warning for each of these settings (fields of a ChatRequest) that the request uses."""
    return [
        f"{setting} is not supported by {dialect}"
        for setting in settings
        if _is_asked(request, setting)
    ]


def refuse_several_choices(request: ChatRequest, dialect: str) -> None:
    """Raises InvalidRequest where more than one choice is asked: callers would miss the others."""
    if request.n > 1:
        raise InvalidRequest(f"n: {dialect} gives one choice, not {request.n}", param="n")


def cannot_take(dialect: str, what: str, at: str) -> InvalidRequest:
    """The error for content that has no form in a dialect: `what` is it, `at` its field."""
    return InvalidRequest(f"{at}: {dialect} does not take {what}", param=at)


def foreign_settings(request: ChatRequest, dialect: str, *, but: Container[str] = ()) -> list[str]:
    """A warning for each field that only another dialect has (`ChatRequest.extras`), `but` for what
    this one knows too. A name that starts with `_` is a dialect's note to itself of what it has
    also said canonically."""
    return [
        f"{name} is not supported by {dialect}"
        for owner, fields in request.extras.items()
        if owner != dialect and isinstance(fields, dict)
        for name in fields
        if not name.startswith("_") and name not in but
    ]


def refuse_foreign_tools(request: ChatRequest, dialect: str) -> None:
    """Raises InvalidRequest for a tool that only another provider has: one whose own extras say
    its `type` (web search, code execution, free-text tools)."""
    for index, tool in enumerate(request.tools):
        for owner, own in tool.extras.items():
            if owner not in (dialect, "cache") and isinstance(own, dict) and "type" in own:
                raise cannot_take(dialect, f"{owner}'s tool {own['type']}", f"tools[{index}]")
