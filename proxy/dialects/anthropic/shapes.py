"""What of the wire format the gateway itself looks at. Everything else passes unread.

Request fields are typed as the provider documents them, so that a wrong type is refused by name;
answers are read leniently, because other servers of this dialect deviate.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.dialects.decoding import decoder

Object = dict[str, Any]

OWN_FIELDS = (
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "service_tier",
    "speed",
)
"""Fields that no other dialect has."""
CALL_FIELDS = ("caller", "toolset_name")
"""Those of a tool call."""


class MessageParam(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Object]


class Metadata(msgspec.Struct):
    user_id: str | None = None


class MessagesBody(msgspec.Struct):
    """`max_tokens` is required by the provider, but not to count tokens."""

    messages: Annotated[list[MessageParam], Meta(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    system: str | list[Object] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[Object] | None = None
    tool_choice: Object | None = None
    thinking: Object | None = None
    metadata: Metadata | None = None
    output_config: Object | None = None
    output_format: Object | None = None
    cache_control: Object | None = None
    container: str | Object | None = None
    context_management: Object | None = None
    diagnostics: Object | None = None
    inference_geo: str | None = None
    mcp_servers: list[Object] | None = None
    service_tier: str | None = None
    speed: str | None = None

    @property
    def asked_model(self) -> str | None:
        return self.model

    @property
    def wants_stream(self) -> bool:
        return bool(self.stream)

    @property
    def end_user(self) -> str | None:
        return self.metadata.user_id if self.metadata else None

    @property
    def output_limit(self) -> int | None:
        return self.max_tokens

    @property
    def answers(self) -> int:
        return 1


class Delta(msgspec.Struct):
    """Of a block or of the message: what it has depends on the frame."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    signature: Any = None
    citation: Any = None
    content: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None
    container: Any = None


class Answer(msgspec.Struct):
    """A whole answer, or what `message_start` says of one."""

    content: list[Object] | None = None
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None
    container: Any = None
    context_management: Any = None
    usage: Any = None
    type: Any = None
    error: Any = None


class Frame(msgspec.Struct):
    """The data of any event of a stream."""

    type: str
    index: int = 0
    delta: Delta | None = None
    content_block: Object | None = None
    message: Answer | None = None
    usage: Any = None
    error: Any = None
    context_management: Any = None


read_frame = decoder(Frame)
read_answer = decoder(Answer)
"""These raise msgspec.DecodeError, also for valid JSON of another shape."""
