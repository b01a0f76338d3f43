"""A canonical request as a body for Mistral (docs.mistral.ai/api, "Chat Completion")."""

from proxy.chat.request import ChatRequest, ReasoningRequest, Tool
from proxy.dialects.efforts import asked_effort
from proxy.dialects.faces import Written
from proxy.dialects.losses import foreign_settings, refuse_foreign_tools, unsupported
from proxy.dialects.mistral.messages import MistralMessages
from proxy.dialects.openai import writer as openai
from proxy.dialects.openai.messages import Object
from proxy.dialects.serialising import serialised

DIALECT = "mistral"

_SHARED = ("prediction", "safe_prompt", "prompt_mode", "guardrails")
"""Members that callers of chat completions may say beside it, and that Mistral knows."""
_UNSUPPORTED = ("top_k", "logprobs", "top_logprobs", "user", "metadata")
_NO_PARAMETERS: Object = {"type": "object", "properties": {}}


def _tool(tool: Tool) -> Object:
    written = openai.tool(Tool(tool.name, tool.description, tool.schema, tool.strict))
    written["function"].setdefault("parameters", _NO_PARAMETERS)
    return written


def _tools(request: ChatRequest) -> Object:
    if not request.tools:
        return {}
    written: Object = {"tools": [_tool(tool) for tool in request.tools]}
    choice = request.tool_choice
    if choice is not None:
        said = openai.tool_choice(choice, ())
        written["tool_choice"] = "any" if said == "required" else said
        if choice.parallel is not None:
            written["parallel_tool_calls"] = choice.parallel
    return written


def _reasoning(reasoning: ReasoningRequest | None) -> Object:
    """`high` or `none`: Mistral knows no effort between. Where reasoning is only switched off,
    nothing is sent, because models that cannot reason refuse the member."""
    if reasoning is None or (reasoning.enabled is False and not reasoning.effort):
        return {}
    effort = asked_effort(reasoning)
    if not effort and not reasoning.enabled:
        return {}
    return {"reasoning_effort": "none" if effort in ("none", "minimal") else "high"}


def _shared(request: ChatRequest) -> Object:
    given = request.extras.get("openai") or {}
    own = request.extras.get(DIALECT) or {}
    shared = {name: given[name] for name in _SHARED if name in given}
    return shared | {name: value for name, value in own.items() if not name.startswith("_")}


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """Raises InvalidRequest for content that Mistral cannot take. Usage comes unasked."""
    refuse_foreign_tools(request, DIALECT)
    messages = MistralMessages()
    body: Object = {"model": model, "messages": messages.write(request.messages)}
    body |= _tools(request) | openai.settings(request)
    body |= openai.response_format(request.response_format) | _reasoning(request.reasoning)
    body |= _shared(request)
    if request.max_output_tokens is not None:
        body["max_tokens"] = request.max_output_tokens
    if request.seed is not None:
        body["random_seed"] = request.seed
    if request.stream:
        body["stream"] = True
    warnings = messages.warnings + unsupported(request, DIALECT, *_UNSUPPORTED)
    warnings += foreign_settings(request, DIALECT, but=_SHARED)
    if request.reasoning is not None and request.reasoning.summary:
        warnings.append(f"reasoning.summary is not supported by {DIALECT}")
    return Written(serialised(body), tuple(dict.fromkeys(warnings)))
