"""What a written answer is made of, streamed or whole."""

from collections.abc import Iterable
from typing import Any

from proxy.chat.events import Event, Finished
from proxy.chat.fold import Block, fold
from proxy.chat.usage import Usage
from proxy.dialects.faces import Start
from proxy.dialects.gemini.carried import sealed
from proxy.dialects.gemini.finishing import write_finish
from proxy.dialects.gemini.logprobs import entries_of, write_logprobs
from proxy.dialects.gemini.usage import write_usage
from proxy.dialects.serialising import as_object, serialised

Asides = dict[int, dict[str, Any]]
"""What is said of each candidate beside its content, by its index."""


def call_part(block: Block, number: int) -> dict[str, Any] | None:
    """A function call; None where its arguments are no object, which the wire cannot say.

    A custom tool's input is free text, and becomes the argument `input`.
    """
    if block.extras.get("openai", {}).get("type") == "custom":
        arguments: Any = {"input": block.text}
    else:
        # Line ends in JSON are blanks, but in an event they are its end.
        arguments = as_object(block.text.replace("\n", " ").replace("\r", " ") or "{}")
        if arguments is None:
            return None
    call = {"id": block.call_id or f"call_{number}", "name": block.name, "args": arguments}
    return {"functionCall": call, **block.extras.get("gemini", {})}


def report(usage: Usage, extras: dict[str, Any]) -> dict[str, Any]:
    """The provider's own report where it was of this dialect."""
    own: dict[str, Any] | None = extras.get("gemini")
    return own or write_usage(usage)


def note_fault(asides: Asides, call: Block) -> None:
    """A call that could not be written is told of at the end of its candidate."""
    fault = f"The arguments of {call.name} are no object: {call.text}"
    asides.setdefault(call.choice, {})["finishMessage"] = fault


def note_logprobs(asides: Asides, choice: int, extras: dict[str, Any]) -> None:
    """Log-probabilities stand beside a candidate's content, not in it."""
    entries = entries_of(extras.get("logprobs"))
    if entries:
        asides.setdefault(choice, {}).setdefault("logprobs", []).extend(entries)


def ending(finishes: Iterable[Finished], asides: Asides) -> dict[str, Any]:
    """The members of an answer that say how it ended."""
    candidates = []
    last: dict[str, Any] = {}
    for finish in finishes:
        feedback = finish.extras.get("gemini", {}).get("promptFeedback")
        if feedback:
            last["promptFeedback"] = feedback
            continue
        members = write_finish(finish)
        aside = asides.get(finish.choice, {})
        if "finishMessage" in aside:
            members["finishMessage"] = aside["finishMessage"]
            if members["finishReason"] == "STOP":
                members["finishReason"] = "MALFORMED_FUNCTION_CALL"
        if "logprobs" in aside:
            members.setdefault("logprobsResult", write_logprobs(aside["logprobs"]))
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
        signature = sealed(block.signature, block.extras)
        signed = {"thoughtSignature": signature} if signature else {}
        return {"text": block.text, "thought": True, **signed, **own}
    return {"text": block.text, **own} if block.text or own else None


def write_body(events: Iterable[Event], start: Start) -> bytes:
    """A whole answer."""
    answer = fold(events)
    parts: dict[int, list[dict[str, Any]]] = {}
    asides: Asides = {}
    for number, block in enumerate(answer.blocks, start=1):
        part = _part(block, number)
        if part is not None:
            parts.setdefault(block.choice, []).append(part)
        elif block.kind == "tool_call":
            note_fault(asides, block)
        note_logprobs(asides, block.choice, block.extras)
    finishes = dict(answer.finishes)
    for choice in parts.keys() - finishes.keys():
        finishes[choice] = Finished("stop", choice)
    body = ending([finishes[choice] for choice in sorted(finishes)], asides)
    for candidate in body.get("candidates", ()):
        if candidate["index"] in parts:
            candidate["content"]["parts"] = parts[candidate["index"]]
    body["usageMetadata"] = report(answer.usage or Usage(), answer.usage_extras)
    body["modelVersion"] = answer.model or start.model
    body["responseId"] = answer.id or start.id
    return serialised({**body, **answer.extras.get("gemini", {})})
