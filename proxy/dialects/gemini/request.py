"""A generateContent body as a canonical request."""

from collections.abc import Mapping
from typing import Any

from proxy.chat.request import ChatRequest, ResponseFormat, Tool, ToolChoice, ToolMode
from proxy.dialects.gemini.depth import followed
from proxy.dialects.gemini.read_contents import read_contents, read_system
from proxy.dialects.gemini.schema import json_schema_of
from proxy.dialects.gemini.shapes import FunctionDeclaration, GenerateBody, GenerationConfig
from proxy.dialects.gemini.thinking import read_thinking
from proxy.errors import InvalidRequest

_MODES: Mapping[str, ToolMode] = {
    "": "auto",
    "MODE_UNSPECIFIED": "auto",
    "AUTO": "auto",
    "VALIDATED": "auto",
    "ANY": "required",
    "NONE": "none",
}
_READ_SETTINGS = frozenset(
    {
        "candidateCount",
        "maxOutputTokens",
        "stopSequences",
        "temperature",
        "topP",
        "topK",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "responseLogprobs",
        "logprobs",
    }
)
"""Members of a generationConfig whose canonical form says it all."""
_NOTED = {"thinkingConfig": "_", "responseSchema": "_", "functionCallingConfig": "_"}
_READ_MEMBERS = frozenset(
    {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "model"}
)


def _tool(declared: FunctionDeclaration, given: Mapping[str, Any]) -> Tool:
    own = {
        name: value
        for name, value in given.items()
        if name not in ("name", "description", "parametersJsonSchema")
    }
    schema = declared.parameters_json_schema
    if schema is None and declared.parameters is not None:
        schema = json_schema_of(declared.parameters)
    return Tool(
        name=declared.name,
        description=declared.description or "",
        schema=schema,
        extras={"gemini": own} if own else {},
    )


def _tools(body: GenerateBody) -> tuple[Tool, ...]:
    """Functions first; then the tools that only this provider has (googleSearch, urlContext, …),
    each with its `type`, by which other dialects refuse them."""
    functions: list[Tool] = []
    others: list[Tool] = []
    for checked, given in zip(body.asked.tools or (), body.fields.get("tools") or (), strict=True):
        declared = checked.function_declarations or []
        functions += [
            _tool(one, fields)
            for one, fields in zip(declared, given.get("functionDeclarations") or (), strict=True)
        ]
        others += [
            Tool(name=name, extras={"gemini": {"type": name, "settings": settings}})
            for name, settings in given.items()
            if name != "functionDeclarations"
        ]
    return (*functions, *others)


def _tool_choice(body: GenerateBody) -> ToolChoice | None:
    config = body.asked.tool_config
    calling = config.function_calling_config if config else None
    if calling is None:
        return None
    mode = _MODES.get((calling.mode or "").upper())
    if mode is None:
        at = "toolConfig.functionCallingConfig.mode"
        raise InvalidRequest(f"{at} is AUTO, ANY, NONE or VALIDATED", param=at)
    allowed = calling.allowed_function_names or []
    if mode == "required" and len(allowed) == 1:
        return ToolChoice("named", allowed[0])
    return ToolChoice(mode)


def _response_format(settings: GenerationConfig) -> ResponseFormat | None:
    schema = settings.response_json_schema
    if schema is not None and settings.response_schema is not None:
        raise InvalidRequest(
            "generationConfig has responseSchema or responseJsonSchema, not both",
            param="generationConfig.responseSchema",
        )
    if schema is None and settings.response_schema is not None:
        schema = json_schema_of(settings.response_schema)
    if isinstance(schema, dict) and settings.response_mime_type != "text/x.enum":
        return ResponseFormat("json_schema", schema=schema)
    if settings.response_mime_type == "application/json":
        return ResponseFormat("json")
    return None


def _extras(body: GenerateBody, response_format: ResponseFormat | None) -> dict[str, Any]:
    """What only this dialect has, as it was given, by its path. With a `_`: what is also said
    canonically, but less exactly."""
    own = {name: value for name, value in body.fields.items() if name not in _READ_MEMBERS}
    read = _READ_SETTINGS
    if response_format is not None:
        read |= {"responseMimeType", "responseJsonSchema"}
    for name, value in (body.fields.get("generationConfig") or {}).items():
        if name not in read and value is not None:
            own[f"{_NOTED.get(name, '')}generationConfig.{name}"] = value
    for name, value in (body.fields.get("toolConfig") or {}).items():
        own[f"{_NOTED.get(name, '')}toolConfig.{name}"] = value
    if own.get("generationConfig.responseModalities") in (["TEXT"], []):
        own["_generationConfig.responseModalities"] = own.pop("generationConfig.responseModalities")
    return {"gemini": own} if own else {}


def _read(body: GenerateBody) -> ChatRequest:
    settings = body.settings
    response_format = _response_format(settings)
    top_k = settings.top_k
    return ChatRequest(
        messages=(
            *read_system(body.asked.system_instruction),
            *read_contents(body.asked.contents),
        ),
        include_usage=True,
        max_output_tokens=settings.max_output_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=int(top_k) if top_k is not None else None,
        stop=tuple(settings.stop_sequences or ()),
        seed=settings.seed,
        n=settings.candidate_count or 1,
        presence_penalty=settings.presence_penalty,
        frequency_penalty=settings.frequency_penalty,
        logprobs=settings.response_logprobs,
        top_logprobs=settings.logprobs,
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        response_format=response_format,
        reasoning=read_thinking(settings.thinking_config),
        extras=_extras(body, response_format),
    )


def read_request(body: GenerateBody) -> ChatRequest:
    """The canonical request. Raises InvalidRequest naming the field at fault."""
    return followed(_read, body)
