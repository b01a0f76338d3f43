"""`aliases:` the names that callers ask for, and the routes that decide which model answers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from routing.config.fields import (
    Fraction,
    Hours,
    Integer,
    Money,
    Name,
    Positive,
    Rate,
    Regex,
    Shape,
    Share,
    SomeTime,
    Timezone,
    once,
    wrong_at,
)
from routing.config.schema_limits import ErrorKind, Retries
from routing.config.schema_routing import Capability


class TokenRange(Shape):
    """Both ends belong to the range."""

    min: Integer | None = None
    max: Integer | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> "TokenRange":
        if self.min is None and self.max is None:
            raise ValueError("needs 'min' or 'max'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise wrong_at("min", "must not be above 'max'")
        return self


class ShareRange(Shape):
    min: Share | None = None
    max: Share | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> "ShareRange":
        if self.min is None and self.max is None:
            raise ValueError("needs 'min' or 'max'")
        return self


class When(Shape):
    """Holds when everything that stands here does; an empty one always does."""

    tier: Name | None = None
    tenant: Name | None = None
    project: Name | None = None
    user: Name | None = None
    label: dict[Name, Name] = {}
    scope: Name | None = None
    input_tokens: TokenRange | None = None
    has: Annotated[list[Capability], once()] = []
    time: Hours | None = None
    timezone: Timezone | None = None
    budget_used: ShareRange | None = None
    complexity: Literal["simple", "complex"] | None = None

    @model_validator(mode="after")
    def _timezone_needs_a_time(self) -> "When":
        if self.timezone is not None and self.time is None:
            raise wrong_at("timezone", "needs a 'time' beside it")
        return self


class Target(Shape):
    """`weight` is its share among the targets of its route."""

    model: Name
    weight: Integer = 1


class Route(Shape):
    when: When = When()
    targets: Annotated[list[Target], Field(min_length=1, max_length=1000)]
    strategy: Literal["weighted", "priority", "round_robin", "least_busy", "latency", "cost"] = (
        "weighted"
    )
    sticky: Literal["user", "tenant"] | None = None

    @model_validator(mode="after")
    def _somebody_has_weight(self) -> "Route":
        if self.strategy == "weighted" and not any(target.weight for target in self.targets):
            raise wrong_at("targets", "at least one weight must be above 0")
        return self


class Slow(Shape):
    first_byte: SomeTime | None = None
    tokens_per_second: Rate | None = None


class Hedge(Shape):
    after: SomeTime


class Mirror(Shape):
    model: Name
    share: Share


class Cache(Shape):
    """What `normalise` names are known groups (`timestamps`, `uuids`) or regular expressions."""

    mode: Literal["none", "exact", "template", "semantic"]
    ttl: SomeTime | None = None
    key: Literal["content", "content+model", "full_request"] | None = None
    threshold: Fraction | None = None
    embeddings: Name | None = None
    only_deterministic: bool = False
    normalise: list[Regex] = []

    @model_validator(mode="after")
    def _meaning_needs_embeddings(self) -> "Cache":
        if self.mode == "semantic" and self.embeddings is None:
            raise wrong_at("embeddings", "is required by the mode semantic")
        return self


class Alias(Shape):
    description: Annotated[str, Field(max_length=500)] = ""
    routes: Annotated[list[Route], Field(min_length=1, max_length=1000)]
    fallbacks: Annotated[list[Name], Field(max_length=1000), once()] = []
    fallback_on: Annotated[list[ErrorKind], once()] | None = None
    slow: Slow = Slow()
    retries: Retries = Retries()
    max_cost_per_request: Money | None = None
    max_output_tokens: Positive | None = None
    on_short_budget: Literal["clamp", "refuse"] | None = None
    cache: Cache | None = None
    guards: Annotated[list[Name], Field(max_length=1000), once()] = []
    hedge: Hedge | None = None
    mirror: Mirror | None = None
