"""Canonical messages as turns of content blocks."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Any

from proxy.chat.request import (
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.losses import cannot_take
from proxy.dialects.serialising import as_object
from proxy.errors import InvalidRequest

Block = dict[str, Any]

_ID_SIGNS = re.compile(r"[^a-zA-Z0-9_-]")
_ROLES = {"system": "system", "assistant": "assistant"}
_UNSIGNED = "reasoning that anthropic has not signed is not supported by it"


class CallIds:
    """Names of tool calls, as the provider wants them: `^[a-zA-Z0-9_-]+$`, never empty. A call
    without an id, as some providers make them, is numbered; results without one answer in order."""

    def __init__(self) -> None:
        self._made = 0
        self._unanswered: list[str] = []

    def of_call(self, call_id: str) -> str:
        if not call_id:
            self._made += 1
            call_id = f"toolu_{self._made}"
            self._unanswered.append(call_id)
        return _ID_SIGNS.sub("_", call_id)

    def of_result(self, call_id: str) -> str:
        if not call_id and self._unanswered:
            call_id = self._unanswered.pop(0)
        return _ID_SIGNS.sub("_", call_id)


def _marked(block: Block, part: Part) -> Block:
    """A block with its cache marker, and with what only this dialect says of it."""
    if cache := part.extras.get("cache"):
        block["cache_control"] = cache
    own = part.extras.get("anthropic")
    return {**block, **own} if own else block


def _write_text(part: Text | Refusal) -> Block | None:
    """Empty text is refused by the provider, and says nothing."""
    return _marked({"type": "text", "text": part.text}, part) if part.text else None


def _write_image(part: Image) -> Block:
    if part.url:
        source = {"type": "url", "url": part.url}
    else:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    return _marked({"type": "image", "source": source}, part)


def _write_document(part: Document, at: str) -> Block:
    block: Block = {"type": "document", "source": _source(part, at)}
    if part.name:
        block["title"] = part.name
    return _marked(block, part)


def _source(part: Document, at: str) -> Block:
    """PDF and plain text are what it reads (docs, "PDF support")."""
    if part.url:
        return {"type": "url", "url": part.url}
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    if part.text:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    if part.media_type == "application/pdf":
        return {"type": "base64", "media_type": part.media_type, "data": part.data}
    if part.media_type.startswith("text/"):
        try:
            text = base64.b64decode(part.data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequest(f"{at}: the document is no text in UTF-8", param=at) from None
        return {"type": "text", "media_type": "text/plain", "data": text}
    raise cannot_take("anthropic", f"a document of type {part.media_type or 'unknown'}", at)


class Writer:
    """Writes the turns of one request; `warnings` gathers what they lose."""

    def __init__(self) -> None:
        self._ids = CallIds()
        self.warnings: list[str] = []
        self._writers: dict[type[Part], Callable[[Any, str], Block | None]] = {
            Text: lambda part, at: _write_text(part),
            Refusal: lambda part, at: _write_text(part),
            Image: lambda part, at: _write_image(part),
            Document: _write_document,
            ToolCall: self._write_call,
            ToolResult: self._write_result,
            Reasoning: self._write_reasoning,
            Part: self._write_whole,
        }

    def write(self, messages: tuple[Message, ...]) -> tuple[list[Block], list[Block]]:
        """(the system prompt, the turns). System messages go to the top, but for those that were
        between turns already; a request of nothing else asks as a user. Turns of one role in a row
        become one."""
        system: list[Block] = []
        turns: list[Block] = []
        for index, message in enumerate(messages):
            at = f"messages[{index}]"
            blocks = list(self._blocks(message.parts, f"{at}.content"))
            if message.name:
                self._warn("name of a message is not supported by anthropic")
            if message.role in ("system", "developer") and not _is_turn(message):
                if any(block["type"] != "text" for block in blocks):
                    raise cannot_take("anthropic", "a system prompt that is not text", at)
                system += blocks
                continue
            role = _ROLES.get(message.role, "user")
            if turns and turns[-1]["role"] == role and role != "system":
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": role, "content": blocks})
        if not turns and system:
            return [], [{"role": "user", "content": system}]
        return system, turns

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _blocks(self, parts: tuple[Part, ...], at: str) -> Iterator[Block]:
        for index, part in enumerate(parts):
            where = f"{at}[{index}]"
            write = self._writers.get(type(part))
            if write is None:
                raise cannot_take("anthropic", type(part).__name__.lower(), where)
            block = write(part, where)
            if block is not None:
                yield block

    def _write_call(self, part: ToolCall, at: str) -> Block:
        given = as_object(part.arguments or "{}")
        if given is None:
            raise InvalidRequest(f"{at}.arguments is not a JSON object", param=f"{at}.arguments")
        call_id = self._ids.of_call(part.id)
        return _marked({"type": "tool_use", "id": call_id, "name": part.name, "input": given}, part)

    def _write_result(self, part: ToolResult, at: str) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": self._ids.of_result(part.call_id)}
        content = list(self._blocks(part.content, f"{at}.content"))
        if content:
            block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return _marked(block, part)

    def _write_reasoning(self, part: Reasoning, at: str) -> Block | None:
        """Thinking that this provider has not signed is refused by it."""
        own = part.extras.get("anthropic")
        if own and own.get("data"):
            return {"type": "redacted_thinking", "data": own["data"]}
        if own and part.signature:
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        self._warn(_UNSIGNED)
        return None

    def _write_whole(self, part: Part, at: str) -> Block:
        own = part.extras.get("anthropic")
        if isinstance(own, dict):
            return dict(own)
        owner = next((name for name in part.extras if name != "cache"), "another provider")
        raise cannot_take("anthropic", f"what only {owner} has", at)


def _is_turn(message: Message) -> bool:
    return bool(message.extras.get("anthropic", {}).get("in_messages"))
