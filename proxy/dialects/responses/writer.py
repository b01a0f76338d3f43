"""A canonical request as a Responses body. Also the settings of a request as the `response` objects
of our own answers repeat them (answer.py).

Source: API reference, "Create a response". Tools are strict there unless told otherwise, so a
caller's tool of another dialect is told.
"""

from collections.abc import Iterator

from proxy.chat.request import (
    ChatRequest,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from proxy.dialects.efforts import asked_effort
from proxy.dialects.faces import Written
from proxy.dialects.losses import (
    cannot_take,
    foreign_settings,
    refuse_foreign_tools,
    refuse_several_choices,
    unsupported,
)
from proxy.dialects.responses.content import OWN, own_of, write_part
from proxy.dialects.responses.request import ENCRYPTED, LOGPROBS
from proxy.dialects.responses.shapes import Object, object_of
from proxy.dialects.serialising import serialised

_SHARED_WITH_CHAT = (
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
)


def is_custom(part: Tool | ToolCall) -> bool:
    """A tool that takes free text, or a call of one."""
    return object_of(part.extras.get("openai")).get("type") == "custom"


def _call(part: ToolCall) -> Object:
    own = own_of(part)
    if is_custom(part):
        return {
            "type": "custom_tool_call",
            "call_id": part.id,
            "name": part.name,
            "input": part.arguments,
            **own,
        }
    return {
        "type": "function_call",
        "call_id": part.id,
        "name": part.name,
        "arguments": part.arguments,
        **own,
    }


def _output(part: ToolResult, at: str, custom_calls: set[str]) -> Object:
    """A single plain text is written as such."""
    texts = [inner.text for inner in part.content if isinstance(inner, Text) and not inner.extras]
    output: str | list[Object] = [write_part(inner, "tool", at) for inner in part.content]
    if len(texts) == len(part.content) <= 1 and all(texts):
        output = "".join(texts)
    kind = "custom_tool_call_output" if part.call_id in custom_calls else "function_call_output"
    return {"type": kind, "call_id": part.call_id, "output": output, **own_of(part)}


class _Items:
    """Messages as input items, and what was lost on the way."""

    def __init__(self) -> None:
        self._custom_calls: set[str] = set()
        self.lost: dict[str, None] = {}

    def of_message(self, message: Message, at: str) -> Iterator[Object]:
        """Parts of one item stay together: neighbours that are content of the same message."""
        if message.name:
            self.lost["messages.name"] = None
        content: list[Part] = []
        wrote = False
        for part in message.parts:
            is_content = not isinstance(part, ToolCall | ToolResult | Reasoning)
            is_content = is_content and not own_of(part).keys() & {"item", "prompt"}
            if content and not (is_content and _same_message(content[-1], part)):
                yield self._message(message, content, at)
                content, wrote = [], True
            if is_content:
                content.append(part)
                continue
            wrote = True
            yield from self._item(part, at)
        if content or not wrote:
            yield self._message(message, content, at)

    def _item(self, part: Part, at: str) -> Iterator[Object]:
        own = own_of(part)
        if isinstance(part, ToolCall):
            if is_custom(part):
                self._custom_calls.add(part.id)
            yield _call(part)
        elif isinstance(part, ToolResult):
            if part.is_error:
                self.lost["tool_result.is_error"] = None
            yield _output(part, at, self._custom_calls)
        elif isinstance(own.get("item"), dict):
            yield own["item"]
        elif isinstance(part, Reasoning):
            self.lost["reasoning of another provider"] = None

    def _message(self, message: Message, parts: list[Part], at: str) -> Object:
        role = "user" if message.role == "tool" else message.role
        if any("cache" in part.extras and OWN not in part.extras for part in parts):
            self.lost["cache_control"] = None
        own = object_of(message.extras.get(OWN))
        meta = {name: value for name, value in own.items() if name != "instructions"}
        meta |= object_of(own_of(parts[0]).get("message")) if parts else {}
        only = parts[0] if len(parts) == 1 else None
        content: str | list[Object]
        if isinstance(only, Text) and only.text and not own_of(only).keys() - {"message"}:
            content = only.text
        elif not parts:
            content = ""
        else:
            content = [write_part(part, role, at) for part in parts]
        return {
            "type": "message",
            "role": role,
            "content": content,
            **meta,
        }


def _same_message(one: Part, other: Part) -> bool:
    return own_of(one).get("message") == own_of(other).get("message")


def _write_tool(tool: Tool) -> Object:
    own = object_of(tool.extras.get(OWN))
    if "type" in own:
        return own
    if is_custom(tool):
        return _custom_tool(object_of(object_of(tool.extras.get("openai")).get("custom")))
    written: Object = {"type": "function", "name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.schema is not None or OWN not in tool.extras:
        takes_nothing = {"type": "object", "properties": {}}
        written["parameters"] = takes_nothing if tool.schema is None else tool.schema
    if tool.strict is not None or OWN not in tool.extras:
        written["strict"] = bool(tool.strict)
    return {**written, **own}


def _custom_tool(chat: Object) -> Object:
    tool = {"type": "custom", **chat}
    grammar = object_of(chat.get("format")).get("grammar")
    if isinstance(grammar, dict):
        tool["format"] = {"type": "grammar", **grammar}
    return tool


def write_tools(request: ChatRequest) -> list[Object]:
    return [_write_tool(tool) for tool in request.tools]


def write_tool_choice(request: ChatRequest) -> str | Object | None:
    own = object_of(request.extras.get(OWN)).get("tool_choice")
    if own is not None:
        return own if isinstance(own, str | dict) else None
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.mode != "named":
        return choice.mode
    custom = any(is_custom(tool) for tool in request.tools if tool.name == choice.name)
    return {"type": "custom" if custom else "function", "name": choice.name}


def _format(wanted: ResponseFormat) -> Object:
    if wanted.kind != "json_schema":
        return {"type": "json_object" if wanted.kind == "json" else "text"}
    written: Object = {
        "type": "json_schema",
        "name": wanted.name or "answer",
        "schema": wanted.schema or {},
    }
    if wanted.description:
        written["description"] = wanted.description
    if wanted.strict is not None:
        written["strict"] = wanted.strict
    return written


def write_text(request: ChatRequest) -> Object:
    """The `text` object: the format, and what else was said there."""
    own = object_of(object_of(request.extras.get(OWN)).get("text"))
    verbosity = object_of(request.extras.get("openai")).get("verbosity")
    shared = {"verbosity": verbosity} if verbosity is not None else {}
    wanted = request.response_format
    return {**({"format": _format(wanted)} if wanted else {}), **shared, **own}


def write_reasoning(request: ChatRequest) -> Object:
    """The `reasoning` object. A budget in tokens becomes the nearest effort."""
    asked = request.reasoning
    written: Object = dict(object_of(object_of(request.extras.get(OWN)).get("reasoning")))
    if asked is None:
        return written
    effort = "none" if asked.enabled is False else asked_effort(asked)
    if effort:
        written["effort"] = effort
    if asked.summary:
        written["summary"] = asked.summary
    return written


def _include(request: ChatRequest, own: Object) -> list[str]:
    """Reasoning that is to be handed back comes encrypted: nothing is stored."""
    include = [entry for entry in own.get("include") or [] if isinstance(entry, str)]
    if request.logprobs or request.top_logprobs:
        include.append(LOGPROBS)
    if own.get("_encrypted"):
        include.append(ENCRYPTED)
    return include


def _instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """The first message where a caller of this dialect said it as `instructions`."""
    first = messages[0] if messages else None
    if first is None or not object_of(first.extras.get(OWN)).get("instructions"):
        return None, messages
    return "".join(part.text for part in first.parts if isinstance(part, Text)), messages[1:]


def _prompt(messages: tuple[Message, ...]) -> tuple[Object | None, tuple[Message, ...]]:
    """The stored prompt of a caller of this dialect (request.py)."""
    for part in messages[0].parts if messages else ():
        prompt = own_of(part).get("prompt")
        if isinstance(prompt, dict):
            return prompt, messages[1:]
    return None, messages


def _refuse_foreign(request: ChatRequest) -> None:
    refuse_several_choices(request, OWN)
    shared = tuple(Tool(tool.name) if is_custom(tool) else tool for tool in request.tools)
    refuse_foreign_tools(ChatRequest(messages=(), tools=shared), OWN)
    for index, message in enumerate(request.messages):
        for part in message.parts:
            if type(part) is Part and not own_of(part):
                raise cannot_take(OWN, "content of another provider", f"messages[{index}]")


def _settings(request: ChatRequest) -> Object:
    """Fields that are None or empty are not said."""
    own = object_of(request.extras.get(OWN))
    chat = object_of(request.extras.get("openai"))
    safety = own.get("_safety_identifier")
    settings = {
        **{name: chat.get(name) for name in _SHARED_WITH_CHAT},
        **{name: value for name, value in own.items() if not name.startswith("_")},
        "stream": True if request.stream else None,
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs,
        "tools": write_tools(request) or None,
        "tool_choice": write_tool_choice(request),
        "parallel_tool_calls": request.tool_choice.parallel if request.tool_choice else None,
        "text": write_text(request) or None,
        "reasoning": write_reasoning(request) or None,
        "include": _include(request, own) or None,
        "metadata": request.metadata or None,
        "user": request.user if request.user and request.user != safety else None,
    }
    if safety:
        settings["safety_identifier"] = safety
    return {name: value for name, value in settings.items() if value is not None}


def _warnings(request: ChatRequest, items: _Items) -> tuple[str, ...]:
    """What was not carried. Chat completions shares some fields with this dialect."""
    settings = ("top_k", "stop", "seed", "presence_penalty", "frequency_penalty")
    lost = [f"{name} is not supported by {OWN}" for name in items.lost]
    foreign = foreign_settings(request, OWN, but=(*_SHARED_WITH_CHAT, "verbosity"))
    return (*unsupported(request, OWN, *settings), *lost, *foreign)


def write_request(request: ChatRequest, *, model: str, output_limit: int | None) -> Written:
    """Raises InvalidRequest for content that has no form here, naming it. The provider bounds the
    output by itself, so the model's own limit is not said."""
    _refuse_foreign(request)
    instructions, messages = _instructions(request.messages)
    prompt, messages = _prompt(messages)
    items = _Items()
    written = [
        item
        for index, message in enumerate(messages)
        for item in items.of_message(message, f"messages[{index}]")
    ]
    body: Object = {"model": model, "store": False}
    if instructions is not None:
        body["instructions"] = instructions
    if prompt is not None:
        body["prompt"] = prompt
    if written or prompt is None:
        body["input"] = written
    body.update(_settings(request))
    return Written(serialised(body), _warnings(request, items))
