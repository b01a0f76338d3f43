"""Upstream accounts and their models: `providers:` and `models:`, the gateway's or a tenant's."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway_project.units import parse_duration
from routing.config.fields import (
    Duration,
    HeaderName,
    Integer,
    Name,
    Positive,
    Secret,
    Shape,
    Slug,
    SomeTime,
    Url,
    once,
    wrong_at,
)
from routing.config.schema_limits import Rates, Retries, Timeouts

PLACEHOLDERS = ("tenant", "project", "user", "key", "tier", "alias", "model", "request_id")
"""What `inject_headers` may tell an upstream about a request."""

_OURS = {"connection", "content-length", "host", "te", "transfer-encoding", "upgrade"}


def _headers(headers: dict[str, str]) -> dict[str, str]:
    """Names in lower case: HTTP does not tell them apart."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if len(lowered) < len(headers):
        raise ValueError("a header stands here twice")
    for name, value in lowered.items():
        if name in _OURS:
            raise wrong_at(name, "this header is the gateway's own to set")
        if not value.isascii() or not value.isprintable():
            raise wrong_at(name, "a header's value is printable ASCII")
        for placeholder in re.findall(r"\{(.*?)\}", value):
            if placeholder not in PLACEHOLDERS:
                known = ", ".join(PLACEHOLDERS)
                raise wrong_at(name, f"'{{{placeholder}}}' is none of the placeholders {known}")
    return lowered


class Credential(Shape):
    """`weight: 0` is used only when the others are cooled down."""

    name: Slug
    secret: Secret = Field(repr=False)
    account: Annotated[str, Field(max_length=100)] = ""
    weight: Integer = 1


class Breaker(Shape):
    failures: Positive | None = None
    window: SomeTime | None = None
    cooldown: SomeTime | None = None


def _path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise ValueError("a path starts with '/', and is printable ASCII without spaces or '#'")
    return value


class Probe(Shape):
    """What is asked beside all requests: a list, with GET. What is left out has its default."""

    interval: SomeTime | None = None
    path: Annotated[str, Field(max_length=200), AfterValidator(_path)] | None = None
    timeout: SomeTime | None = None

    @model_validator(mode="after")
    def _leaves_the_provider_some_rest(self) -> "Probe":
        if self.interval is not None and parse_duration(self.interval) < 1:
            raise wrong_at("interval", "must be at least 1s")
        return self


class Queue(Shape):
    max_waiting: Positive | None = None
    max_wait: SomeTime | None = None


class Provider(Shape):
    dialect: Literal["openai", "responses", "anthropic", "gemini", "mistral", "ollama", "demo"]
    base_url: Url | None = None
    credentials: Annotated[list[Credential], once("name")] = []
    inject_headers: Annotated[dict[HeaderName, str], AfterValidator(_headers)] = {}
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    breaker: Breaker = Breaker()
    probe: Probe | None = None
    limits: Rates = Rates()
    queue: Queue = Queue()
    delay: Duration | None = None

    @model_validator(mode="after")
    def _fits_its_dialect(self) -> "Provider":
        if self.dialect != "demo" and self.base_url is None:
            raise wrong_at("base_url", "is required, except by the dialect demo")
        if self.dialect != "demo" and self.delay is not None:
            raise wrong_at("delay", "only the dialect demo has a delay")
        if self.dialect == "demo" and self.probe is not None:
            raise wrong_at("probe", "the dialect demo has nobody to ask")
        return self


class MediaTokens(Shape):
    """The most tokens that one of these in a request may count, for its reservation."""

    image: Positive | None = None
    audio: Positive | None = None
    document: Positive | None = None


Capability = Literal["images", "tools", "json_schema", "audio", "documents"]


class Model(Shape):
    """One upstream model. Without `capabilities` it is taken to have them all."""

    provider: Name
    upstream: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["chat", "embeddings"] = "chat"
    context_window: Positive | None = None
    max_output_tokens: Positive | None = None
    capabilities: Annotated[list[Capability], once()] | None = None
    overhead_tokens: Integer | None = None
    media_tokens: MediaTokens = MediaTokens()
    limits: Rates = Rates()
