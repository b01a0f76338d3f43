"""Items of an answer while they grow: what each event of theirs looks like on the wire.

Source: API reference, "Streaming events". Every item is announced by `output_item.added` and ends
with `output_item.done`; between them its parts, texts or arguments are announced, streamed, and
repeated whole.
"""

from typing import Any

from proxy.chat.events import BlockEnded, BlockStarted, ReasoningDelta, TextDelta
from proxy.dialects.carrying import CALL_FIELD, sealed
from proxy.dialects.responses.annotations import annotations_of
from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.frames import Frames, delta_head
from proxy.dialects.responses.shapes import Object, list_of, object_of, text_of
from proxy.dialects.serialising import serialised

_ID_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "reasoning": "rs",
}
_CALLS = {
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}
_NO_LOGPROBS = b',"logprobs":[]'


def foreign(extras: Object) -> Object:
    """What other providers said of a block and want back."""
    return {
        owner: own
        for owner, own in extras.items()
        if owner not in (OWN, "openai", "logprobs") and isinstance(own, dict)
    }


class Item:
    """`value` is the item as it is by now."""

    def __init__(self, frames: Frames, index: int, value: Object, stem: str) -> None:
        self.frames = frames
        self.index = index
        self.value = value
        self.is_open = True
        prefix = _ID_PREFIXES.get(value["type"], "item")
        value["id"] = text_of(value.get("id")) or f"{prefix}_{stem}{index:02}"
        self.place: Object = {"item_id": value["id"], "output_index": index}

    def added(self) -> bytes:
        return self.frames.event(
            "response.output_item.added", output_index=self.index, item=self.value
        )

    def close(self) -> bytes:
        """The end of the item; nothing where it has ended already."""
        if not self.is_open:
            return b""
        self.is_open = False
        if self.value.get("status") == "in_progress":
            self.value["status"] = "completed"
        return self.frames.event(
            "response.output_item.done", output_index=self.index, item=self.value
        )

    def ended(self, event: BlockEnded) -> bytes:
        """The end of a block that is the whole item."""
        return self.close()


class Message(Item):
    """Neighbouring texts and refusals. `own` is what its provider called it by, if it did."""

    def __init__(self, frames: Frames, index: int, own: Object, stem: str) -> None:
        value = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        super().__init__(frames, index, {**value, **own}, stem)
        self.own = own
        self.open_parts = 0
        self.takes_more = True

    def seal(self) -> bytes:
        """No more parts: another item follows."""
        self.takes_more = False
        return b"" if self.open_parts else self.close()


class TextPart:
    """A text or a refusal in a message."""

    def __init__(self, message: Message, kind: str) -> None:
        self._message = message
        self._frames = message.frames
        self._type = "output_text" if kind == "text" else "refusal"
        self._field = "text" if kind == "text" else "refusal"
        self._pieces: list[str] = []
        self._part: Object = {"type": self._type, self._field: ""}
        if kind == "text":
            self._part |= {"annotations": [], "logprobs": []}
        content = message.value["content"]
        self._place = {**message.place, "content_index": len(content)}
        self._head = delta_head(self._type, self._place)
        self._no_logprobs = _NO_LOGPROBS if kind == "text" else b""
        content.append(self._part)
        message.open_parts += 1

    def added(self) -> bytes:
        return self._frames.event("response.content_part.added", **self._place, part=self._part)

    def text(self, event: TextDelta) -> bytes:
        if event.extras:
            return self._noted_text(event)
        self._pieces.append(event.text)
        return self._frames.delta(self._head, event.text, self._no_logprobs) if event.text else b""

    def _noted_text(self, event: TextDelta) -> bytes:
        """Text with log-probabilities, or annotations of what was said."""
        self._pieces.append(event.text)
        logprobs = list_of(object_of(event.extras.get("logprobs")).get("content"))
        going = b""
        if event.text and self._type == "output_text":
            given = b',"logprobs":' + serialised(logprobs)
            going = self._frames.delta(self._head, event.text, given)
        elif event.text:
            going = self._frames.delta(self._head, event.text)
        if self._type == "refusal":
            return going
        self._part["logprobs"] += logprobs
        return going + b"".join(self._annotated(note) for note in annotations_of(event.extras))

    def _annotated(self, annotation: Any) -> bytes:
        annotations = self._part["annotations"]
        annotations.append(annotation)
        return self._frames.event(
            "response.output_text.annotation.added",
            **self._place,
            annotation_index=len(annotations) - 1,
            annotation=annotation,
        )

    def ended(self, event: BlockEnded) -> bytes:
        text = self._part[self._field] = "".join(self._pieces)
        said: Object = {self._field: text}
        if self._type == "output_text":
            said["logprobs"] = self._part["logprobs"]
        going = self._frames.event(f"response.{self._type}.done", **self._place, **said)
        going += self._frames.event("response.content_part.done", **self._place, part=self._part)
        message = self._message
        message.open_parts -= 1
        return going if message.takes_more or message.open_parts else going + message.close()


class Call(Item):
    """A call of a function, or of a tool that takes free text."""

    def __init__(self, frames: Frames, index: int, event: BlockStarted, stem: str) -> None:
        custom = object_of(event.extras.get("openai")).get("type") == "custom"
        kind = "custom_tool_call" if custom else "function_call"
        self._name, self._field = _CALLS[kind]
        value = {
            "type": kind,
            "status": "in_progress",
            self._field: "",
            "call_id": event.call_id or f"call_{stem}{index:02}",
            "name": event.name,
            **object_of(event.extras.get(OWN)),
        }
        super().__init__(frames, index, value, stem)
        self._head = delta_head(self._name, self.place)
        self._pieces: list[str] = []
        self._extras = foreign(event.extras)

    def arguments(self, piece: str) -> bytes:
        self._pieces.append(piece)
        return self.frames.delta(self._head, piece)

    def ended(self, event: BlockEnded) -> bytes:
        """A call without arguments gets an empty object: callers parse them as JSON."""
        going = b""
        if not any(self._pieces) and self._field == "arguments":
            going = self.arguments("{}")
        said = {self._field: "".join(self._pieces)}
        self.value.update(said)
        self._extras |= foreign(event.extras)
        if self._extras:
            self.value[CALL_FIELD] = self._extras
        return (
            going
            + self.frames.event(f"response.{self._name}.done", **self.place, **said)
            + self.close()
        )


class Thought(Item):
    """Reasoning: summary parts, or its own texts. What a provider of another dialect wants back
    with it is sealed where this one has its encrypted content."""

    def __init__(self, frames: Frames, index: int, event: BlockStarted, stem: str) -> None:
        self._own = object_of(event.extras.get(OWN))
        super().__init__(frames, index, {"type": "reasoning", "summary": [], **self._own}, stem)
        self._extras = foreign(event.extras)
        self._signature = ""
        self._name = ""
        self._head = b""
        self._part: Object = {}
        self._place: Object = {}
        self._pieces: list[str] = []

    def delta(self, event: ReasoningDelta) -> bytes:
        self._signature += event.signature
        going = b""
        if event.extras:
            self._extras |= foreign(event.extras)
            part = object_of(event.extras.get(OWN)).get("part")
            if isinstance(part, list) and part:
                going = self._part_ended() + self._part_started(part[0] == "reasoning_text")
        if not event.text:
            return going
        if not self._name:
            going += self._part_started(is_text=False)
        self._pieces.append(event.text)
        return going + self.frames.delta(self._head, event.text)

    def _part_started(self, is_text: bool) -> bytes:
        field, kind, index = "summary", "summary_text", "summary_index"
        self._name, announced = "reasoning_summary_text", "response.reasoning_summary_part.added"
        if is_text:
            field, kind, index = "content", "reasoning_text", "content_index"
            self._name, announced = "reasoning_text", "response.content_part.added"
        parts = self.value.setdefault(field, [])
        self._part = {"type": kind, "text": ""}
        self._place = {**self.place, index: len(parts)}
        self._head = delta_head(self._name, self._place)
        self._pieces = []
        parts.append(self._part)
        return self.frames.event(announced, **self._place, part=self._part)

    def _part_ended(self) -> bytes:
        if not self._name:
            return b""
        text = self._part["text"] = "".join(self._pieces)
        is_text = self._name == "reasoning_text"
        ended = "response.content_part.done" if is_text else "response.reasoning_summary_part.done"
        going = self.frames.event(f"response.{self._name}.done", **self._place, text=text)
        self._name = ""
        return going + self.frames.event(ended, **self._place, part=self._part)

    def ended(self, event: BlockEnded) -> bytes:
        going = self._part_ended()
        self._extras |= foreign(event.extras)
        own = object_of(event.extras.get(OWN)).get("item")
        if isinstance(own, dict):
            self.value.update({**own, "id": self.value["id"]})
        elif encrypted := self._encrypted():
            self.value["encrypted_content"] = encrypted
        return going + self.close()

    def _encrypted(self) -> str:
        return self._signature if self._own else sealed(self._signature, self._extras)


class Other(Item):
    """An item that only this dialect has, as its provider gave it."""

    def ended(self, event: BlockEnded) -> bytes:
        last = object_of(object_of(event.extras.get(OWN)).get("item"))
        self.value.update({**last, "id": self.value["id"]})
        return self.close()
