"""What the schema is made of: shapes, and the types of their fields.

Amounts of every kind are text in the database's JSON ("5s", "20%", "0.5"); in YAML a decimal may be
written as a number too. What is left out of a file is left out of the database: the defaults are
those of the schema.
"""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway_project.names import SLUG_PATTERN
from routing.config import formats

LARGEST_INTEGER = 2**31 - 1
LARGEST_COUNT = 9_000_000_000_000_000
"""Below 2**53, as for amounts of money: a Redis counter is a double."""


LARGEST_BUCKET = 10_000_000_000
"""A day has 864,000 ticks (billing/counters/asks.py): times those it is still exact."""


class Shape(BaseModel):
    """A mapping of the file. A key with nothing behind it says nothing: a field has its default, a
    thing in a mapping of things has nothing but defaults."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return {} if value is None else value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: item for key, item in value.items() if item is not None or key not in known}


def wrong_at(field: str, message: str) -> PydanticCustomError:
    """A problem that a whole shape finds with one of its fields."""
    return PydanticCustomError("wrong_at", "{said}", {"said": message, "at": field})


def _matches(pattern: str, message: str) -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def once(field: str = "") -> AfterValidator:
    """A list in which no two items share this field (or, without one, are equal)."""

    def check(items: list[Any]) -> list[Any]:
        seen: set[Any] = set()
        for item in items:
            identity = getattr(item, field) if field else item
            if identity in seen:
                raise ValueError(f"'{identity}' stands here twice")
            seen.add(identity)
        return items

    return AfterValidator(check)


_as_text = PlainSerializer(formats.plain, return_type=str, when_used="json")

Slug = Annotated[
    str,
    _matches(
        SLUG_PATTERN,
        "a name is 1-64 of a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=256)]
"""A name that somebody else gives, or that must exist elsewhere in the configuration."""
Duration = Annotated[str, BeforeValidator(formats.duration)]
SomeTime = Annotated[str, BeforeValidator(formats.some_time)]
Size = Annotated[str, BeforeValidator(formats.size)]
Percent = Annotated[str, BeforeValidator(formats.percent)]
Share = Annotated[str, BeforeValidator(formats.share)]
Markup = Annotated[str, BeforeValidator(formats.markup)]
Money = Annotated[Decimal, PlainValidator(formats.money), _as_text]
Fraction = Annotated[Decimal, PlainValidator(formats.between("0", "1")), _as_text]
Factor = Annotated[Decimal, PlainValidator(formats.between("0", "1000")), _as_text]
Rate = Annotated[Decimal, PlainValidator(formats.between("0.000001", "1000000")), _as_text]
Integer = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
BucketCount = Annotated[int, Field(ge=1, le=LARGEST_BUCKET)]
Timezone = Annotated[str, Field(max_length=64), AfterValidator(formats.timezone)]
Currency = Annotated[str, _matches(r"[A-Z]{3}", "a currency is three capital letters, like USD")]
Effective = Annotated[str, BeforeValidator(formats.effective)]
Url = Annotated[str, Field(max_length=500), AfterValidator(formats.url)]
WebhookUrl = Annotated[str, Field(max_length=500), AfterValidator(formats.webhook_url)]
Regex = Annotated[
    str, Field(min_length=1, max_length=1000), AfterValidator(formats.regular_expression)
]
Hours = Annotated[
    str,
    _matches(
        r"(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d",
        "hours are written like 22:00-06:00",
    ),
]
HeaderName = Annotated[
    str,
    Field(max_length=100),
    _matches(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "is no name of a HTTP header"),
]
JsonObject = Annotated[dict[str, Any], BeforeValidator(formats.json_value)]
Secret = Annotated[str, Field(min_length=1)]
"""`env:NAME`, `file:/path`, `stored:PLACE` or a literal."""
AliasNames = Annotated[list[Name], once()]
"""Names of aliases, or `*` for every one."""
EVERY_ALIAS = ["*"]
