"""What of the wire format the gateway itself looks at. Everything else passes unread.

Request fields are typed as the provider documents them, so that a wrong type is refused by name;
answer fields are read leniently.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from proxy.dialects.checking import checked
from proxy.dialects.decoding import decoder
from proxy.dialects.gemini.depth import followed
from proxy.dialects.gemini.spelling import in_camel_case

Positive = Annotated[int, Meta(ge=1)]
Object = dict[str, Any]


class Content(msgspec.Struct):
    parts: list[Object] = []
    role: str | None = None


class ThinkingConfig(msgspec.Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: Annotated[int, Meta(ge=-1)] | None = None
    thinking_level: str | None = None


class GenerationConfig(msgspec.Struct, rename="camel"):
    """Whole numbers may come as floats (`"topK": 40.0`)."""

    candidate_count: Positive | None = None
    max_output_tokens: Positive | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_schema: Object | None = None
    response_json_schema: Any = None
    thinking_config: ThinkingConfig | None = None


class FunctionDeclaration(msgspec.Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: Object | None = None
    parameters_json_schema: Object | None = None


class ToolSet(msgspec.Struct, rename="camel"):
    function_declarations: list[FunctionDeclaration] | None = None


class FunctionCallingConfig(msgspec.Struct, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    function_calling_config: FunctionCallingConfig | None = None


class Asked(msgspec.Struct, rename="camel"):
    """The members of a request that have a canonical form."""

    contents: Annotated[list[Content], Meta(min_length=1)]
    system_instruction: Content | str | None = None
    generation_config: GenerationConfig | None = None
    tools: list[ToolSet] | None = None
    tool_config: ToolConfig | None = None


class GenerateBody(msgspec.Struct):
    """A request: what was checked, and all that was given, in the API's spelling."""

    asked: Asked
    fields: Object

    @property
    def settings(self) -> GenerationConfig:
        return self.asked.generation_config or GenerationConfig()

    @property
    def asked_model(self) -> str | None:
        """The path says it."""
        return None

    @property
    def wants_stream(self) -> bool:
        """The path says it."""
        return False

    @property
    def end_user(self) -> str | None:
        """The API has no field for it."""
        return None

    @property
    def output_limit(self) -> int | None:
        return self.settings.max_output_tokens

    @property
    def answers(self) -> int:
        return self.settings.candidate_count or 1


def parse(fields: Object) -> GenerateBody:
    """The fields that the gateway looks at. Raises InvalidRequest naming the one at fault."""
    return followed(_parse, fields)


def _parse(fields: Object) -> GenerateBody:
    spelled = in_camel_case(fields)
    return GenerateBody(checked(spelled, Asked), spelled)


class Chunk(msgspec.Struct, rename="camel"):
    """A frame of a stream, or a whole answer: they are the same. Candidates stay as they are: most
    of what they say beside their content goes to callers of the same dialect unread."""

    candidates: list[Object] | None = None
    usage_metadata: Any = None
    prompt_feedback: Any = None
    error: Any = None
    response_id: Any = None
    model_version: Any = None
    create_time: Any = None
    model_status: Any = None


def parts_of(candidate: Object) -> list[Any]:
    """What a candidate says; nothing where it has no content, or content without parts."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return parts if isinstance(parts, list) else []


read_chunk = decoder(Chunk)
read_chunks = decoder(list[Chunk])
"""These raise msgspec.DecodeError, also for valid JSON of another shape."""
