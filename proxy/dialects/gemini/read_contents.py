"""The contents of a request as canonical messages.

Strategy: the API knows two roles. What a user's content answers of function calls becomes messages
of their own, as other dialects have them; the rest of it stays together. Neighbouring contents of
the model are one message, and pieces of one text in it one part: chat clients hand a stream back
frame by frame. Calls and answers without an id are matched by name and order.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.chat.request import (
    Audio,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from proxy.dialects.gemini.carried import opened
from proxy.dialects.gemini.shapes import Content
from proxy.errors import InvalidRequest

_USERS = frozenset({None, "", "user", "function", "tool"})
_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}


class _Calls:
    """Ids of function calls, and of the answers that wait for theirs."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[str, str]] = []

    def made(self, given: str, name: str) -> str:
        self._count += 1
        call_id = given or f"call_{self._count}"
        self._waiting.append((call_id, name))
        return call_id

    def answered(self, given: str, name: str) -> str:
        for waiting in self._waiting:
            if given == waiting[0] or (not given and name == waiting[1]):
                self._waiting.remove(waiting)
                return waiting[0]
        self._count += not given
        return given or f"call_{self._count}"


def as_json(value: Any) -> str:
    """JSON text of any value that was JSON, numbers of any size included."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _member(fields: Mapping[str, Any], name: str, kind: type, at: str) -> Any:
    """A member of this type, or nothing of it. Raises InvalidRequest."""
    value = fields.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidRequest(f"{at}.{name} has a wrong type", param=f"{at}.{name}")
    return value


def _required(fields: Mapping[str, Any], name: str, at: str) -> str:
    value: str = _member(fields, name, str, at)
    if not value:
        raise InvalidRequest(f"{at}.{name} is required", param=f"{at}.{name}")
    return value


def _own(part: Mapping[str, Any], *read: str) -> dict[str, Any]:
    """What else a part says, such as its thoughtSignature or videoMetadata."""
    rest = {name: value for name, value in part.items() if name not in read}
    return {"gemini": rest} if rest else {}


def _blob(part: Mapping[str, Any], at: str) -> Part:
    blob: dict[str, Any] = _member(part, "inlineData", dict, at)
    at = f"{at}.inlineData"
    media_type, data = _required(blob, "mimeType", at), _required(blob, "data", at)
    extras = _own(part, "inlineData")
    kind, _, subtype = media_type.partition("/")
    if kind == "image":
        return Image(data=data, media_type=media_type, extras=extras)
    if kind == "audio":
        return Audio(data=data, format=_AUDIO_FORMATS.get(subtype, subtype), extras=extras)
    return Document(data=data, media_type=media_type, extras=extras)


def _file(part: Mapping[str, Any], at: str) -> Part:
    file: dict[str, Any] = _member(part, "fileData", dict, at)
    at = f"{at}.fileData"
    url, media_type = _required(file, "fileUri", at), _member(file, "mimeType", str, at)
    extras = _own(part, "fileData")
    if media_type.startswith("image/"):
        return Image(url=url, media_type=media_type, extras=extras)
    return Document(url=url, media_type=media_type, extras=extras)


def _call(part: Mapping[str, Any], at: str, calls: _Calls) -> Part:
    call: dict[str, Any] = _member(part, "functionCall", dict, at)
    at = f"{at}.functionCall"
    name, given = _required(call, "name", at), _member(call, "id", str, at)
    arguments = as_json(_member(call, "args", dict, at))
    return ToolCall(
        id=calls.made(given, name),
        name=name,
        arguments=arguments,
        extras=_own(part, "functionCall"),
    )


def _result(part: Mapping[str, Any], at: str, calls: _Calls) -> Part:
    """What a function gave back. By the API's custom `output` is what it gave and `error` what went
    wrong; anything else is handed on as JSON (ai.google.dev/api/caching, "FunctionResponse").
    """
    answer: dict[str, Any] = _member(part, "functionResponse", dict, at)
    at = f"{at}.functionResponse"
    name = _required(answer, "name", at)
    response: dict[str, Any] = _member(answer, "response", dict, at)
    value: Any = response
    if len(response) == 1:
        value = response.get("error", response.get("output", response))
    is_error = value is not response and "error" in response
    if value is not response and not is_error and not isinstance(value, str):
        value = response
    text = value if isinstance(value, str) else as_json(value)
    content: list[Part] = [Text(text=text)] if text else []
    for index, media in enumerate(_member(answer, "parts", list, at)):
        content.append(_media(media, f"{at}.parts[{index}]"))
    return ToolResult(
        call_id=calls.answered(_member(answer, "id", str, at), name),
        content=tuple(content),
        name=name,
        is_error=is_error,
        extras=_own(part, "functionResponse"),
    )


def _media(part: Any, at: str) -> Part:
    if isinstance(part, dict) and "inlineData" in part:
        return _blob(part, at)
    if isinstance(part, dict) and "fileData" in part:
        return _file(part, at)
    raise InvalidRequest(f"{at} is inlineData or fileData", param=at)


def _text(part: Mapping[str, Any], at: str) -> Part:
    text = part.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(f"{at}.text has a wrong type", param=f"{at}.text")
    if part.get("thought") is True:
        carried = opened(_member(part, "thoughtSignature", str, at))
        if carried is not None:
            return Reasoning(text=text, signature=carried[0], extras=carried[1])
        return Reasoning(text=text, extras=_own(part, "text", "thought"))
    if not text and part.get("thoughtSignature"):
        # A signature alone: of the reasoning, not of any text.
        return Reasoning(extras={"gemini": dict(part)})
    return Text(text=text, extras=_own(part, "text", "thought"))


def _part(part: Mapping[str, Any], at: str, calls: _Calls) -> Part:
    if "text" in part:
        return _text(part, at)
    if "functionCall" in part:
        return _call(part, at, calls)
    if "functionResponse" in part:
        return _result(part, at, calls)
    if "inlineData" in part or "fileData" in part:
        return _media(part, at)
    if not part:
        raise InvalidRequest(f"{at} is empty", param=at)
    return Part(extras={"gemini": dict(part)})


def _continues(last: Part, part: Part) -> Part | None:
    """Both as one, where the second is the next piece of the first."""
    if type(last) is Text and type(part) is Text and not last.extras and not part.extras:
        return Text(text=last.text + part.text)
    unsigned = type(last) is Reasoning and not (last.extras or last.signature)
    if unsigned and isinstance(last, Reasoning) and isinstance(part, Reasoning):
        thought = part.extras.get("gemini", {})
        if "text" not in thought:
            return Reasoning(
                text=last.text + part.text, signature=part.signature, extras=part.extras
            )
    return None


def _of_model(parts: Sequence[Part]) -> tuple[Part, ...]:
    joined: list[Part] = []
    for part in parts:
        both = _continues(joined[-1], part) if joined else None
        if both is not None:
            joined[-1] = both
        elif not (type(part) is Text and not part.text and not part.extras):
            joined.append(part)
    return tuple(joined)


def _of_user(parts: Sequence[Part]) -> list[Message]:
    messages: list[Message] = []
    rest: list[Part] = []
    for part in parts:
        if isinstance(part, ToolResult):
            if rest:
                messages.append(Message("user", tuple(rest)))
                rest = []
            messages.append(Message("tool", (part,)))
        else:
            rest.append(part)
    if rest:
        messages.append(Message("user", tuple(rest)))
    return messages


def read_contents(contents: Sequence[Content]) -> list[Message]:
    """Raises InvalidRequest naming the field at fault."""
    calls = _Calls()
    messages: list[Message] = []
    for place, content in enumerate(contents):
        at = f"contents[{place}]"
        parts = [
            _part(part, f"{at}.parts[{index}]", calls) for index, part in enumerate(content.parts)
        ]
        if content.role in _USERS:
            messages += _of_user(parts)
        elif content.role != "model":
            raise InvalidRequest(f"{at}.role is user or model", param=f"{at}.role")
        elif messages and messages[-1].role == "assistant":
            before = messages.pop()
            messages.append(Message("assistant", _of_model([*before.parts, *parts])))
        elif parts:
            messages.append(Message("assistant", _of_model(parts)))
    if not messages:
        raise InvalidRequest("contents says nothing", param="contents")
    return messages


def read_system(instruction: Content | str | None) -> list[Message]:
    """Raises InvalidRequest: the API takes text alone here."""
    if instruction is None:
        return []
    if isinstance(instruction, str):
        return [Message("system", (Text(text=instruction),))] if instruction else []
    parts = []
    for index, part in enumerate(instruction.parts):
        at = f"systemInstruction.parts[{index}]"
        read = _text(part, at)
        if not isinstance(read, Text):
            raise InvalidRequest(f"{at} is no text", param=at)
        parts.append(read)
    return [Message("system", tuple(parts))] if parts else []
