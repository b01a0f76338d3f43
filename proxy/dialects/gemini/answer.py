"""What a written answer is made of, streamed or whole."""

from collections.abc import Iterable
from typing import Any

import orjson

from proxy.chat.events import Event, Finished
from proxy.chat.fold import Block, fold
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.gemini.finishing import write_finish
from proxy.dialects.gemini.usage import write_usage


def call_part(block: Block, number: int) -> dict[str, Any] | None:
    """A function call; None where its arguments are no object, which the wire cannot say.

    A custom tool's input is free text, and becomes the argument `input`.
    """
    if block.extras.get("openai", {}).get("type") == "custom":
        arguments: Any = {"input": block.text}
    else:
        try:
            arguments = orjson.loads(block.text or "{}")
        except orjson.JSONDecodeError:
            return None
        if not isinstance(arguments, dict):
            return None
    call = {"id": block.call_id or f"call_{number}", "name": block.name, "args": arguments}
    return {"functionCall": call, **block.extras.get("gemini", {})}


def report(usage: Usage, extras: dict[str, Any]) -> dict[str, Any]:
    """The provider's own report where it was of this dialect."""
    own: dict[str, Any] | None = extras.get("gemini")
    return own or write_usage(usage)


def ending(finishes: Iterable[Finished], faults: dict[int, str]) -> dict[str, Any]:
    """The members of an answer that say how it ended. `faults` are calls, by choice, that could
    not be written."""
    candidates = []
    last: dict[str, Any] = {}
    for finish in finishes:
        feedback = finish.extras.get("gemini", {}).get("promptFeedback")
        if feedback:
            last["promptFeedback"] = feedback
            continue
        members = write_finish(finish)
        if finish.choice in faults:
            members["finishMessage"] = faults[finish.choice]
            if members["finishReason"] == "STOP":
                members["finishReason"] = "MALFORMED_FUNCTION_CALL"
        candidates.append({"content": {"role": "model"}, **members, "index": finish.choice})
    if candidates:
        last["candidates"] = candidates
    return last


def _part(block: Block, number: int) -> dict[str, Any] | None:
    own = block.extras.get("gemini", {})
    if block.kind == "tool_call":
        return call_part(block, number)
    if block.kind == "other":
        return own or None
    if block.kind == "reasoning":
        signed = {"thoughtSignature": block.signature} if block.signature else {}
        return {"text": block.text, "thought": True, **signed, **own}
    return {"text": block.text, **own} if block.text or own else None


def write_body(events: Iterable[Event], start: Start) -> bytes:
    """A whole answer."""
    answer = fold(events)
    parts: dict[int, list[dict[str, Any]]] = {}
    faults: dict[int, str] = {}
    for number, block in enumerate(answer.blocks, start=1):
        part = _part(block, number)
        if part is not None:
            parts.setdefault(block.choice, []).append(part)
        elif block.kind == "tool_call":
            faults[block.choice] = f"The arguments of {block.name} are no object: {block.text}"
    finishes = dict(answer.finishes)
    for choice in parts.keys() - finishes.keys():
        finishes[choice] = Finished("stop", choice)
    body = ending([finishes[choice] for choice in sorted(finishes)], faults)
    for candidate in body.get("candidates", ()):
        if candidate["index"] in parts:
            candidate["content"]["parts"] = parts[candidate["index"]]
    body["usageMetadata"] = report(answer.usage or Usage(), answer.usage_extras)
    body["modelVersion"] = answer.model or start.model
    body["responseId"] = answer.id or start.id
    return orjson.dumps({**body, **answer.extras.get("gemini", {})})
