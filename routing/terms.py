"""What providers and aliases declare about failing, waiting and spending, ready to act on.

Each reader takes what the configuration stores (durations and shares as text, absent fields left
out) and gives a frozen value in seconds, fractions and nano-units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway_project.units import parse_duration, parse_percent, to_nano

DEFAULT_RETRY_ON = frozenset({"rate_limit", "server_error", "overloaded", "connection"})
"""Not `timeout`: who has waited a minute for nothing seldom wants to wait another."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often one target is asked again, on which error kinds, after which backoff (seconds).
    None: the provider's setting, or the default."""

    attempts: int | None = None
    retry_on: frozenset[str] | None = None
    backoff: float | None = None


NOTHING_SAID = Retries()


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after so many failures within `window` seconds, for `cooldown` seconds."""

    failures: int = 5
    window: float = 30.0
    cooldown: float = 15.0


USUAL_BREAKER = Breaker()


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked beside all requests, how often and for how long, in seconds. None as a path:
    the dialect's list of models."""

    interval: float = 10.0
    path: str | None = None
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Slow:
    """From when on a target is too slow: seconds to the first byte, tokens per second."""

    first_byte: float | None = None
    tokens_per_second: float | None = None


def read_retries(raw: Mapping[str, Any]) -> Retries:
    retry_on, backoff = raw.get("retry_on"), raw.get("backoff")
    return Retries(
        attempts=raw.get("attempts"),
        retry_on=None if retry_on is None else frozenset(retry_on),
        backoff=None if backoff is None else parse_duration(backoff),
    )


def read_breaker(raw: Mapping[str, Any]) -> Breaker:
    usual = USUAL_BREAKER
    return Breaker(
        failures=raw.get("failures") or usual.failures,
        window=parse_duration(raw["window"]) if raw.get("window") else usual.window,
        cooldown=parse_duration(raw["cooldown"]) if raw.get("cooldown") else usual.cooldown,
    )


def read_probe(raw: Mapping[str, Any] | None) -> Probe | None:
    """None where nobody asks."""
    if raw is None:
        return None
    times = {name: parse_duration(raw[name]) for name in ("interval", "timeout") if raw.get(name)}
    return Probe(path=raw.get("path"), **times)


def read_slow(raw: Mapping[str, Any] | None) -> Slow | None:
    """None where nothing is too slow."""
    if not raw:
        return None
    first_byte, pace = raw.get("first_byte"), raw.get("tokens_per_second")
    return Slow(
        first_byte=None if first_byte is None else parse_duration(first_byte),
        tokens_per_second=None if pace is None else float(pace),
    )


def read_hedge(raw: Mapping[str, Any] | None) -> float | None:
    """Seconds of silence after which a second target is started."""
    return parse_duration(raw["after"]) if raw else None


def read_share(raw: Mapping[str, Any] | None) -> float:
    """The share of the traffic that is mirrored, 0 to 1."""
    return float(parse_percent(raw["share"])) if raw else 0.0


def read_amount(raw: Any) -> int | None:
    """Nano-units."""
    return None if raw is None else to_nano(str(raw))
