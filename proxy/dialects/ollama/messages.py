"""Canonical messages as Ollama takes them: a text, and images in base64 beside it."""

from collections.abc import Iterable

import orjson

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
from proxy.dialects.openai.messages import MessageWriter, Object, kind_of


class OllamaMessages(MessageWriter):
    dialect = "ollama"

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}

    def spoken(self, message: Message, at: str) -> Object:
        role = "user" if message.role == "user" else "system"
        if message.name:
            self.lose("name of a message")
        images = [self._base64(part, at) for part in message.parts if isinstance(part, Image)]
        if images and role == "system":
            raise cannot_take(self.dialect, "image in instructions", at)
        rest = [part for part in message.parts if not isinstance(part, Image)]
        written: Object = {"role": role, "content": self._text(rest, at)}
        return {**written, "images": images} if images else written

    def assistant(self, message: Message, at: str) -> Object:
        written: Object = {"role": "assistant"}
        said: list[Part] = []
        for part in message.parts:
            if isinstance(part, Reasoning):
                self._think(part, written)
            elif isinstance(part, ToolCall):
                written.setdefault("tool_calls", []).append(self._call_of(part, at))
            else:
                said.append(part)
        return {**written, "content": self._text(said, at)}

    def result(self, result: ToolResult, at: str) -> Object:
        written = super().result(result, at)
        name = result.name or self._names.get(result.call_id, "")
        return {**written, **({"tool_name": name} if name else {})}

    def content(self, parts: Iterable[Part], at: str) -> str:
        return self._text(parts, at)

    def _think(self, part: Reasoning, written: Object) -> None:
        if part.text:
            written["thinking"] = written.get("thinking", "") + part.text
        else:
            self.lose("encrypted reasoning of earlier turns")

    def _call_of(self, call: ToolCall, at: str) -> Object:
        self._names[call.id] = call.name
        try:
            arguments = orjson.loads((call.arguments or "{}").encode("utf-8", "surrogatepass"))
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise cannot_take(self.dialect, "arguments that are no JSON object", at)
        return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}

    def _base64(self, image: Image, at: str) -> str:
        if image.data:
            return image.data
        raise cannot_take(self.dialect, "an image by URL", at)

    def _text(self, parts: Iterable[Part], at: str) -> str:
        """One text; parts are set apart by a line end."""
        texts = []
        for part in parts:
            if isinstance(part, Text | Refusal) or (isinstance(part, Document) and part.text):
                texts.append(part.text)
            else:
                raise cannot_take(self.dialect, kind_of(part), at)
            if "cache" in part.extras:
                self.lose("cache_control")
        return "\n".join(texts)
