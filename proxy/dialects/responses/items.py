"""Input items as messages.

Items of the assistant that follow each other (reasoning, messages, calls) become one message, since
other dialects want the calls of one turn together. What identifies an item stays with its parts, so
that writer.py can tell the items apart again. An item of an unknown type stays whole in a bare
Part: writers of other dialects refuse it by name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from proxy.chat.request import Message, Part, Reasoning, Role, ToolCall, ToolResult
from proxy.dialects.carrying import CALL_FIELD, opened
from proxy.dialects.responses.content import OWN, read_content
from proxy.dialects.responses.shapes import Object, list_of, object_of, text_of
from proxy.errors import InvalidRequest

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}
_ANSWERS_TO_CALLS = ("_output", "mcp_approval_response")


def _rest(item: Object, *read: str) -> Object:
    return {
        name: value
        for name, value in item.items()
        if name not in ("type", *read) and value is not None
    }


def _required(item: Object, name: str, at: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{at}.{name} is required", param=f"{at}.{name}")
    return value


def _message(item: Object, at: str) -> Message:
    given = item.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise InvalidRequest(f"{at}.role: {given!r} is not a role", param=f"{at}.role")
    parts = read_content(item.get("content"), f"{at}.content")
    rest = _rest(item, "role", "content")
    if not rest:
        return Message(role, parts)
    if role != "assistant":
        return Message(role, parts, extras={OWN: rest})
    return Message(role, tuple(_of_message(part, rest) for part in parts))


def _of_message(part: Part, rest: Object) -> Part:
    own = {**object_of(part.extras.get(OWN)), "message": rest}
    return type(part)(**{**_fields(part), "extras": {**part.extras, OWN: own}})


def _fields(part: Part) -> Object:
    return {name: getattr(part, name) for name in part.__struct_fields__}


def _function_call(item: Object, at: str) -> Message:
    rest = _rest(item, "call_id", "name", "arguments", CALL_FIELD)
    carried = {
        owner: own
        for owner, own in object_of(item.get(CALL_FIELD)).items()
        if isinstance(own, dict)
    }
    call = ToolCall(
        id=_required(item, "call_id", at),
        name=_required(item, "name", at),
        arguments=_required(item, "arguments", at),
        extras={**carried, **({OWN: rest} if rest else {})},
    )
    return Message("assistant", (call,))


def _custom_call(item: Object, at: str) -> Message:
    rest = _rest(item, "call_id", "name", "input")
    call = ToolCall(
        id=_required(item, "call_id", at),
        name=_required(item, "name", at),
        arguments=_required(item, "input", at),
        extras={"openai": {"type": "custom"}, **({OWN: rest} if rest else {})},
    )
    return Message("assistant", (call,))


def _call_output(item: Object, at: str) -> Message:
    rest = _rest(item, "call_id", "output")
    if item["type"] == "custom_tool_call_output":
        rest["type"] = item["type"]
    result = ToolResult(
        call_id=_required(item, "call_id", at),
        content=read_content(item.get("output"), f"{at}.output"),
        name=text_of(item.get("name")),
        extras={OWN: rest} if rest else {},
    )
    return Message("tool", (result,))


def _reasoning(item: Object, at: str) -> Message:
    texts = [
        text_of(part.get("text"))
        for name in ("summary", "content")
        for part in list_of(item.get(name))
        if isinstance(part, dict)
    ]
    encrypted = text_of(item.get("encrypted_content"))
    carried = opened(encrypted)
    if carried is not None:
        foreign = Reasoning(text="".join(texts), signature=carried[0], extras=carried[1])
        return Message("assistant", (foreign,))
    own = Reasoning(text="".join(texts), signature=encrypted, extras={OWN: {"item": item}})
    return Message("assistant", (own,))


def _reference(item: Object, at: str) -> Message:
    raise InvalidRequest(f"{at}: nothing is stored that an item could refer to", param=at)


def _unknown(item: Object, at: str) -> Message:
    kind = text_of(item.get("type"))
    given = item.get("role")
    role: Role = "tool" if kind.endswith(_ANSWERS_TO_CALLS) else "assistant"
    role = _ROLES.get(given, role) if isinstance(given, str) else role
    return Message(role, (Part(extras={OWN: {"item": item}}),))


_READERS: Mapping[str, Callable[[Object, str], Message]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _call_output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _call_output,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _read_item(item: Any, at: str) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequest(f"{at} is an object", param=at)
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference" if "id" in item else None
    if not isinstance(kind, str):
        raise InvalidRequest(f"{at}.type is required", param=f"{at}.type")
    return _READERS.get(kind, _unknown)(item, at)


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Turns of the assistant that follow each other, as one."""
    turn: list[Part] = []
    said = False
    for message in messages:
        if message.role == "assistant":
            turn += message.parts
            said = True
            continue
        if said:
            yield Message("assistant", tuple(turn))
            turn, said = [], False
        yield message
    if said:
        yield Message("assistant", tuple(turn))


def read_input(given: str | list[Object] | None) -> tuple[Message, ...]:
    """Messages of an `input`. Raises InvalidRequest naming the item at fault."""
    if given is None:
        return ()
    if isinstance(given, str):
        return (Message("user", read_content(given, "input")),)
    items = (_read_item(item, f"input[{index}]") for index, item in enumerate(given))
    return tuple(_joined(items))
