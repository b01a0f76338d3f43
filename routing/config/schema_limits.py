"""How fast and how much: limits, budgets and time-outs, the same shapes wherever they stand."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from routing.config.fields import (
    BucketCount,
    Count,
    Duration,
    Money,
    Name,
    Percent,
    Positive,
    Shape,
    SomeTime,
    Timezone,
    wrong_at,
)

ErrorKind = Literal[
    "rate_limit",
    "timeout",
    "server_error",
    "overloaded",
    "connection",
    "context_window",
    "content_filter",
    "auth",
    "slow",
]


class TokenBucket(Shape):
    """`600`, or `{amount: 600, burst: 100}` for a bucket below the amount."""

    amount: BucketCount
    burst: BucketCount | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"amount": value}
        if not isinstance(value, dict):
            raise ValueError("must be a whole number or {amount, burst}")
        return value

    @model_validator(mode="after")
    def _burst_fits(self) -> "TokenBucket":
        if self.burst is not None and self.burst > self.amount:
            raise wrong_at("burst", "must not be above the amount")
        return self

    @model_serializer(mode="wrap")
    def _write_short(self, write: SerializerFunctionWrapHandler) -> Any:
        return self.amount if self.burst is None else write(self)


class Rates(Shape):
    """Limits of one scope; what is left out is not limited."""

    requests_per_second: TokenBucket | None = None
    requests_per_minute: TokenBucket | None = None
    requests_per_hour: TokenBucket | None = None
    requests_per_day: TokenBucket | None = None
    tokens_per_second: TokenBucket | None = None
    tokens_per_minute: TokenBucket | None = None
    tokens_per_hour: TokenBucket | None = None
    tokens_per_day: TokenBucket | None = None
    concurrency: Positive | None = None


class Limits(Rates):
    """Limits of a caller's scope, and within it of each user, of some aliases, of some models."""

    per_user: Rates = Rates()
    per_alias: dict[Name, Rates] = {}
    per_model: dict[Name, Rates] = {}


_SCOPE = re.compile(r"user|alias:[a-z0-9][a-z0-9._-]{0,63}|label:[^\s=,]{1,64}=[^\s,]{1,256}")


def _scope(value: str) -> str:
    if not _SCOPE.fullmatch(value):
        raise ValueError("must be user, alias:NAME or label:KEY=VALUE")
    return value


class Budget(Shape):
    """Money or tokens per calendar period. Without `scope` it counts all of its owner; without
    `timezone` it takes the tenant's; `hard` unless it says otherwise."""

    amount: Money | None = None
    tokens: Count | None = None
    period: Literal["hour", "day", "week", "month", "total"]
    timezone: Timezone | None = None
    hard: bool = True
    alert_at: list[Percent] = []
    scope: Annotated[str, AfterValidator(_scope)] | None = None

    @model_validator(mode="after")
    def _counts_one_thing(self) -> "Budget":
        if (self.amount is None) == (self.tokens is None):
            raise ValueError("needs exactly one of 'amount' and 'tokens'")
        return self


class Timeouts(Shape):
    """What is left out has the gateway's default."""

    connect: SomeTime | None = None
    first_byte: SomeTime | None = None
    idle: SomeTime | None = None
    total: SomeTime | None = None


class Retries(Shape):
    """What is left out has the provider's setting, or the gateway's default."""

    attempts: Annotated[int, Field(ge=0, le=10)] | None = None
    retry_on: list[ErrorKind] | None = None
    backoff: Duration | None = None
