"""A chat request, as every dialect's body is read into."""

from typing import Any, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]
ToolMode = Literal["auto", "none", "required", "named"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a message's content. `extras[dialect]` carries what only that dialect can say;
    `extras["cache"]` marks a prompt-cache breakpoint."""

    extras: dict[str, Any] = {}


class Text(Part, frozen=True):
    text: str


class Image(Part, frozen=True):
    """By URL, or inline as base64 with its media type."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    detail: str = ""


class Audio(Part, frozen=True):
    data: str
    format: str


class Document(Part, frozen=True):
    """By URL, inline base64, plain text, or an id at the provider."""

    url: str = ""
    data: str = ""
    text: str = ""
    file_id: str = ""
    media_type: str = ""
    name: str = ""


class ToolCall(Part, frozen=True):
    """The model's call; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(Part, frozen=True):
    call_id: str
    content: tuple[Part, ...]
    name: str = ""
    is_error: bool = False


class Reasoning(Part, frozen=True):
    """Earlier reasoning handed back. `redacted` holds what the provider encrypted."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


class Refusal(Part, frozen=True):
    text: str


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    extras: dict[str, Any] = {}


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `schema` is JSON Schema."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    extras: dict[str, Any] = {}


class ToolChoice(msgspec.Struct, frozen=True):
    mode: ToolMode = "auto"
    name: str = ""
    parallel: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """`json` is any JSON object, `json_schema` one that a schema describes."""

    kind: Literal["text", "json", "json_schema"]
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str = ""


class ReasoningRequest(msgspec.Struct, frozen=True):
    """How much to reason: an effort word, or a budget in tokens."""

    effort: str = ""
    budget_tokens: int | None = None
    enabled: bool | None = None
    summary: str = ""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks. None means: not said. `extras[dialect]` are that dialect's own fields."""

    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningRequest | None = None
    user: str = ""
    metadata: dict[str, str] = {}
    extras: dict[str, Any] = {}
