"""What of the wire format the gateway itself looks at. Everything else passes unread.

Request fields are typed as the provider documents them, so that a wrong type is refused by name; a
value out of its range is the provider's to refuse, in its own words. Answer fields are read
leniently, because compatible servers deviate.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from proxy.dialects.decoding import decoder

Positive = Annotated[int, Meta(ge=1)]
Object = dict[str, Any]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatMessage(msgspec.Struct):
    role: str
    content: str | list[Object] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Object] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    function_call: Object | None = None


class ChatBody(msgspec.Struct):
    messages: list[ChatMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: Positive | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    response_format: Object | None = None
    reasoning_effort: str | None = None
    top_k: int | None = None
    user: str | None = None
    metadata: Object | None = None
    fields: Object = msgspec.field(name="(fields)", default_factory=dict)
    """The body as it came, with what is not named here; no member of a body is called so."""

    @property
    def asked_model(self) -> str | None:
        return self.model

    @property
    def wants_stream(self) -> bool:
        return bool(self.stream)

    @property
    def end_user(self) -> str | None:
        named = self.user or (self.metadata or {}).get("user_id")
        return named if isinstance(named, str) else None

    @property
    def output_limit(self) -> int | None:
        limit = max(self.max_completion_tokens or 0, self.max_tokens or 0)
        return limit if limit > 0 else None

    @property
    def answers(self) -> int:
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class Delta(msgspec.Struct, gc=False):
    content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    annotations: Any = None
    audio: Any = None

    @property
    def has_more(self) -> bool:
        """Anything but text and reasoning."""
        return bool(
            self.tool_calls or self.refusal or self.annotations or self.function_call or self.audio
        )

    @property
    def has_content(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
        )


class Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    finish_details: Any = None
    logprobs: Any = None

    @property
    def finish(self) -> str:
        """Why it stopped; older vision models say it in `finish_details`."""
        details = self.finish_details
        said = self.finish_reason or (details.get("type") if isinstance(details, dict) else None)
        return str(said) if said else ""


class Chunk(msgspec.Struct, gc=False):
    """A frame of a stream, or a whole answer: they differ in `delta` and `message`."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    id: Any = None
    model: Any = None
    created: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None


read_chunk = decoder(Chunk)
"""Raises msgspec.DecodeError, also for valid JSON of another shape."""
