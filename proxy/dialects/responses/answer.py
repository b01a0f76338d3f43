"""The `response` object of our own answers: the settings of the request, and what came of it.

Source: API reference, "The response object".
"""

import time
from typing import Any

from proxy.chat.events import Finished
from proxy.chat.request import ChatRequest, Text
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.shapes import Object, object_of
from proxy.dialects.responses.usage import write_usage
from proxy.dialects.responses.writer import (
    write_reasoning,
    write_text,
    write_tool_choice,
    write_tools,
)

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter", "pause": "pause"}
_REPEATED = ("max_tool_calls", "prompt_cache_key", "service_tier", "truncation")


def _instructions(request: ChatRequest) -> str | None:
    first = request.messages[0] if request.messages else None
    if first is None or not object_of(first.extras.get(OWN)).get("instructions"):
        return None
    return "".join(part.text for part in first.parts if isinstance(part, Text))


def started(request: ChatRequest, start: Start) -> Object:
    """The object as the first event shows it."""
    own = object_of(request.extras.get(OWN))
    choice = request.tool_choice
    return {
        "id": f"resp_{start.id}",
        "object": "response",
        "created_at": start.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": _instructions(request),
        "max_output_tokens": request.max_output_tokens,
        "model": start.model,
        "output": [],
        "parallel_tool_calls": choice is None or choice.parallel is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None, **write_reasoning(request)},
        "safety_identifier": own.get("_safety_identifier"),
        "store": False,
        "temperature": request.temperature,
        "text": {"format": {"type": "text"}, **write_text(request)},
        "tool_choice": write_tool_choice(request) or "auto",
        "tools": write_tools(request),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        **{name: own[name] for name in _REPEATED if name in own},
        "usage": None,
        "user": request.user or None,
        "metadata": request.metadata,
    }


def _outcome(finish: Finished | None, *, refused: bool) -> Object:
    """`status` and its details. An answer that a provider withheld without a word is incomplete."""
    reason = finish.reason if finish else "stop"
    own = object_of(finish.extras.get(OWN)) if finish else {}
    if isinstance(own.get("incomplete_details"), dict):
        return {"status": "incomplete", "incomplete_details": own["incomplete_details"]}
    if reason == "refusal" and not refused:
        reason = "content_filter"
    if reason in _INCOMPLETE:
        details = {"reason": _INCOMPLETE[reason]}
        return {"status": "incomplete", "incomplete_details": details}
    if reason == "error":
        message = "The provider could not finish its answer."
        return {"status": "failed", "error": {"code": "server_error", "message": message}}
    return {"status": "completed"}


def ended(
    response: Object,
    output: list[Any],
    *,
    finish: Finished | None,
    refused: bool,
    usage: Usage | None,
) -> Object:
    """The object as the last event, or a whole answer, shows it."""
    return {
        **response,
        **_outcome(finish, refused=refused),
        "completed_at": int(time.time()),
        "output": output,
        "usage": write_usage(usage or Usage()),
    }
