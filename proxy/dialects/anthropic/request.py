"""A messages body as a canonical request.

A user's turn may hold tool results and words together; the canonical request has them apart, so
that turn becomes several messages, which the writer joins again. Blocks that no other dialect has
(server tools, files in a container) are kept whole in a bare Part.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.chat.request import (
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ReasoningRequest,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from proxy.dialects.anthropic.shapes import CALL_FIELDS, OWN_FIELDS, MessageParam, MessagesBody
from proxy.dialects.carrying import CALL_FIELD, opened
from proxy.dialects.checking import checked
from proxy.dialects.serialising import serialised
from proxy.errors import InvalidRequest

Block = Mapping[str, Any]

_TOOL_MODES: Mapping[str, ToolMode] = {
    "auto": "auto",
    "any": "required",
    "tool": "named",
    "none": "none",
}
_TOOL_FIELDS = ("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples")


def parse(fields: dict[str, Any]) -> MessagesBody:
    """The fields that the gateway looks at. Raises InvalidRequest naming the one at fault."""
    return checked(fields, MessagesBody)


def _extras(block: Block, *own: str) -> dict[str, Any]:
    """The cache marker of a block, and those of its fields that only this dialect has."""
    extras: dict[str, Any] = {}
    if block.get("cache_control"):
        extras["cache"] = block["cache_control"]
    kept = {name: block[name] for name in own if block.get(name) is not None}
    if kept:
        extras["anthropic"] = kept
    return extras


def _string(block: Block, name: str, at: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{at}.{name} is required, as text", param=f"{at}.{name}")
    return value


def _source(block: Block, at: str) -> Block:
    source = block.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        raise InvalidRequest(f"{at}.source is required", param=f"{at}.source")
    return source


def _whole(block: Block, at: str) -> Part:
    """A block that no other dialect has."""
    return Part(extras={"anthropic": dict(block)})


def _text(block: Block, at: str) -> Part:
    return Text(text=_string(block, "text", at), extras=_extras(block, "citations"))


def _image(block: Block, at: str) -> Part:
    source, extras = _source(block, at), _extras(block, "transformations")
    if source["type"] == "base64":
        data = _string(source, "data", f"{at}.source")
        media_type = _string(source, "media_type", f"{at}.source")
        return Image(data=data, media_type=media_type, extras=extras)
    if source["type"] == "url":
        return Image(url=_string(source, "url", f"{at}.source"), extras=extras)
    return _whole(block, at)


def _document(block: Block, at: str) -> Part:
    source, extras = _source(block, at), _extras(block, "citations", "context")
    where, name = f"{at}.source", str(block.get("title") or "")
    match source["type"]:
        case "base64":
            return Document(
                data=_string(source, "data", where),
                media_type=_string(source, "media_type", where),
                name=name,
                extras=extras,
            )
        case "text":
            text = _string(source, "data", where)
            return Document(text=text, media_type="text/plain", name=name, extras=extras)
        case "url":
            return Document(url=_string(source, "url", where), name=name, extras=extras)
        case "file":
            return Document(file_id=_string(source, "file_id", where), name=name, extras=extras)
    return _whole(block, at)


def _tool_use(block: Block, at: str) -> Part:
    given = block.get("input")
    if given is not None and not isinstance(given, dict):
        raise InvalidRequest(f"{at}.input is an object", param=f"{at}.input")
    extras = _extras(block, *CALL_FIELDS)
    carried = opened(str(block.get(CALL_FIELD) or ""))
    return ToolCall(
        id=_string(block, "id", at),
        name=_string(block, "name", at),
        arguments=serialised(given or {}).decode(),
        extras={**carried[1], **extras} if carried else extras,
    )


def _tool_result(block: Block, at: str) -> Part:
    return ToolResult(
        call_id=_string(block, "tool_use_id", at),
        content=_content(block.get("content"), f"{at}.content", _INNER_PARTS),
        is_error=block.get("is_error") is True,
        extras=_extras(block, "toolset_name"),
    )


def _thinking(block: Block, at: str) -> Part:
    """Extras of this dialect say that the thought is its own; others travel in the signature."""
    text, signature = _string(block, "thinking", at), str(block.get("signature") or "")
    carried = opened(signature)
    if carried is not None:
        return Reasoning(text=text, signature=carried[0], extras=carried[1])
    own = {"anthropic": {"type": "thinking"}} if signature else {}
    return Reasoning(text=text, signature=signature, extras=own)


def _redacted_thinking(block: Block, at: str) -> Part:
    data = _string(block, "data", at)
    own = {"type": "redacted_thinking", "data": data}
    return Reasoning(redacted=data, extras={"anthropic": own})


_PARTS: Mapping[str, Callable[[Block, str], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
}


_INNER_PARTS = {"text": _text, "image": _image, "document": _document}


def _content(
    content: Any, at: str, readers: Mapping[str, Callable[[Block, str], Part]] = _PARTS
) -> tuple[Part, ...]:
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    if not isinstance(content, list):
        raise InvalidRequest(f"{at} is text or a list of blocks", param=at)
    parts = []
    for index, block in enumerate(content):
        where = f"{at}[{index}]"
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"{where}.type is required", param=f"{where}.type")
        parts.append(readers.get(block["type"], _whole)(block, where))
    return tuple(parts)


def _messages(message: MessageParam, at: str) -> Iterator[Message]:
    """One turn; each tool result in it is a message of its own."""
    parts = _content(message.content, f"{at}.content")
    if message.role == "system":
        yield Message("system", parts, extras={"anthropic": {"in_messages": True}})
        return
    words: list[Part] = []
    for part in parts:
        if message.role != "user" or not isinstance(part, ToolResult):
            words.append(part)
            continue
        if words:
            yield Message("user", tuple(words))
            words = []
        yield Message("tool", (part,))
    if words or not parts:
        yield Message(message.role, tuple(words))


def _all_messages(body: MessagesBody) -> Iterator[Message]:
    if body.system:
        yield Message("system", _content(body.system, "system"))
    for index, message in enumerate(body.messages):
        yield from _messages(message, f"messages[{index}]")


def _tool(tool: Block, at: str) -> Tool:
    if tool.get("type") not in (None, "custom"):
        return Tool(name=str(tool.get("name") or ""), extras={"anthropic": dict(tool)})
    name = _string(tool, "name", at)
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{at}.input_schema is required", param=f"{at}.input_schema")
    strict = tool.get("strict")
    return Tool(
        name=name,
        description=str(tool.get("description") or ""),
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
        extras=_extras(tool, *_TOOL_FIELDS),
    )


def _tool_choice(choice: Block | None) -> ToolChoice | None:
    if choice is None:
        return None
    mode = _TOOL_MODES.get(str(choice.get("type")))
    if mode is None:
        raise InvalidRequest(
            "tool_choice.type is auto, any, tool or none", param="tool_choice.type"
        )
    name = _string(choice, "name", "tool_choice") if mode == "named" else ""
    single = choice.get("disable_parallel_tool_use")
    return ToolChoice(mode, name, parallel=not single if isinstance(single, bool) else None)


def _response_format(body: MessagesBody) -> ResponseFormat | None:
    wanted = (body.output_config or {}).get("format") or body.output_format
    if not wanted:
        return None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict):
        at = "output_config.format" if body.output_config else "output_format"
        raise InvalidRequest(f"{at}.schema is required", param=f"{at}.schema")
    return ResponseFormat(kind="json_schema", schema=wanted["schema"], strict=True)


def _reasoning(body: MessagesBody) -> ReasoningRequest | None:
    thinking = body.thinking or {}
    effort = (body.output_config or {}).get("effort")
    budget = thinking.get("budget_tokens")
    enabled = None if body.thinking is None else thinking.get("type") != "disabled"
    if enabled is None and not effort:
        return None
    return ReasoningRequest(
        effort=effort if isinstance(effort, str) else "",
        budget_tokens=budget if isinstance(budget, int) else None,
        enabled=enabled,
        summary="auto" if thinking.get("display") == "summarized" else "",
    )


def _own_fields(body: MessagesBody) -> dict[str, Any]:
    """What only this dialect has, and, noted, what it has said in its own words."""
    own = {name: value for name in OWN_FIELDS if (value := getattr(body, name)) is not None}
    if body.thinking is not None:
        own["_thinking"] = body.thinking
    if body.output_config is not None:
        own["_output_config"] = body.output_config
    elif body.output_format is not None:
        own["_output_config"] = {"format": body.output_format}
    return {"anthropic": own} if own else {}


def read_request(body: MessagesBody) -> ChatRequest:
    """The canonical request. Raises InvalidRequest naming the field at fault."""
    return ChatRequest(
        messages=tuple(_all_messages(body)),
        stream=bool(body.stream),
        include_usage=True,
        max_output_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=tuple(body.stop_sequences or ()),
        tools=tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.tools or [])),
        tool_choice=_tool_choice(body.tool_choice),
        response_format=_response_format(body),
        reasoning=_reasoning(body),
        user=body.end_user or "",
        extras=_own_fields(body),
    )
