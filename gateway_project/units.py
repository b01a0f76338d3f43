"""Durations, sizes, shares and money as people write them, and as the gateway computes with them.

Money inside is an integer of nano-units (1e-9) of its currency; at the edges it is a decimal
string.
"""

import re
from decimal import Decimal, InvalidOperation

NANO = 10**9
LARGEST_AMOUNT = 9_000_000
"""Units of currency. A Redis counter is a double, exact to 2**53 nano-units: 9.007 million."""

_ONE_NANO = Decimal("1e-9")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,12})(B|KB|MB|GB|)")
_PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)%")


def parse_duration(text: str) -> float:
    """Seconds in `250ms`, `30s`, `10m`, `24h` or `90d`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is a number and ms, s, m, h or d, like 250ms or 30s")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str | int) -> int:
    """Bytes in `512MB` (decimal multiples). Raises ValueError."""
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise ValueError("a size is a whole number and B, KB, MB or GB, like 20MB")
    return int(match[1]) * _BYTES[match[2]]


def parse_percent(text: str) -> Decimal:
    """The share in `20%` as 0.2. Raises ValueError."""
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise ValueError("a share is a number and a percent sign, like 20%")
    return Decimal(match[1]) / 100


def to_nano(amount: Decimal | str | int) -> int:
    """Nano-units of a decimal amount. Raises ValueError when it is finer than 1e-9 or too large."""
    try:
        exact = Decimal(amount)
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not a decimal number") from None
    if not exact.is_finite():
        raise ValueError(f"{amount!r} is not a decimal number")
    if exact.copy_abs() >= LARGEST_AMOUNT:
        raise ValueError(f"{amount} is not below {LARGEST_AMOUNT}")
    # Not `exact * NANO`: a product is rounded to 28 digits, which would hide what lies beyond.
    kept = exact.quantize(_ONE_NANO)
    if kept != exact:
        raise ValueError(f"{amount} has more than 9 decimals")
    return int(kept.scaleb(9))


def from_nano(nano: int) -> str:
    """The shortest decimal string of an amount: 1_500_000_000 is "1.5", 0 is "0"."""
    sign, (whole, rest) = "-" if nano < 0 else "", divmod(abs(nano), NANO)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"
