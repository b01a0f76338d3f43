"""Canonical messages as chat completions spell them.

Strategy: a tool's result is a message of its own that must follow the call's turn directly, and it
holds text alone. So the results of one turn are written first, in their order; what else stood
beside or inside them (images, documents) follows them in one user message.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from proxy.chat.request import (
    Audio,
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

Object = dict[str, Any]


def data_url(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


class MessageWriter:
    """Writes the messages of one request. Dialects that resemble this one override how a part or an
    assistant's turn is spelled."""

    dialect = "openai"

    def __init__(self) -> None:
        self._written: list[Object] = []
        self._after_results: list[Part] = []
        self._losses: dict[str, None] = {}

    @property
    def warnings(self) -> list[str]:
        return [f"{what} is not supported by {self.dialect}" for what in self._losses]

    def lose(self, what: str) -> None:
        """Notes a setting that cannot be carried."""
        self._losses[what] = None

    def own(self, extras: Object) -> Object:
        """What only this dialect says of a part or message."""
        own = extras.get(self.dialect)
        return own if isinstance(own, dict) else {}

    def write(self, messages: Iterable[Message]) -> list[Object]:
        """Raises InvalidRequest for content that the dialect cannot take."""
        at = "messages"
        for index, message in enumerate(messages):
            at = f"messages[{index}]"
            self._write_message(message, at)
        self._write_what_follows_results(at)
        return self._written

    def _write_message(self, message: Message, at: str) -> None:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        if not results and message.role != "tool":
            self._write_what_follows_results(at)
            write = self.assistant if message.role == "assistant" else self.spoken
            self._written.append(write(message, at))
            return
        for result in results:
            self._written.append(self.result(result, at))
        for part in message.parts:
            if not isinstance(part, ToolResult):
                self._after_results.append(part)

    def _write_what_follows_results(self, at: str) -> None:
        if self._after_results:
            self._written.append(self.spoken(Message("user", tuple(self._after_results)), at))
            self._after_results = []

    def role(self, message: Message) -> str:
        return message.role

    def spoken(self, message: Message, at: str) -> Object:
        """A turn of the user, or instructions."""
        if message.role != "user":
            for part in message.parts:
                if not isinstance(part, Text):
                    raise cannot_take(self.dialect, f"{kind_of(part)} in instructions", at)
        written: Object = {
            "role": self.role(message),
            "content": self.content(message.parts, at),
        }
        if not (message.name or message.extras):
            return written
        return {**written, **self.named(message), **self.own(message.extras)}

    def named(self, message: Message) -> Object:
        return {"name": message.name} if message.name else {}

    def assistant(self, message: Message, at: str) -> Object:
        """A turn of the model. Reasoning goes back only to where its field came from: providers of
        this dialect do not agree on one, and some refuse it."""
        written: Object = {"role": "assistant", "content": None}
        content, calls = [], []
        for part in message.parts:
            match part:
                case ToolCall():
                    calls.append(part)
                case Reasoning():
                    if field := self.own(part.extras).get("field"):
                        written[field] = part.text
                    else:
                        self.lose("reasoning of earlier turns")
                case Refusal() if "type" not in self.own(part.extras):
                    written["refusal"] = written.get("refusal", "") + part.text
                case Text() | Refusal():
                    content.append(part)
                case _:
                    raise cannot_take(self.dialect, f"{kind_of(part)} of the assistant", at)
        if content or not (calls or "refusal" in written):
            written["content"] = self.content(content, at)
        return {**written, **self.calls(calls), **self.named(message), **self.own(message.extras)}

    def calls(self, calls: list[ToolCall]) -> Object:
        """The member, or the older one, in which the calls of a turn stand."""
        if any(self.own(call.extras).get("type") == "function_call" for call in calls):
            only = calls[0]
            return {"function_call": {"name": only.name, "arguments": only.arguments}}
        return {"tool_calls": [self.call(call) for call in calls]} if calls else {}

    def call(self, call: ToolCall) -> Object:
        if self.own(call.extras).get("type") == "custom":
            custom = {"name": call.name, "input": call.arguments}
            return {"id": call.id, "type": "custom", "custom": custom}
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        return {"id": call.id, "type": "function", "function": function, **self.own(call.extras)}

    def result(self, result: ToolResult, at: str) -> Object:
        """One result's text; whether it is an error has no field here."""
        if result.is_error:
            self.lose("is_error of a tool result")
        texts = []
        for part in result.content:
            if isinstance(part, Text):
                texts.append(part)
            else:
                self._after_results.append(part)
        content = self.content(texts, at)
        own = self.own(result.extras)
        if own.get("role") == "function":
            return {"role": "function", "name": result.name, "content": content}
        return {"role": "tool", "tool_call_id": result.call_id, "content": content, **own}

    def content(self, parts: Sequence[Part], at: str) -> str | list[Object]:
        """Plain text where that says it all."""
        if len(parts) == 1 and type(parts[0]) is Text and not parts[0].extras:
            return parts[0].text
        written = [self.part(part, at) for part in parts]
        if not written:
            return ""
        if len(written) == 1 and written[0].keys() == {"type", "text"}:
            return str(written[0]["text"])
        return written

    def part(self, part: Part, at: str) -> Object:
        own = self.own(part.extras)
        if "cache" in part.extras and "cache_control" not in own:
            self.lose("cache_control")
        return {**self.spell(part, at), **own}

    def spell(self, part: Part, at: str) -> Object:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Image():
                return {"type": "image_url", "image_url": self.image(part, at)}
            case Audio():
                audio = {"data": part.data, "format": part.format}
                return {"type": "input_audio", "input_audio": audio}
            case Document():
                return self.document(part, at)
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
        raise cannot_take(self.dialect, kind_of(part), at)

    def image(self, image: Image, at: str) -> Any:
        source = {"url": self.image_url(image, at)}
        return {**source, "detail": image.detail} if image.detail else source

    def image_url(self, image: Image, at: str) -> str:
        if image.data:
            return data_url(image.media_type or "image/png", image.data)
        if image.url:
            return image.url
        raise cannot_take(self.dialect, "an image without data or URL", at)

    def document(self, document: Document, at: str) -> Object:
        """Inline data or a file's id; plain text becomes a text part."""
        name = {"filename": document.name} if document.name else {}
        if document.text:
            return {"type": "text", "text": document.text}
        if document.data:
            url = data_url(document.media_type or "application/pdf", document.data)
            named = name or {"filename": "document"}
            return {"type": "file", "file": {**named, "file_data": url}}
        if document.file_id:
            return {"type": "file", "file": {**name, "file_id": document.file_id}}
        raise cannot_take(self.dialect, "a document by URL", at)


def kind_of(part: Part) -> str:
    """What a part is called in messages to callers."""
    return {"ToolCall": "a tool call", "ToolResult": "a tool result"}.get(
        type(part).__name__, type(part).__name__.lower()
    )
