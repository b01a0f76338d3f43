"""The words and numbers of the configuration file, each checked and brought to one form.

Amounts of every kind are text in the database's JSON ("5s", "20%", "0.5"); in YAML a decimal may be
written as a number too. What is left out of a file is left out of the database: see the defaults
in the schema.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

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
from gateway_project.units import from_nano, parse_percent, parse_size, to_nano

LARGEST_INTEGER = 2**31 - 1
LARGEST_COUNT = 9_000_000_000_000_000
"""Below 2**53, as for amounts of money: a Redis counter is a double."""


class Shape(BaseModel):
    """A mapping of the file. A key with nothing behind it is an empty mapping."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: object) -> object:
        return {} if value is None else value


def wrong_at(field: str, message: str) -> PydanticCustomError:
    """A problem that a whole shape finds with one of its fields."""
    return PydanticCustomError("wrong_at", "{said}", {"said": message, "at": field})


_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def duration(value: object) -> str:
    """`0.5h` becomes `30m`: a whole number of the largest unit that fits. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", str(value))
    if match is None:
        raise ValueError("a duration is a number and ms, s, m, h or d, like 250ms or 30s")
    milliseconds = Decimal(match[1]) * _UNITS[match[2]]
    if milliseconds != int(milliseconds):
        raise ValueError("a duration is at least 1ms, and a whole number of them")
    for unit, size in _UNITS.items():
        if milliseconds and milliseconds % size == 0:
            return f"{int(milliseconds) // size}{unit}"
    return "0s"


def _some_time(value: object) -> str:
    if (text := duration(value)) == "0s":
        raise ValueError("must be longer than 0s")
    return text


def size(value: object) -> str:
    """`20000KB` becomes `20MB`. Raises ValueError."""
    count = parse_size(str(value))
    if count < 1:
        raise ValueError("must be at least 1B")
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count % bytes_in_it == 0:
            return f"{count // bytes_in_it}{unit}"
    return f"{count}B"


def percent(value: object) -> str:
    """`20.50%` becomes `20.5%`. Raises ValueError."""
    return f"{plain(parse_percent(str(value)) * 100)}%"


def _share(value: object) -> str:
    if parse_percent(text := percent(value)) > 1:
        raise ValueError("must be at most 100%")
    return text


def _markup(value: object) -> str:
    share = parse_percent(text := percent(value))
    if share != round(share, 6):
        raise ValueError("a markup has at most 4 decimals")
    return text


def plain(value: Decimal) -> str:
    """The shortest text of a decimal, without an exponent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise ValueError("must be a decimal number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError("must be a decimal number") from None
    if not number.is_finite():
        raise ValueError("must be a decimal number")
    return number


def money(value: object) -> Decimal:
    """An amount of currency, not negative, at most 9 decimals. Raises ValueError."""
    nano = to_nano(_decimal(value))
    if nano < 0:
        raise ValueError("must not be negative")
    return Decimal(from_nano(nano))


def _between(low: str, high: str) -> Callable[[object], Decimal]:
    def check(value: object) -> Decimal:
        number = Decimal(plain(_decimal(value)))
        if not Decimal(low) <= number <= Decimal(high):
            raise ValueError(f"must be between {low} and {high}")
        if number != round(number, 9):
            raise ValueError("has more than 9 decimals")
        return number

    return check


def timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("is no time zone; they are named like Europe/Berlin or UTC") from None
    return value


def effective(value: object) -> str:
    """A day or time, UTC unless it says otherwise: `2026-01-01`, `2026-01-01T06:30:00Z`."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("is no date; dates are written like 2026-01-01") from None
    return moment_text(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def moment_text(moment: datetime) -> str:
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00") if text.endswith("T00:00:00") else f"{text}Z"


def url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError("must be a http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL carries no user or password: secrets have fields of their own")
    if re.search(r"\s", value):
        raise ValueError("a URL has no spaces")
    return value


def regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


def _matches(pattern: str, message: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def json_value(value: Any) -> Any:
    """Free JSON, such as a schema: decimals are JSON numbers there, not amounts."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def once(*fields: str) -> AfterValidator:
    """A list in which no two items share these fields (or, without fields, are equal)."""

    def check(items: list[Any]) -> list[Any]:
        seen: set[Any] = set()
        for item in items:
            identity = tuple(getattr(item, field) for field in fields) or item
            if identity in seen:
                name = identity[0] if isinstance(identity, tuple) else identity
                raise ValueError(f"'{name}' stands here twice")
            seen.add(identity)
        return items

    return AfterValidator(check)


def one_of(words: Iterable[str]) -> AfterValidator:
    """One of these words, for sets that are not worth a Literal."""
    allowed = list(words)

    def check(value: str) -> str:
        if value not in allowed:
            raise PydanticCustomError(
                "one_of", "must be one of {expected}", {"expected": ", ".join(allowed)}
            )
        return value

    return AfterValidator(check)


_as_text = PlainSerializer(plain, return_type=str, when_used="json")

Slug = Annotated[
    str,
    _matches(
        SLUG_PATTERN,
        "a name is 1-64 of a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=256)]
"""A name that somebody else gives, or that must exist elsewhere in the configuration."""
Duration = Annotated[str, BeforeValidator(duration)]
SomeTime = Annotated[str, BeforeValidator(_some_time)]
Size = Annotated[str, BeforeValidator(size)]
Percent = Annotated[str, BeforeValidator(percent)]
Share = Annotated[str, BeforeValidator(_share)]
Markup = Annotated[str, BeforeValidator(_markup)]
Money = Annotated[Decimal, PlainValidator(money), _as_text]
Fraction = Annotated[Decimal, PlainValidator(_between("0", "1")), _as_text]
Factor = Annotated[Decimal, PlainValidator(_between("0", "1000")), _as_text]
Rate = Annotated[Decimal, PlainValidator(_between("0.000001", "1000000")), _as_text]
Integer = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Timezone = Annotated[str, Field(max_length=64), AfterValidator(timezone)]
Currency = Annotated[str, _matches(r"[A-Z]{3}", "a currency is three capital letters, like USD")]
Effective = Annotated[str, BeforeValidator(effective)]
Url = Annotated[str, Field(max_length=500), AfterValidator(url)]
Regex = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(regular_expression)]
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
JsonObject = Annotated[dict[str, Any], BeforeValidator(json_value)]
Secret = Annotated[str, Field(min_length=1)]
"""`env:NAME`, `file:/path`, `stored:PLACE` or a literal."""
AliasNames = Annotated[list[Name], once()]
"""Names of aliases, or `*` for every one."""
EVERY_ALIAS = ["*"]
