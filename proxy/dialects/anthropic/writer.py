"""A canonical request as a messages body."""

from typing import Any

from proxy.chat.request import ChatRequest, Tool
from proxy.dialects.anthropic.blocks import Writer
from proxy.dialects.anthropic.shapes import OWN_FIELDS
from proxy.dialects.anthropic.structured import write_format
from proxy.dialects.anthropic.thinking import Thinking, version_of, write_thinking
from proxy.dialects.faces import Written
from proxy.dialects.losses import (
    foreign_settings,
    refuse_foreign_tools,
    refuse_several_choices,
    unsupported,
)
from proxy.dialects.serialising import serialised

DEFAULT_MAX_TOKENS = 4096
"""The provider wants a limit; this is what it is where neither caller nor model has one."""

_TOOL_MODES = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")
_COUNTED_OWN = ("cache_control", "context_management", "mcp_servers")
_UNSUPPORTED = (
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "metadata",
)

Fields = dict[str, Any]


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """Raises InvalidRequest for content that the provider cannot take, naming it."""
    refuse_several_choices(request, "anthropic")
    fields, warnings = _write(request, model, output_limit)
    if request.stream:
        fields["stream"] = True
    return Written(serialised(fields), tuple(warnings))


def write_count(request: ChatRequest, *, model: str) -> Written:
    """Of the same body what counts (API reference, "Count tokens in a Message")."""
    fields, _ = _write(request, model, None)
    counted = {name: fields[name] for name in (*_COUNTED, *_COUNTED_OWN) if name in fields}
    return Written(serialised(counted))


def _write(request: ChatRequest, model: str, output_limit: int | None) -> tuple[Fields, list[str]]:
    refuse_foreign_tools(request, "anthropic")
    max_tokens, warnings = _max_tokens(request, output_limit)
    version = version_of(model)
    thinking = write_thinking(request, version=version, max_tokens=max_tokens)
    turns = Writer()
    system, messages = turns.write(request.messages)
    fields: Fields = {"model": model, "max_tokens": max_tokens, "messages": messages}
    if system:
        fields["system"] = system
    sampling, lost_sampling = _sampling(request, version, thinking)
    tools, lost_tools = _tools(request, version)
    wanted, lost_format = write_format(request, version=version, thinks=thinking.is_on)
    fields |= sampling | tools | wanted | _thinking_fields(thinking, wanted)
    fields |= _stop(request, warnings) | _identity(request, warnings)
    own = request.extras.get("anthropic", {})
    fields |= {name: own[name] for name in OWN_FIELDS if name in own}
    warnings += unsupported(request, "anthropic", *_UNSUPPORTED)
    warnings += foreign_settings(request, "anthropic")
    warnings += [*turns.warnings, *thinking.warnings, *lost_sampling, *lost_tools, *lost_format]
    return fields, warnings


def _max_tokens(request: ChatRequest, output_limit: int | None) -> tuple[int, list[str]]:
    """More than the model gives is refused by the provider."""
    asked = request.max_output_tokens
    if asked is None:
        return output_limit or DEFAULT_MAX_TOKENS, []
    if output_limit is not None and asked > output_limit:
        return output_limit, [f"max_output_tokens is lowered to {output_limit}, the model's own"]
    return asked, []


def _sampling(
    request: ChatRequest, version: tuple[int, int] | None, thinking: Thinking
) -> tuple[Fields, list[str]]:
    """Temperature goes from 0 to 1. It excludes top_p on newer models; thinking excludes it and
    top_k, and allows top_p from 0.95 on (docs, "Feature compatibility" of extended thinking);
    models from 4.7 on take none of the three."""
    fields: Fields = {}
    warnings: list[str] = []
    asked = {name: getattr(request, name) for name in ("temperature", "top_p", "top_k")}
    if "_thinking" in request.extras.get("anthropic", {}):  # as this dialect's caller said it
        return {name: value for name, value in asked.items() if value is not None}, warnings
    for name, value in asked.items():
        if value is None:
            continue
        if version is not None and version >= (4, 7):
            warnings.append(f"{name} is not supported by this model of anthropic")
        elif thinking.is_on and not (name == "top_p" and value >= 0.95):
            if not (name == "temperature" and value == 1):
                warnings.append(f"{name} is not supported by anthropic together with reasoning")
        elif name == "top_p" and "temperature" in fields:
            warnings.append("top_p is not supported by anthropic together with temperature")
        elif name == "temperature" and value > 1:
            fields[name] = 1.0
            warnings.append("temperature is lowered to 1, the most that anthropic takes")
        else:
            fields[name] = value
    return fields, warnings


def _stop(request: ChatRequest, warnings: list[str]) -> Fields:
    stop = [text for text in request.stop if text.strip()]
    if len(stop) < len(request.stop):
        warnings.append("stop of nothing but white space is not supported by anthropic")
    return {"stop_sequences": stop} if stop else {}


def _tool(tool: Tool, version: tuple[int, int] | None, warnings: list[str]) -> Fields:
    own = tool.extras.get("anthropic", {})
    if "type" in own:
        return dict(own)
    fields: Fields = {"name": tool.name}
    if tool.description:
        fields["description"] = tool.description
    fields["input_schema"] = {"type": "object", **(tool.schema or {})}
    if tool.strict is not None and version is not None and version >= (4, 5):
        fields["strict"] = tool.strict
    elif tool.strict:
        warnings.append("strict of a tool is not supported by this model of anthropic")
    if cache := tool.extras.get("cache"):
        fields["cache_control"] = cache
    return {**fields, **own}


def _tools(request: ChatRequest, version: tuple[int, int] | None) -> tuple[Fields, list[str]]:
    """A choice without tools is refused by the provider."""
    if not request.tools:
        return {}, []
    warnings: list[str] = []
    fields: Fields = {"tools": [_tool(tool, version, warnings) for tool in request.tools]}
    choice = request.tool_choice
    if choice is not None:
        written: Fields = {"type": _TOOL_MODES[choice.mode]}
        if choice.mode == "named":
            written["name"] = choice.name
        if choice.parallel is not None and choice.mode != "none":
            written["disable_parallel_tool_use"] = not choice.parallel
        fields["tool_choice"] = written
    return fields, list(dict.fromkeys(warnings))


def _thinking_fields(thinking: Thinking, wanted: Fields) -> Fields:
    fields: Fields = {"thinking": thinking.field} if thinking.field is not None else {}
    if thinking.effort:
        fields["output_config"] = {**wanted.get("output_config", {}), "effort": thinking.effort}
    return fields


def _identity(request: ChatRequest, warnings: list[str]) -> Fields:
    """An opaque name of the end user; mail addresses are refused by the provider."""
    if not request.user:
        return {}
    if "@" in request.user:
        warnings.append("user with a mail address is not supported by anthropic")
        return {}
    return {"metadata": {"user_id": request.user}}
