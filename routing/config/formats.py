"""The words and numbers of the configuration file, each checked and brought to its one form.

Every function takes what stands in the file and raises ValueError with a message for its author.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from gateway_project.units import from_nano, parse_percent, parse_size, to_nano

LONGEST = 36_500 * 86_400_000
"""Milliseconds. A date that far from now is still a date."""

LARGEST = 999 * 10**9
"""Bytes."""

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def duration(value: object) -> str:
    """`0.5h` becomes `30m`: a whole number of the largest unit that fits. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", str(value))
    if match is None:
        raise ValueError("a duration is a number and ms, s, m, h or d, like 250ms or 30s")
    milliseconds = Decimal(match[1]) * _UNITS[match[2]]
    if milliseconds != int(milliseconds):
        raise ValueError("a duration is a whole number of milliseconds")
    if milliseconds > LONGEST:
        raise ValueError("must be at most 36500d")
    if not milliseconds:
        return "0s"
    unit = next(unit for unit, length in _UNITS.items() if milliseconds % length == 0)
    number = int(milliseconds) // _UNITS[unit]
    if number >= 10**9:
        raise ValueError("has too many digits")
    return f"{number}{unit}"


def some_time(value: object) -> str:
    if (text := duration(value)) == "0s":
        raise ValueError("must be longer than 0s")
    return text


def size(value: object) -> str:
    """`20000KB` becomes `20MB`. Raises ValueError."""
    count = parse_size(str(value))
    if not 1 <= count <= LARGEST:
        raise ValueError("must be between 1B and 999GB")
    for unit, bytes_in_it in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count % bytes_in_it == 0:
            return f"{count // bytes_in_it}{unit}"
    return f"{count}B"


def percent(value: object) -> str:
    """`20.50%` becomes `20.5%`. Raises ValueError."""
    return f"{plain(parse_percent(str(value)) * 100)}%"


def share(value: object) -> str:
    if parse_percent(text := percent(value)) > 1:
        raise ValueError("must be at most 100%")
    return text


def markup(value: object) -> str:
    fraction = parse_percent(text := percent(value))
    if fraction != round(fraction, 6):
        raise ValueError("a markup has at most 4 decimals")
    return text


def plain(value: Decimal) -> str:
    """The shortest text of a decimal, without an exponent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimal(value: object) -> Decimal:
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
    nano = to_nano(decimal(value))
    if nano < 0:
        raise ValueError("must not be negative")
    return Decimal(from_nano(nano))


def between(low: str, high: str) -> Callable[[object], Decimal]:
    def check(value: object) -> Decimal:
        number = Decimal(plain(decimal(value)))
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
    if not 1970 < moment.year < 9999:
        raise ValueError("is a date too far from now")
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
    if " " in value or not value.isprintable():
        raise ValueError("a URL has no spaces")
    return value


def webhook_url(value: str) -> str:
    """A URL, or `mailto:finance@acme.example`: one address. Raises ValueError."""
    if not value.startswith("mailto:"):
        return url(value)
    try:
        validate_email(value.removeprefix("mailto:"))
    except ValidationError:
        raise ValueError("must be one address, like mailto:finance@acme.example") from None
    return value


def regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


def json_value(value: Any) -> Any:
    """Free JSON, such as a schema: decimals are JSON numbers there, not amounts."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value
