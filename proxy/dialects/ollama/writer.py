"""A canonical request as a body of Ollama's `/api/chat`."""

from proxy.chat.request import ChatRequest, ReasoningRequest, ResponseFormat, Tool
from proxy.dialects.efforts import asked_effort
from proxy.dialects.faces import Written
from proxy.dialects.losses import (
    foreign_settings,
    refuse_foreign_tools,
    refuse_several_choices,
    unsupported,
)
from proxy.dialects.ollama.messages import OllamaMessages
from proxy.dialects.openai import writer as openai
from proxy.dialects.openai.messages import Object
from proxy.dialects.serialising import serialised

DIALECT = "ollama"

_SHARED = ("keep_alive", "options")
"""Members that callers of chat completions may say beside it, and that Ollama knows."""
_THINK: dict[str, str | bool] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
}


def _options(request: ChatRequest) -> Object:
    given = {
        "num_predict": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    return {name: value for name, value in given.items() if value is not None}


def _think(reasoning: ReasoningRequest | None) -> Object:
    """Whether to think, or how much, in words that every server with thinking takes."""
    if reasoning is None:
        return {}
    if reasoning.enabled is False:
        return {"think": False}
    effort = asked_effort(reasoning)
    if effort:
        return {"think": _THINK.get(effort, "high")}
    return {"think": True} if reasoning.enabled else {}


def _format(wanted: ResponseFormat | None) -> Object:
    """A schema binds the whole answer, so every schema is strict; its name says nothing here."""
    if wanted is None or wanted.kind == "text":
        return {}
    return {"format": wanted.schema if wanted.schema is not None else "json"}


def _tools(request: ChatRequest, warnings: list[str]) -> Object:
    """There is no choice to send: forbidden tools are left out, forced ones are a warning."""
    choice = request.tool_choice
    if not request.tools or (choice is not None and choice.mode == "none"):
        return {}
    if choice is not None and choice.mode != "auto":
        warnings.append(f"tool_choice is not supported by {DIALECT}")
    if choice is not None and choice.parallel is False:
        warnings.append(f"parallel_tool_calls is not supported by {DIALECT}")
    return {"tools": [_tool(tool) for tool in request.tools]}


def _tool(tool: Tool) -> Object:
    written = openai.tool(Tool(tool.name, tool.description, tool.schema))
    written["function"].setdefault("parameters", {"type": "object", "properties": {}})
    return written


def _shared(request: ChatRequest) -> Object:
    own = request.extras.get(DIALECT) or {}
    beside = request.extras.get("openai") or {}
    shared = {name: beside[name] for name in _SHARED if name in beside}
    return shared | {name: value for name, value in own.items() if not name.startswith("_")}


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """Raises InvalidRequest for content that Ollama cannot take. Usage comes unasked."""
    refuse_several_choices(request, DIALECT)
    refuse_foreign_tools(request, DIALECT)
    messages = OllamaMessages()
    body: Object = {
        "model": model,
        "messages": messages.write(request.messages),
        "stream": request.stream,
    }
    warnings = messages.warnings + unsupported(request, DIALECT, "user", "metadata")
    warnings += foreign_settings(request, DIALECT, but=_SHARED)
    body |= _tools(request, warnings) | _think(request.reasoning)
    body |= _format(request.response_format) | _shared(request)
    said = body.get("options")
    if options := {**(said if isinstance(said, dict) else {}), **_options(request)}:
        body["options"] = options
    if request.logprobs:
        body["logprobs"] = True
    if request.top_logprobs is not None:
        body["top_logprobs"] = request.top_logprobs
    if request.reasoning is not None and request.reasoning.summary:
        warnings.append(f"reasoning.summary is not supported by {DIALECT}")
    return Written(serialised(body), tuple(dict.fromkeys(warnings)))
