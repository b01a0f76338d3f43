"""What providers' headers say about when to ask again. Pure: headers and the time in, seconds out.

Sources: OpenAI, guide "Rate limits", headers (`x-ratelimit-reset-tokens: 6m0s`); Anthropic, "Rate
limits", response headers (`anthropic-ratelimit-requests-reset`, RFC 3339); Groq, "Rate limits"
(`7.66s`, `2m59.56s`); OpenRouter (`X-RateLimit-Reset`, milliseconds since the epoch); the IETF
draft "RateLimit header fields" (`ratelimit-reset`, seconds).
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

_OPENAI = ("requests", "tokens", "project-tokens")
_ANTHROPIC = ("requests", "tokens", "input-tokens", "output-tokens")

PAIRS: tuple[tuple[bytes, bytes], ...] = (
    *(
        (f"x-ratelimit-remaining-{what}".encode(), f"x-ratelimit-reset-{what}".encode())
        for what in _OPENAI
    ),
    *(
        (
            f"anthropic-ratelimit-{what}-remaining".encode(),
            f"anthropic-ratelimit-{what}-reset".encode(),
        )
        for what in _ANTHROPIC
    ),
    (b"x-ratelimit-remaining", b"x-ratelimit-reset"),
    (b"ratelimit-remaining", b"ratelimit-reset"),
)
"""What is left of something, and when there is more of it: names in lower case."""

_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_SPAN = re.compile(
    r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?"
    r"(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_UNITS = (86_400, 3_600, 60, 1, 0.001)
_IS_A_DATE = 10**9
"""A plain number from here on is no wait of 30 years, but a time since the epoch."""
_IN_MILLISECONDS = 10**11


def wait_of(text: str, now: float) -> float | None:
    """Seconds from `now` (since the epoch) on that a reset means: `6m0s`, `20ms`, `1.5`, a time in
    RFC 3339 or since the epoch. Never negative; None for what is none of these."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _of_number(float(text), now)
    span = _SPAN.fullmatch(text)
    if span is not None and text:
        return sum(
            float(count) * unit for count, unit in zip(span.groups(), _UNITS, strict=True) if count
        )
    try:
        moment = datetime.fromisoformat(text)
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _of_number(number: float, now: float) -> float:
    if number >= _IN_MILLISECONDS:
        return max(0.0, number / 1000 - now)
    if number >= _IS_A_DATE:
        return max(0.0, number - now)
    return number


def exhausted_for(header: Callable[[bytes], str | None], now: float) -> float | None:
    """Seconds until there is more of what the headers say nothing is left of; the longest of them.
    None where something is left of all, or nobody says when."""
    longest = None
    for remaining, reset in PAIRS:
        left = header(remaining)
        if left is None or left.strip() not in ("0", "0.0"):
            continue
        said = header(reset)
        wait = None if said is None else wait_of(said, now)
        if wait is not None:
            longest = wait if longest is None else max(longest, wait)
    return longest
