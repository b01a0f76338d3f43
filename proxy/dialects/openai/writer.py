"""A canonical request as a chat completions body."""

import re
from typing import Any

from proxy.chat.request import (
    ChatRequest,
    ReasoningRequest,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from proxy.dialects.efforts import asked_effort
from proxy.dialects.faces import Written
from proxy.dialects.losses import foreign_settings, refuse_foreign_tools, unsupported
from proxy.dialects.openai.messages import MessageWriter, Object
from proxy.dialects.serialising import serialised

DIALECT = "openai"

REASONING_MODEL = re.compile(r"(?:^|/)(?:o\d|gpt-[5-9])")
_EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh"}


def _limit_field(request: ChatRequest, own: Object, model: str) -> str:
    """`max_tokens` is what compatible servers know; OpenAI's reasoning models refuse it and want
    `max_completion_tokens`, which we write for them, where the caller said it so, and where a
    caller of another dialect asks for reasoning."""
    if "_max_completion_tokens" in own or REASONING_MODEL.search(model):
        return "max_completion_tokens"
    return (
        "max_tokens" if "_max_tokens" in own or not request.reasoning else "max_completion_tokens"
    )


_SAME = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_OWN = ("seed", "logprobs", "top_logprobs")


def settings(request: ChatRequest) -> Object:
    """The settings that have the same name in every dialect that resembles this one."""
    given = {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    if request.stop:
        given["stop"] = list(request.stop)
    if request.n > 1:
        given["n"] = request.n
    return given


def _own_settings(request: ChatRequest, own: Object) -> Object:
    given = {name: value for name in _OWN if (value := getattr(request, name)) is not None}
    if "_top_k" in own and request.top_k is not None:
        given["top_k"] = request.top_k
    if request.user:
        given["user"] = request.user
    if request.metadata:
        given["metadata"] = request.metadata
    return given


def tool(tool: Tool) -> Object:
    """A function; or a tool of this dialect alone, as it came."""
    own = tool.extras.get(DIALECT) or {}
    if "type" in own:
        return dict(own)
    function: Object = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function, **own}


def tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> str | Object:
    if choice.mode != "named":
        return choice.mode
    for offered in tools:
        if offered.name == choice.name and (offered.extras.get(DIALECT) or {}).get("type"):
            return {"type": "custom", "custom": {"name": choice.name}}
    return {"type": "function", "function": {"name": choice.name}}


def _tools(request: ChatRequest) -> Object:
    if not request.tools:
        return {}
    written: Object = {"tools": [tool(offered) for offered in request.tools]}
    choice = request.tool_choice
    if choice is not None:
        written["tool_choice"] = tool_choice(choice, request.tools)
        if choice.parallel is not None:
            written["parallel_tool_calls"] = choice.parallel
    return written


def response_format(wanted: ResponseFormat | None) -> Object:
    """The member, where one is needed. A schema must have a name here."""
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.kind == "json":
        return {"response_format": {"type": "json_object"}}
    described: dict[str, Any] = {"name": wanted.name or "response"}
    if wanted.description:
        described["description"] = wanted.description
    if wanted.schema is not None:
        described["schema"] = wanted.schema
    if wanted.strict is not None:
        described["strict"] = wanted.strict
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _reasoning(reasoning: ReasoningRequest | None, warnings: list[str]) -> Object:
    """An effort word; a budget in tokens becomes the nearest one."""
    if reasoning is None:
        return {}
    if reasoning.summary:
        warnings.append(f"reasoning.summary is not supported by {DIALECT}")
    if reasoning.enabled is False:
        return {"reasoning_effort": "none"} if reasoning.effort == "none" else {}
    effort = asked_effort(reasoning)
    if not effort:
        return {}
    return {"reasoning_effort": effort if effort in _EFFORTS else "high"}


def _stream(request: ChatRequest, own: Object) -> Object:
    """A stream always reports its usage: we bill by it."""
    if not request.stream:
        return {}
    options = own.get("stream_options") or {}
    return {"stream": True, "stream_options": {**options, "include_usage": True}}


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """Raises InvalidRequest for content that chat completions cannot take."""
    refuse_foreign_tools(request, DIALECT)
    own = request.extras.get(DIALECT) or {}
    messages = MessageWriter()
    body: Object = {"model": model, "messages": messages.write(request.messages)}
    warnings = messages.warnings + foreign_settings(request, DIALECT)
    if "_top_k" not in own:
        warnings += unsupported(request, DIALECT, "top_k")
    body |= _tools(request) | settings(request) | _own_settings(request, own)
    body |= _reasoning(request.reasoning, warnings) | response_format(request.response_format)
    if request.max_output_tokens is not None:
        body[_limit_field(request, own, model)] = request.max_output_tokens
    body |= {name: value for name, value in own.items() if not name.startswith("_")}
    body |= _stream(request, own)
    if not request.stream:
        body.pop("stream_options", None)
    return Written(serialised(body), tuple(dict.fromkeys(warnings)))
