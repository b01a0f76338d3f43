"""The caller's own body, asking for another model."""

from typing import Any

from proxy.dialects.anthropic.shapes import MessagesBody, Object
from proxy.dialects.carrying import CALL_FIELD, MARK
from proxy.dialects.splicing import ask_for_model, serialised


def for_upstream(raw: bytes, body: MessagesBody, model: str) -> tuple[bytes, bool]:
    """The body to send. Usage is always reported, so it asks for none. Thoughts and notes of other
    providers, which the caller was given to hold, are left out (carrying.py)."""
    if b'"gateway' in raw:
        given = [{"role": turn.role, "content": turn.content} for turn in body.messages]
        turns = [{**turn, "content": _own_content(turn["content"])} for turn in given]
        if turns != given:
            kept = [turn for turn in turns if turn["content"]]
            return serialised(raw, model=model, messages=kept), False
    return ask_for_model(raw, body.model, model), False


def _own_content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_own(block) for block in content if not _is_foreign(block)]


def _is_foreign(block: Object) -> bool:
    signature: Any = block.get("signature")
    return isinstance(signature, str) and signature.startswith(MARK)


def _own(block: Object) -> Object:
    if CALL_FIELD not in block:
        return block
    return {name: value for name, value in block.items() if name != CALL_FIELD}
