"""Pieces of an answer that streams and whole bodies share."""

from typing import Any

from proxy.chat.events import BlockStarted, Finished, FinishReason
from proxy.chat.fold import Block
from proxy.dialects.carrying import CALL_FIELD, MARK, sealed
from proxy.dialects.serialising import as_object

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
    "error": "end_turn",
}


def foreign(extras: dict[str, Any]) -> dict[str, Any]:
    """What other providers want back."""
    return {owner: own for owner, own in extras.items() if owner != "anthropic"}


def signature_of(signature: str, extras: dict[str, Any]) -> str:
    """The signature of a thinking block: the provider's own, or one of ours that holds another's,
    so that a provider is never shown what it has not signed."""
    if "anthropic" in extras:
        return signature
    return sealed(signature, foreign(extras)) or MARK


def is_free_form(call: BlockStarted | Block) -> bool:
    """Whether a tool call brings free text (OpenAI's custom tools), even if it looks like JSON. An
    input is an object here, so the text becomes its member `input`."""
    return bool(call.extras.get("openai", {}).get("type") == "custom")


def block_of(started: BlockStarted | Block, *, number: int = 0) -> dict[str, Any] | None:
    """A content block as it starts: empty, with what only this dialect has. None for a block that
    has no form in this dialect."""
    own = started.extras.get("anthropic", {})
    match started.kind:
        case "text" | "refusal":
            return {"type": "text", "text": "", **own}
        case "reasoning" if own.get("type") == "redacted_thinking":
            return dict(own)
        case "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_call":
            number = started.block if isinstance(started, BlockStarted) else number
            call_id = started.call_id or f"toolu_{number}"
            written = {"type": "tool_use", "id": call_id, "name": started.name, "input": {}, **own}
            carried = sealed("", foreign(started.extras))
            return {**written, CALL_FIELD: carried} if carried else written
    return dict(own) if own else None


def whole_block(block: Block, number: int) -> dict[str, Any] | None:
    """A content block with all that it says."""
    written = block_of(block, number=number)
    if written is None:
        return None
    match written.get("type"):
        case "text":
            written["text"] = block.text
        case "thinking":
            signature = signature_of(block.signature, block.extras)
            written |= {"thinking": block.text, "signature": signature}
        case "tool_use":
            given = None if is_free_form(block) else as_object(block.text or "{}")
            # JSON that the limit cut off is better shown than lost.
            name = "input" if is_free_form(block) else "_raw"
            written["input"] = {name: block.text} if given is None else given
    return written


def finish_of(finished: Finished | None, *, refused: bool) -> dict[str, Any]:
    """Why it stopped, as `message_delta` and a whole message say it."""
    if finished is None:
        return {"stop_reason": "end_turn", "stop_sequence": None}
    reason = _STOP_REASONS[finished.reason]
    if finished.reason == "stop" and refused:
        reason = "refusal"
    elif finished.stop_sequence:
        reason = "stop_sequence"
    own = finished.extras.get("anthropic", {})
    return {"stop_reason": reason, "stop_sequence": finished.stop_sequence or None, **own}
