"""Canonical messages as the contents of a request.

Strategy: the answers to the calls of one turn must stand in one content, so neighbouring messages
of tool results are joined. Instructions have one place, before everything else.
"""

import base64
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping
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
from proxy.dialects.gemini.thinking import generation
from proxy.dialects.losses import cannot_take
from proxy.dialects.serialising import as_object
from proxy.errors import InvalidRequest

UNCHECKED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
"""`skip_thought_signature_validator`: models from the third generation on refuse a call of theirs
without its signature; this stands for it where a conversation came by way of another dialect
(ai.google.dev/gemini-api/docs/thought-signatures)."""

Object = dict[str, Any]


def _own(part: Part) -> Object:
    own: Object = part.extras.get("gemini", {})
    return own


def _is_whole_part(part: Part) -> bool:
    """Whether `extras` hold the part as it was given: one that only this dialect has."""
    return type(part) is Part or (isinstance(part, Reasoning) and "text" in _own(part))


def _media_type(url: str, default: str) -> str:
    return mimetypes.guess_type(url.partition("?")[0])[0] or default


def _file(url: str, media_type: str) -> Object:
    named = {"mimeType": media_type} if media_type else {}
    return {"fileData": {"fileUri": url, **named}}


def _inline(data: str, media_type: str) -> Object:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _object_of(text: str) -> Object | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class ContentWriter:
    """Writes the messages of one request to one model; `warnings` gathers what is lost."""

    def __init__(self, model: str, warnings: list[str]) -> None:
        self._warnings = warnings
        self._checks_signatures = self._answers_hold_media = generation(model) >= (3, 0)
        self._names: dict[str, str] = {}
        """Of the functions that were called, by the call's id."""

    def write(self, messages: tuple[Message, ...]) -> Object:
        """`contents`, and `systemInstruction` where there is any. Raises InvalidRequest."""
        system: list[Object] = []
        contents: list[Object] = []
        joins = False
        for place, message in enumerate(messages):
            at = f"messages[{place}]"
            self._warn_of(message)
            if message.role in ("system", "developer"):
                self._warn_if(bool(contents), "system messages stand before all others in gemini")
                system += self._system(message, at)
                continue
            results = all(isinstance(part, ToolResult) for part in message.parts)
            parts = list(self._parts(message, at))
            if not parts:
                continue
            if joins and results:
                contents[-1]["parts"] += parts
            else:
                role = "model" if message.role == "assistant" else "user"
                contents.append({"role": role, "parts": parts})
            joins = results
        if not contents:  # the API wants at least one
            return {"contents": [{"role": "user", "parts": system}]}
        instruction = {"systemInstruction": {"parts": system}} if system else {}
        return {"contents": contents, **instruction}

    def _warn_if(self, lost: bool, warning: str) -> None:
        if lost and warning not in self._warnings:
            self._warnings.append(warning)

    def _warn_of(self, message: Message) -> None:
        self._warn_if(bool(message.name), "name of a message is not supported by gemini")
        marked = any("cache" in part.extras for part in message.parts)
        self._warn_if(marked, "cache markers are not supported by gemini")

    def _system(self, message: Message, at: str) -> Iterator[Object]:
        for part in message.parts:
            if not isinstance(part, Text):
                what = f"{type(part).__name__.lower()} in a system message"
                raise cannot_take("gemini", what, at)
            yield {"text": part.text, **_own(part)}

    def _parts(self, message: Message, at: str) -> Iterator[Object]:
        signed = not self._checks_signatures
        for index, part in enumerate(message.parts):
            place = f"{at}.content[{index}]"
            if _is_whole_part(part):
                if not _own(part):
                    owner = next((name for name in part.extras if name != "cache"), "nobody")
                    raise cannot_take("gemini", f"what only {owner} has", place)
                yield dict(_own(part))
                continue
            if isinstance(part, ToolResult):
                yield from self._result(part, place)
                continue
            written = self._part(part, place)
            if isinstance(part, ToolCall):
                if not signed:
                    written.setdefault("thoughtSignature", UNCHECKED)
                signed = True  # only the first of parallel calls bears one
            if written:
                yield written

    def _part(self, part: Part, at: str) -> Object:
        write = self._WRITERS.get(type(part))
        if write is None:
            raise cannot_take("gemini", type(part).__name__.lower(), at)
        written = write(self, part, at)
        return {**written, **_own(part)} if written else {}

    def _text(self, part: Any, at: str) -> Object:
        return {"text": part.text}

    def _reasoning(self, part: Reasoning, at: str) -> Object:
        """A signature of another provider means nothing here; ours is among `extras`."""
        self._warn_if(bool(part.redacted), "redacted reasoning is not supported by gemini")
        return {"text": part.text, "thought": True} if part.text or _own(part) else {}

    def _image(self, part: Image, at: str) -> Object:
        self._warn_if(
            part.detail not in ("", "auto"), "detail of an image is not supported by gemini"
        )
        if part.data:
            return _inline(part.data, part.media_type or "image/png")
        return _file(part.url, part.media_type or _media_type(part.url, "image/jpeg"))

    def _audio(self, part: Audio, at: str) -> Object:
        return _inline(part.data, f"audio/{part.format or 'wav'}")

    def _document(self, part: Document, at: str) -> Object:
        self._warn_if(bool(part.name), "name of a document is not supported by gemini")
        if part.data:
            return _inline(part.data, part.media_type or "application/pdf")
        if part.text:
            text = part.text.encode(errors="replace")  # a lone surrogate has no bytes
            return _inline(base64.b64encode(text).decode(), "text/plain")
        if part.url:
            return _file(part.url, part.media_type or _media_type(part.url, ""))
        if part.file_id.startswith(("files/", "https://", "gs://")):
            return _file(part.file_id, part.media_type)
        raise cannot_take("gemini", f"the file {part.file_id!r} of another provider", at)

    def _call(self, part: ToolCall, at: str) -> Object:
        self._names[part.id] = part.name
        if part.extras.get("openai", {}).get("type") == "custom":
            arguments: Any = {"input": part.arguments}
        else:
            arguments = as_object(part.arguments or "{}")
        if arguments is None:
            raise InvalidRequest(f"{at}: the arguments of {part.name} are no JSON object", param=at)
        named = {"id": part.id} if part.id else {}
        return {"functionCall": {**named, "name": part.name, "args": arguments}}

    def _result(self, part: ToolResult, at: str) -> Iterator[Object]:
        name = self._names.get(part.call_id) or part.name
        if not name:
            raise InvalidRequest(f"{at}: {part.call_id!r} is the id of no call", param=at)
        named = {"id": part.call_id} if part.call_id else {}
        answer: Object = {**named, "name": name, "response": _response(part)}
        media = [
            self._part(inner, f"{at}.content[{index}]")
            for index, inner in enumerate(part.content)
            if not isinstance(inner, Text)
        ]
        if media and self._answers_hold_media:
            answer["parts"] = media
        yield {"functionResponse": answer, **_own(part)}
        if not self._answers_hold_media:
            yield from media

    _WRITERS: Mapping[type[Part], Callable[..., Object]] = {
        Text: _text,
        Refusal: _text,
        Reasoning: _reasoning,
        Image: _image,
        Audio: _audio,
        Document: _document,
        ToolCall: _call,
    }


def _response(part: ToolResult) -> Object:
    """JSON objects are given as they are, text as `output`, what went wrong as `error`."""
    text = "\n".join(inner.text for inner in part.content if isinstance(inner, Text))
    given = _object_of(text)
    if part.is_error:
        return {"error": text if given is None else given}
    if given is None or (len(given) == 1 and not {"error", "output"}.isdisjoint(given)):
        return {"output": text}
    return given
