"""A canonical request as a generateContent body."""

import json
from typing import Any

import orjson

from proxy.chat.request import ChatRequest, Tool
from proxy.dialects.faces import Written
from proxy.dialects.gemini.schema import accepted_schema
from proxy.dialects.gemini.thinking import write_thinking
from proxy.dialects.gemini.write_contents import ContentWriter
from proxy.dialects.losses import cannot_take
from proxy.errors import InvalidRequest

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


def encoded(body: Object) -> bytes:
    """JSON, also of numbers and text that only Python can hold. Raises InvalidRequest."""
    try:
        return orjson.dumps(body)
    except TypeError:
        pass
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise InvalidRequest("The request holds a number that is none in JSON.") from None


def _own(request: ChatRequest) -> Object:
    own: Object = request.extras.get("gemini", {})
    return own


def _settings(request: ChatRequest, model: str, warnings: list[str]) -> Object:
    own: Object = _own(request).get("generationConfig", {})
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


def _declaration(tool: Tool, at: str) -> Object:
    if tool.extras.get("openai", {}).get("type") == "custom":
        raise cannot_take("gemini", "custom tools", at)
    declared: Object = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    own: Object = tool.extras.get("gemini", {})
    if tool.schema is not None and "parameters" not in own:
        declared["parametersJsonSchema"] = accepted_schema(tool.schema)
    return {**declared, **own}


def _tools(request: ChatRequest, warnings: list[str]) -> list[Object]:
    tools: list[Object] = []
    if request.tools:
        declared = [
            _declaration(tool, f"tools[{index}]") for index, tool in enumerate(request.tools)
        ]
        tools.append({"functionDeclarations": declared})
    marker = "cache markers are not supported by gemini"
    if marker not in warnings and any("cache" in tool.extras for tool in request.tools):
        warnings.append(marker)
    return [*tools, *_own(request).get("tools", ())]


def _calling(request: ChatRequest, warnings: list[str]) -> Object:
    """The functionCallingConfig. VALIDATED keeps calls to their schemas, as `strict` asks."""
    choice = request.tool_choice
    if choice is not None and choice.parallel is False:
        warnings.append("parallel_tool_calls is not supported by gemini")
    if not request.tools:
        return {}
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


def request_object(request: ChatRequest, model: str, warnings: list[str]) -> Object:
    """The members of the body. Raises InvalidRequest for content that the provider cannot take."""
    body = ContentWriter(model, warnings).write(request.messages)
    tools = _tools(request, warnings)
    if tools:
        body["tools"] = tools
    calling = _calling(request, warnings)
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}
    settings = _settings(request, model, warnings)
    if settings:
        body["generationConfig"] = settings
    as_given = ("tools", "generationConfig")
    body.update({name: value for name, value in _own(request).items() if name not in as_given})
    return body


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """The provider keeps to its own limit where a request has none."""
    warnings: list[str] = []
    body = encoded(request_object(request, model, warnings))
    return Written(body, tuple(warnings))
