"""A chat completions body as a canonical request."""

from collections.abc import Callable, Mapping
from typing import Any

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
    return checked(fields, ChatBody)


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
        parts.append(read(part, f"{at}[{index}]"))
    return tuple(parts)


def _tool_call(call: Mapping[str, Any], at: str) -> ToolCall:
    function = call.get("function") or call.get("custom")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{at}.function.name is required", param=at)
    arguments = function.get("arguments", function.get("input")) or ""
    extras = {"openai": {"type": "custom"}} if call.get("type") == "custom" else {}
    return ToolCall(
        id=str(call.get("id") or ""), name=function["name"], arguments=str(arguments), extras=extras
    )


def _message(message: ChatMessage, at: str) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidRequest(f"{at}.role: {message.role!r} is not a role", param=f"{at}.role")
    content = _content(message.content, f"{at}.content")
    if role == "tool":
        result = ToolResult(
            call_id=message.tool_call_id or "", content=content, name=message.name or ""
        )
        return Message(role, (result,))
    parts: list[Part] = list(content)
    if message.reasoning_content:
        parts.insert(0, ReasoningPart(text=message.reasoning_content))
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    for index, call in enumerate(message.tool_calls or []):
        parts.append(_tool_call(call, f"{at}.tool_calls[{index}]"))
    return Message(role, tuple(parts), name=message.name or "")


def _tool(tool: Mapping[str, Any], at: str) -> Tool:
    function = tool.get("function")
    if tool.get("type") == "custom" and isinstance(tool.get("custom"), dict):
        custom = tool["custom"]
        return Tool(
            name=str(custom.get("name") or ""),
            description=str(custom.get("description") or ""),
            extras={"openai": dict(tool)},
        )
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{at}.function.name is required", param=f"{at}.function.name")
    return Tool(
        name=function["name"],
        description=str(function.get("description") or ""),
        schema=function.get("parameters"),
        strict=function.get("strict"),
    )


def _tool_choice(body: ChatBody) -> ToolChoice | None:
    choice, parallel = body.tool_choice, body.parallel_tool_calls
    if choice is None:
        return ToolChoice(parallel=parallel) if parallel is not None else None
    if isinstance(choice, str) and choice in _TOOL_MODES:
        return ToolChoice(mode=_TOOL_MODES[choice], parallel=parallel)
    if isinstance(choice, dict):
        named = choice.get("function") or choice.get("custom") or {}
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            return ToolChoice(mode="named", name=named["name"], parallel=parallel)
    raise InvalidRequest(
        "tool_choice is auto, none, required or a named function", param="tool_choice"
    )


def _response_format(body: ChatBody) -> ResponseFormat | None:
    wanted = body.response_format
    if wanted is None or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return ResponseFormat(kind="json")
    described = wanted.get("json_schema")
    if wanted.get("type") == "json_schema" and isinstance(described, dict):
        return ResponseFormat(
            kind="json_schema",
            name=str(described.get("name") or ""),
            schema=described.get("schema"),
            strict=described.get("strict"),
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
    stop = body.stop
    return ChatRequest(
        messages=tuple(
            _message(message, f"messages[{index}]") for index, message in enumerate(body.messages)
        ),
        stream=bool(body.stream),
        include_usage=body.wants_usage,
        max_output_tokens=body.output_limit,
        temperature=body.temperature,
        top_p=body.top_p,
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
    )
