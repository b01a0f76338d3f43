"""A canonical request as a generateContent body."""

from typing import Any

from proxy.chat.request import ChatRequest, Tool
from proxy.dialects.faces import Written
from proxy.dialects.gemini.depth import followed
from proxy.dialects.gemini.schema import accepted_schema
from proxy.dialects.gemini.thinking import write_thinking
from proxy.dialects.gemini.write_contents import ContentWriter
from proxy.dialects.losses import foreign_settings, refuse_foreign_tools, unsupported
from proxy.dialects.serialising import serialised

Object = dict[str, Any]

_SETTINGS = {
    "max_output_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}


def _own(request: ChatRequest, path: str = "") -> Object:
    """What only this dialect has under a path, as it was given."""
    own: Object = request.extras.get("gemini", {})
    if path:
        named = ((name.removeprefix("_"), value) for name, value in own.items())
        return {name[len(path) :]: value for name, value in named if name.startswith(path)}
    return {name: value for name, value in own.items() if "." not in name}


def _settings(request: ChatRequest, model: str, warnings: list[str]) -> Object:
    own = _own(request, "generationConfig.")
    config: Object = {
        name: value
        for field, name in _SETTINGS.items()
        if (value := getattr(request, field)) is not None
    }
    if request.n > 1:
        config["candidateCount"] = request.n
    if request.stop:
        config["stopSequences"] = list(request.stop)
    wanted = request.response_format
    if wanted is not None and wanted.kind != "text":
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None and "responseSchema" not in own:
            config["responseJsonSchema"] = accepted_schema(wanted.schema)
    if "thinkingConfig" not in own:
        thinking = write_thinking(request.reasoning, model, warnings)
        if thinking:
            config["thinkingConfig"] = thinking
    return {**config, **own}


def _declaration(tool: Tool) -> Object:
    declared: Object = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    own: Object = tool.extras.get("gemini", {})
    if tool.schema is not None and "parameters" not in own:
        declared["parametersJsonSchema"] = accepted_schema(tool.schema)
    return {**declared, **own}


def _tools(request: ChatRequest, warnings: list[str]) -> list[Object]:
    refuse_foreign_tools(request, "gemini")
    declared: list[Object] = []
    others: list[Object] = []
    for tool in request.tools:
        own = tool.extras.get("gemini", {})
        if "type" in own:
            others.append({own["type"]: own.get("settings", {})})
        else:
            declared.append(_declaration(tool))
    marker = "cache markers are not supported by gemini"
    if marker not in warnings and any("cache" in tool.extras for tool in request.tools):
        warnings.append(marker)
    return [*([{"functionDeclarations": declared}] if declared else ()), *others]


def _calling(request: ChatRequest, warnings: list[str]) -> Object:
    """The functionCallingConfig. VALIDATED keeps calls to their schemas, as `strict` asks."""
    choice = request.tool_choice
    if choice is not None and choice.parallel is False:
        warnings.append("parallel_tool_calls is not supported by gemini")
    if all("type" in tool.extras.get("gemini", {}) for tool in request.tools):
        return {}  # it is about functions
    mode = choice.mode if choice is not None else "auto"
    if mode == "none":
        return {"mode": "NONE"}
    if mode == "required":
        return {"mode": "ANY"}
    if mode == "named" and choice is not None:
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    if any(tool.strict for tool in request.tools):
        return {"mode": "VALIDATED"}
    return {"mode": "AUTO"} if choice is not None else {}


def _body(request: ChatRequest, model: str, warnings: list[str]) -> Object:
    body = ContentWriter(model, warnings).write(request.messages)
    tools = _tools(request, warnings)
    if tools:
        body["tools"] = tools
    calling = _calling(request, warnings)
    calling = {
        **({"functionCallingConfig": calling} if calling else {}),
        **_own(request, "toolConfig."),
    }
    if calling:
        body["toolConfig"] = calling
    settings = _settings(request, model, warnings)
    if settings:
        body["generationConfig"] = settings
    warnings += unsupported(request, "gemini", "user", "metadata")
    warnings += foreign_settings(request, "gemini")
    return {**body, **_own(request)}


def request_object(request: ChatRequest, model: str, warnings: list[str]) -> Object:
    """The members of the body. Raises InvalidRequest for content that the provider cannot take."""
    return followed(_body, request, model, warnings)


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """The provider keeps to its own limit where a request has none."""
    warnings: list[str] = []
    body = request_object(request, model, warnings)
    return Written(serialised(body), tuple(warnings))
