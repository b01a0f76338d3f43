"""Canonical messages as Mistral takes them.

After a tool's result only the assistant may speak, and last only a user, a tool, or an assistant
whose turn is a `prefix` to go on from. Ids of tool calls have nine letters or digits; longer ones
become a digest of theirs, the same wherever they stand.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from proxy.chat.request import (
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    ToolCall,
    ToolResult,
)
from proxy.chat.request import Text as TextPart
from proxy.dialects.openai.messages import MessageWriter, Object, data_url

_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_BETWEEN = {"role": "assistant", "content": "OK"}
"""What the assistant says between a tool's result and the user, where a caller left no turn."""


def call_id(given: str) -> str:
    if _CALL_ID.fullmatch(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]


class MistralMessages(MessageWriter):
    dialect = "mistral"

    def write(self, messages: Iterable[Message]) -> list[Object]:
        written: list[Object] = []
        for message in super().write(messages):
            if written and written[-1]["role"] == "tool" and message["role"] == "user":
                written.append(_BETWEEN)
            written.append(message)
        if written and written[-1]["role"] == "assistant":
            written[-1] = {**written[-1], "prefix": True}
        return written

    def role(self, message: Message) -> str:
        return "system" if message.role == "developer" else message.role

    def named(self, message: Message) -> Object:
        if message.name:
            self.lose("name of a message")
        return {}

    def assistant(self, message: Message, at: str) -> Object:
        content: list[Part] = []
        for part in message.parts:
            if isinstance(part, Reasoning) and not part.text:
                self.lose("encrypted reasoning of earlier turns")
            elif not isinstance(part, ToolCall):
                content.append(part)
        calls = [self.call(part) for part in message.parts if isinstance(part, ToolCall)]
        self.named(message)
        written: Object = {"role": "assistant", "content": self.content(content, at)}
        if calls:
            written["tool_calls"] = calls
        return {**written, **self.own(message.extras)}

    def call(self, call: ToolCall) -> Object:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        return {"id": call_id(call.id), "type": "function", "function": function}

    def result(self, result: ToolResult, at: str) -> Object:
        written = super().result(result, at)
        named = {"name": result.name} if result.name else {}
        return {**written, "tool_call_id": call_id(result.call_id), **named}

    def spell(self, part: Part, at: str) -> Object:
        match part:
            case Reasoning():
                thought = [{"type": "text", "text": part.text}]
                return {"type": "thinking", "thinking": thought, "closed": True}
            case Refusal():
                return super().spell(TextPart(text=part.text), at)
        return super().spell(part, at)

    def image(self, image: Image, at: str) -> Any:
        source = super().image(image, at)
        return source if image.detail else source["url"]

    def document(self, document: Document, at: str) -> Object:
        """A URL, or data as one; a file of Mistral's by its id."""
        if document.file_id:
            return {"type": "file", "file_id": document.file_id}
        if document.text:
            return super().document(document, at)
        url = document.url
        if document.data:
            url = data_url(document.media_type or "application/pdf", document.data)
        name = {"document_name": document.name} if document.name else {}
        return {"type": "document_url", "document_url": url, **name}
