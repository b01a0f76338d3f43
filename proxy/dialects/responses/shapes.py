"""What of the wire format the gateway itself looks at. Everything else passes unread.

Request fields are typed as the provider documents them, so that a wrong type is refused by name; a
value out of its range is the provider's to refuse. Answers are read leniently, because other
servers of this dialect deviate.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from proxy.dialects.decoding import decoder

Object = dict[str, Any]
Index = Annotated[int, Meta(ge=0)] | None


class TextConfig(msgspec.Struct):
    format: Object | None = None
    verbosity: str | None = None


class ReasoningConfig(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class ResponsesBody(msgspec.Struct):
    input: str | list[Object] | None = None
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Object | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | Object | None = None
    prompt: Object | None = None

    others: Object = {}
    """Fields that are not named above, as the caller gave them (request.py)."""
    names_store: bool = False
    """Whether the caller's body has a `store` at all."""

    @property
    def asked_model(self) -> str | None:
        return self.model

    @property
    def wants_stream(self) -> bool:
        return bool(self.stream)

    @property
    def end_user(self) -> str | None:
        named = self.user or self.safety_identifier or (self.metadata or {}).get("user_id")
        return named if isinstance(named, str) else None

    @property
    def output_limit(self) -> int | None:
        limit = self.max_output_tokens or 0
        return limit if limit > 0 else None

    @property
    def answers(self) -> int:
        return 1


WIRE_FIELDS = frozenset(ResponsesBody.__struct_fields__) - {"others", "names_store"}


class Frame(msgspec.Struct):
    """One event of a stream. `item_id` is not looked at: indexes are the same and shorter."""

    type: str = ""
    output_index: Index = None
    content_index: Index = None
    summary_index: Index = None
    delta: Any = None
    logprobs: Any = None
    item: Any = None
    part: Any = None
    annotation: Any = None
    response: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


read_frame = decoder(Frame)
"""Raises msgspec.DecodeError, also for valid JSON of another shape."""


class Response(msgspec.Struct):
    """A whole answer."""

    output: list[Any]
    status: Any = None
    id: Any = None
    model: Any = None
    created_at: Any = None
    usage: Any = None
    error: Any = None
    incomplete_details: Any = None


read_response = decoder(Response)
"""Raises msgspec.DecodeError, also for valid JSON of another shape."""


def object_of(value: Any) -> Object:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """The value where it is a text, else an empty one."""
    return value if isinstance(value, str) else ""
