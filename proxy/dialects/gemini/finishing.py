"""Why an answer ended (ai.google.dev/api/generate-content, "FinishReason" and "BlockReason")."""

from typing import Any

from proxy.chat.events import Finished, FinishReason

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "CONTINUATION": "pause",
    "TOO_MANY_TOOL_CALLS": "pause",
}
"""Every other reason is an `error`: the model, or its call, went wrong."""

_WRITTEN: dict[FinishReason, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
}


def read_finish(reason: str, choice: int, extras: dict[str, Any], *, called: bool) -> Finished:
    """`STOP` also accompanies function calls: `called` says whether there were any. A reason that
    is told less exactly by its canonical one stays in `extras`."""
    known = FINISH_REASONS.get(reason, "error")
    if reason not in ("STOP", "MAX_TOKENS"):
        extras = {**extras, "finishReason": reason}
    if known == "stop" and called:
        known = "tool_calls"
    return Finished(known, choice, extras={"gemini": extras} if extras else {})


def write_finish(event: Finished) -> dict[str, Any]:
    """The members of a candidate that say how it ended."""
    own = event.extras.get("gemini")
    if not own:
        return {"finishReason": _WRITTEN[event.reason]}
    members = {name: value for name, value in own.items() if name != "promptFeedback"}
    return {"finishReason": _WRITTEN[event.reason], **members}
