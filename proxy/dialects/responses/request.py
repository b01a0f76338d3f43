"""A Responses body as a canonical request. What would need stored state is refused by name."""

from collections.abc import Mapping
from typing import Any

from proxy.chat.request import (
    ChatRequest,
    Message,
    Part,
    ReasoningRequest,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
)
from proxy.dialects.checking import checked
from proxy.dialects.responses.content import OWN
from proxy.dialects.responses.items import read_input
from proxy.dialects.responses.shapes import WIRE_FIELDS, Object, ResponsesBody, text_of
from proxy.errors import InvalidRequest

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_CANONICAL_CHOICES = ("function", "custom", "allowed_tools")
_MODES: Mapping[str, ToolMode] = {"auto": "auto", "none": "none", "required": "required"}


def parse(fields: dict[str, Any]) -> ResponsesBody:
    """The fields that the gateway looks at. Raises InvalidRequest naming the one at fault."""
    known = {name: value for name, value in fields.items() if name in WIRE_FIELDS}
    others = {name: value for name, value in fields.items() if name not in WIRE_FIELDS}
    for name, read in (("text", ("format",)), ("reasoning", ("effort", "summary"))):
        if isinstance(known.get(name), dict):
            others[name] = {key: value for key, value in known[name].items() if key not in read}
    given = {**known, "others": others, "names_store": "store" in fields}
    body = checked(given, ResponsesBody)
    _refuse_state(body)
    return body


def _refuse_state(body: ResponsesBody) -> None:
    if body.store:
        raise InvalidRequest("store: the gateway stores no responses", param="store")
    if body.background:
        raise InvalidRequest(
            "background: the gateway stores no responses to be fetched later", param="background"
        )
    for name in ("previous_response_id", "conversation"):
        if getattr(body, name) is not None:
            raise InvalidRequest(
                f"{name}: the gateway stores no responses; send the whole input", param=name
            )
    if body.input is None and body.prompt is None:
        raise InvalidRequest("input is required", param="input")
    for index, item in enumerate(body.input if isinstance(body.input, list) else ()):
        if item.get("type") == "item_reference":
            at = f"input[{index}]"
            raise InvalidRequest(f"{at}: nothing is stored that it could refer to", param=at)


def _tool(tool: Object, at: str) -> Tool:
    kind = tool.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest(f"{at}.type is required", param=f"{at}.type")
    if kind not in ("function", "custom"):
        return Tool(name=text_of(tool.get("name")) or kind, extras={OWN: tool})
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"{at}.name is required", param=f"{at}.name")
    if kind == "custom":
        return _custom_tool(tool)
    schema, strict = tool.get("parameters"), tool.get("strict")
    if not isinstance(schema, dict | None) or not isinstance(strict, bool | None):
        raise InvalidRequest(f"{at}: parameters is an object, strict a boolean", param=at)
    read = ("type", "name", "description", "parameters", "strict")
    return Tool(
        name=tool["name"],
        description=text_of(tool.get("description")),
        schema=schema,
        strict=strict,
        extras={OWN: {name: value for name, value in tool.items() if name not in read}},
    )


def _custom_tool(tool: Object) -> Tool:
    """A tool that takes free text, as chat completions has it too."""
    chat = {name: value for name, value in tool.items() if name != "type"}
    given = tool.get("format")
    if isinstance(given, dict) and given.get("type") == "grammar":
        grammar = {name: value for name, value in given.items() if name != "type"}
        chat["format"] = {"type": "grammar", "grammar": grammar}
    return Tool(
        name=tool["name"],
        description=text_of(tool.get("description")),
        extras={"openai": {"type": "custom", "custom": chat}},
    )


def _tool_choice(body: ResponsesBody) -> ToolChoice | None:
    """None also for a choice that only this dialect has: that one stays in the extras."""
    choice, parallel = body.tool_choice, body.parallel_tool_calls
    if isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            choice = text_of(choice.get("mode")) or "auto"
        elif choice.get("type") in ("function", "custom") and isinstance(choice.get("name"), str):
            return ToolChoice(mode="named", name=choice["name"], parallel=parallel)
        elif isinstance(choice.get("type"), str):
            choice = None
    if choice is None:
        return ToolChoice(parallel=parallel) if parallel is not None else None
    if isinstance(choice, str) and choice in _MODES:
        return ToolChoice(mode=_MODES[choice], parallel=parallel)
    raise InvalidRequest(
        "tool_choice is auto, none, required, a named tool or allowed_tools", param="tool_choice"
    )


def _allowed(body: ResponsesBody) -> list[Object]:
    """The tools that may be called: `allowed_tools` narrows them, and we offer no others."""
    tools, choice = body.tools or [], body.tool_choice
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools
    allowed = choice.get("tools")
    if not isinstance(allowed, list) or not all(isinstance(entry, dict) for entry in allowed):
        raise InvalidRequest("tool_choice.tools is a list of tools", param="tool_choice.tools")
    return [
        tool
        for tool in tools
        if any(all(tool.get(name) == value for name, value in entry.items()) for entry in allowed)
    ]


def _response_format(body: ResponsesBody) -> ResponseFormat | None:
    wanted = body.text.format if body.text else None
    if wanted is None or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_object":
        return ResponseFormat(kind="json")
    schema, strict = wanted.get("schema"), wanted.get("strict")
    if (
        wanted.get("type") != "json_schema"
        or not isinstance(schema, dict)
        or not isinstance(strict, bool | None)
    ):
        raise InvalidRequest(
            "text.format is text, json_object, or json_schema with a schema", param="text.format"
        )
    return ResponseFormat(
        kind="json_schema",
        name=text_of(wanted.get("name")),
        schema=schema,
        strict=strict,
        description=text_of(wanted.get("description")),
    )


def _reasoning(body: ResponsesBody) -> ReasoningRequest | None:
    asked = body.reasoning
    if asked is None or not (asked.effort or asked.summary):
        return None
    return ReasoningRequest(effort=asked.effort or "", summary=asked.summary or "")


def _messages(body: ResponsesBody) -> tuple[Message, ...]:
    """The input, after the instructions and a stored prompt, which are content too."""
    before: list[Message] = []
    if body.instructions:
        text = Text(text=body.instructions)
        before.append(Message("system", (text,), extras={OWN: {"instructions": True}}))
    if body.prompt is not None:
        before.append(Message("developer", (Part(extras={OWN: {"prompt": body.prompt}}),)))
    return (*before, *read_input(body.input))


def _extras(body: ResponsesBody) -> Object:
    """What only this dialect has. Encrypted reasoning is always given, so asking for it is only
    noted."""
    include = body.include or []
    own = {name: value for name, value in body.others.items() if value is not None and value != {}}
    if ENCRYPTED in include:
        own["_encrypted"] = True
    others = [entry for entry in include if entry not in (LOGPROBS, ENCRYPTED)]
    if others:
        own["include"] = others
    if body.safety_identifier:
        own["_safety_identifier"] = body.safety_identifier
    choice = body.tool_choice
    if isinstance(choice, dict) and choice.get("type") not in _CANONICAL_CHOICES:
        own["tool_choice"] = choice
    return {OWN: own} if own else {}


def read_request(body: ResponsesBody) -> ChatRequest:
    """The canonical request. Raises InvalidRequest naming the field at fault."""
    if body.max_output_tokens is not None and body.max_output_tokens < 1:
        raise InvalidRequest("max_output_tokens must be at least 1", param="max_output_tokens")
    tools = (_tool(tool, f"tools[{index}]") for index, tool in enumerate(_allowed(body)))
    return ChatRequest(
        messages=_messages(body),
        stream=bool(body.stream),
        include_usage=True,
        max_output_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        logprobs=True if LOGPROBS in (body.include or []) else None,
        top_logprobs=body.top_logprobs,
        tools=tuple(tools),
        tool_choice=_tool_choice(body),
        response_format=_response_format(body),
        reasoning=_reasoning(body),
        user=body.user or body.safety_identifier or "",
        metadata={name: str(value) for name, value in (body.metadata or {}).items()},
        extras=_extras(body),
    )
