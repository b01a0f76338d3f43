"""A chat completions body as a canonical request."""

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import msgspec

from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    ReasoningRequest,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from proxy.chat.request import Reasoning as ReasoningPart
from proxy.dialects.checking import checked
from proxy.dialects.openai.shapes import ChatBody, ChatMessage
from proxy.dialects.serialising import serialised
from proxy.errors import InvalidRequest

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def parse(fields: dict[str, Any]) -> ChatBody:
    """The fields that the gateway looks at. Raises InvalidRequest naming the one at fault."""
    body = checked(fields, ChatBody)
    body.fields = fields
    return body


_BODY_FIELDS = {field.encode_name for field in msgspec.structs.fields(ChatBody)}
_MESSAGE_FIELDS = {field.encode_name for field in msgspec.structs.fields(ChatMessage)}


def _own(fields: Any, known: Container[str]) -> dict[str, Any]:
    """What only this dialect, or a server that resembles it, says beside the known members."""
    if not isinstance(fields, dict):
        return {}
    return {
        name: value for name, value in fields.items() if name not in known and value is not None
    }


def _extras(own: dict[str, Any]) -> dict[str, Any]:
    """`cache_control` marks the end of a cacheable prefix at servers that relay to Anthropic."""
    extras: dict[str, Any] = {"openai": own} if own else {}
    if isinstance(own.get("cache_control"), dict):
        extras["cache"] = own["cache_control"]
    return extras


_TOOL_MODES: Mapping[str, ToolMode] = {"auto": "auto", "none": "none", "required": "required"}


def _data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a `data:` URL."""
    if not url.startswith("data:") or ";base64," not in url:
        return None
    media_type, _, data = url[5:].partition(";base64,")
    return media_type, data


def _image(part: Mapping[str, Any], at: str) -> Part:
    source = part.get("image_url")
    source = {"url": source} if isinstance(source, str) else source
    if not isinstance(source, dict) or not isinstance(source.get("url"), str):
        raise InvalidRequest(f"{at}.image_url.url is required", param=f"{at}.image_url")
    detail = str(source.get("detail") or "")
    inline = _data_url(source["url"])
    if inline:
        return Image(data=inline[1], media_type=inline[0], detail=detail)
    return Image(url=source["url"], detail=detail)


def _audio(part: Mapping[str, Any], at: str) -> Part:
    source = part.get("input_audio")
    if not isinstance(source, dict) or not isinstance(source.get("data"), str):
        raise InvalidRequest(f"{at}.input_audio.data is required", param=f"{at}.input_audio")
    return Audio(data=source["data"], format=str(source.get("format") or ""))


def _file(part: Mapping[str, Any], at: str) -> Part:
    source = part.get("file")
    if not isinstance(source, dict):
        raise InvalidRequest(f"{at}.file is required", param=f"{at}.file")
    name, data = str(source.get("filename") or ""), str(source.get("file_data") or "")
    if data:
        inline = _data_url(data) or ("application/pdf", data)
        return Document(data=inline[1], media_type=inline[0], name=name)
    if source.get("file_id"):
        return Document(file_id=str(source["file_id"]), name=name)
    raise InvalidRequest(f"{at}.file needs file_data or file_id", param=f"{at}.file")


def _text(part: Mapping[str, Any], at: str) -> Part:
    if not isinstance(part.get("text"), str):
        raise InvalidRequest(f"{at}.text is required", param=f"{at}.text")
    return Text(text=part["text"])


def _refusal(part: Mapping[str, Any], at: str) -> Part:
    return Refusal(text=str(part.get("refusal") or ""))


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], Part]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal,
}


def _content(content: str | list[dict[str, Any]] | None, at: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),) if content else ()
    parts = []
    for index, part in enumerate(content):
        read = _PARTS.get(str(part.get("type")))
        if read is None:
            raise InvalidRequest(
                f"{at}[{index}].type: {part.get('type')!r} is not a kind of content",
                param=f"{at}[{index}].type",
            )
        extras = _extras(_own(part, ("type", part["type"])))
        whole = read(part, f"{at}[{index}]")
        parts.append(msgspec.structs.replace(whole, extras=extras) if extras else whole)
    return tuple(parts)


def _arguments(given: Any) -> str:
    """JSON text, which some callers send as the object that it stands for."""
    if isinstance(given, dict | list):
        return serialised(given).decode()
    return str(given or "{}")


def _tool_call(call: Mapping[str, Any], at: str) -> ToolCall:
    kind = "custom" if call.get("type") == "custom" else "function"
    called = call.get(kind)
    if not isinstance(called, dict) or not isinstance(called.get("name"), str):
        raise InvalidRequest(f"{at}.{kind}.name is required", param=at)
    own = _own(call, ("id", "type", "function", "custom", "index"))
    if kind == "custom":
        own["type"] = "custom"
        arguments = str(called.get("input") or "")
    else:
        arguments = _arguments(called.get("arguments"))
    return ToolCall(
        id=str(call.get("id") or ""),
        name=called["name"],
        arguments=arguments,
        extras=_extras(own),
    )


def _function_call(call: Mapping[str, Any], at: str) -> ToolCall:
    """The call of the older `functions`, which has no id: its name stands for one."""
    if not isinstance(call.get("name"), str):
        raise InvalidRequest(f"{at}.name is required", param=f"{at}.name")
    return ToolCall(
        id=f"call_{call['name']}",
        name=call["name"],
        arguments=_arguments(call.get("arguments")),
        extras={"openai": {"type": "function_call"}},
    )


def _result(message: ChatMessage, content: tuple[Part, ...], own: dict[str, Any]) -> ToolResult:
    name = message.name or ""
    if message.role == "function":
        extras = _extras({**own, "role": "function"})
        return ToolResult(call_id=f"call_{name}", content=content, name=name, extras=extras)
    if name:
        own["name"] = name
    return ToolResult(
        call_id=message.tool_call_id or "", content=content, name=name, extras=_extras(own)
    )


def _reasoning(message: ChatMessage, own: dict[str, Any]) -> Iterator[Part]:
    """Earlier reasoning, and which of two fields it stood in; some servers send both."""
    for field in ("reasoning_content", "reasoning"):
        text = getattr(message, field)
        if text:
            yield ReasoningPart(text=text, extras={"openai": {"field": field}})
            if message.reasoning_content and message.reasoning:
                own["reasoning"] = message.reasoning
            return


def _message(message: ChatMessage, fields: Any, at: str) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidRequest(f"{at}.role: {message.role!r} is not a role", param=f"{at}.role")
    content = _content(message.content, f"{at}.content")
    own = _own(fields, _MESSAGE_FIELDS)
    if role == "tool":
        return Message(role, (_result(message, content, own),))
    parts: list[Part] = [*_reasoning(message, own), *content]
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    if message.function_call is not None:
        parts.append(_function_call(message.function_call, f"{at}.function_call"))
    for index, call in enumerate(message.tool_calls or []):
        parts.append(_tool_call(call, f"{at}.tool_calls[{index}]"))
    return Message(role, tuple(parts), name=message.name or "", extras=_extras(own))


def _tool(tool: Mapping[str, Any], at: str) -> Tool:
    """A function, or a tool that only this dialect has, whole in its extras."""
    if tool.get("type") not in (None, "function"):
        custom = tool.get("custom")
        described = custom if isinstance(custom, dict) else {}
        return Tool(
            name=str(described.get("name") or tool["type"]),
            description=str(described.get("description") or ""),
            extras={"openai": dict(tool)},
        )
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{at}.function.name is required", param=f"{at}.function.name")
    schema, strict = function.get("parameters"), function.get("strict")
    if not isinstance(schema, dict | None):
        raise InvalidRequest(
            f"{at}.function.parameters is not an object", param=f"{at}.function.parameters"
        )
    if not isinstance(strict, bool | None):
        raise InvalidRequest(
            f"{at}.function.strict is not true or false", param=f"{at}.function.strict"
        )
    return Tool(
        name=function["name"],
        description=str(function.get("description") or ""),
        schema=schema,
        strict=strict,
        extras=_extras(_own(tool, ("type", "function"))),
    )


def _tool_choice(body: ChatBody) -> ToolChoice | None:
    choice, parallel = body.tool_choice, body.parallel_tool_calls
    if choice is None:
        return ToolChoice(parallel=parallel) if parallel is not None else None
    if isinstance(choice, str) and choice in _TOOL_MODES:
        return ToolChoice(mode=_TOOL_MODES[choice], parallel=parallel)
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            return ToolChoice(mode=_allowed_mode(allowed), parallel=parallel)
        named = choice.get("function") or choice.get("custom") or {}
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            return ToolChoice(mode="named", name=named["name"], parallel=parallel)
    raise InvalidRequest(
        "tool_choice is auto, none, required or a named function", param="tool_choice"
    )


def _allowed_mode(allowed: Mapping[str, Any]) -> ToolMode:
    """A choice among some of the tools; which of them travels in the request's extras."""
    return "required" if allowed.get("mode") == "required" else "auto"


def _own_settings(body: ChatBody) -> dict[str, Any]:
    """Fields that only this dialect has. Names with `_` are notes of how something known was said,
    for whoever writes this dialect again."""
    own = _own(body.fields, _BODY_FIELDS)
    if isinstance(body.tool_choice, dict) and "allowed_tools" in body.tool_choice:
        own["tool_choice"] = body.tool_choice
    if options := _own(body.fields.get("stream_options"), ("include_usage",)):
        own["stream_options"] = options
    if body.max_completion_tokens is not None:
        own["_max_completion_tokens"] = True
    elif body.max_tokens is not None:
        own["_max_tokens"] = True
    if body.top_k is not None:
        own["_top_k"] = True
    return own


def _response_format(body: ChatBody) -> ResponseFormat | None:
    wanted = body.response_format
    if wanted is None or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return ResponseFormat(kind="json")
    described = wanted.get("json_schema")
    if wanted.get("type") == "json_schema" and isinstance(described, dict):
        schema, strict = described.get("schema"), described.get("strict")
        if not isinstance(schema, dict | None) or not isinstance(strict, bool | None):
            raise InvalidRequest(
                "response_format.json_schema has a schema that is an object, and strict is true "
                "or false",
                param="response_format.json_schema",
            )
        return ResponseFormat(
            kind="json_schema",
            name=str(described.get("name") or ""),
            schema=schema,
            strict=strict,
            description=str(described.get("description") or ""),
        )
    raise InvalidRequest(
        "response_format.type is text, json_object or json_schema", param="response_format"
    )


def _check_ranges(body: ChatBody) -> None:
    """What a provider of our dialect checks for itself."""
    if not body.messages:
        raise InvalidRequest("messages is empty", param="messages")
    for name in ("max_tokens", "max_completion_tokens"):
        limit = getattr(body, name)
        if limit is not None and limit < 1:
            raise InvalidRequest(f"{name} must be at least 1", param=name)


def read_request(body: ChatBody) -> ChatRequest:
    """The canonical request. Raises InvalidRequest naming the field at fault."""
    _check_ranges(body)
    stop, own, fields = body.stop, _own_settings(body), body.fields.get("messages") or []
    return ChatRequest(
        messages=tuple(
            _message(message, as_given, f"messages[{index}]")
            for index, (message, as_given) in enumerate(zip(body.messages, fields, strict=True))
        ),
        stream=bool(body.stream),
        include_usage=body.wants_usage,
        max_output_tokens=body.output_limit,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=body.seed,
        n=body.n or 1,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
        tools=tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.tools or [])),
        tool_choice=_tool_choice(body),
        response_format=_response_format(body),
        reasoning=ReasoningRequest(effort=body.reasoning_effort) if body.reasoning_effort else None,
        user=body.user or "",
        metadata={name: str(value) for name, value in (body.metadata or {}).items()},
        extras={"openai": own} if own else {},
    )
