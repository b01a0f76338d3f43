"""The columns of a usage export: what each is called and how a record looks under it.

- Text cells that a spreadsheet would run as a formula get a leading `'`; numbers are left alone.
- `labels` is a JSON object with sorted keys, `{}` without labels.
- In JSON lines amounts are decimal strings, as in CSV; other numbers are numbers, absent is null.
"""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass

from billing.models import UsageRecord
from gateway_project.units import from_nano


@dataclass(frozen=True, slots=True)
class Column:
    """A name, and a record's value under it in CSV and in JSON. `ours` is not for tenants."""

    name: str
    cell: Callable[[UsageRecord], str]
    value: Callable[[UsageRecord], object]
    ours: bool = False


def safe_cell(text: str) -> str:
    """Text as a spreadsheet may show it: what it would run as a formula gets a leading `'`."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def decimal_cell(number: float | None) -> str:
    """At most three decimals and no trailing zeros: `12.345`, `12.5`, `12`; empty for None."""
    return "" if number is None else f"{number:.3f}".rstrip("0").rstrip(".")


def tokens(record: UsageRecord) -> int:
    """All that went in and came out; the buckets are disjoint."""
    return (
        record.input_tokens
        + record.cached_input_tokens
        + record.cache_write_tokens
        + record.output_tokens
        + record.reasoning_tokens
    )


def labels(record: UsageRecord) -> str:
    return json.dumps(record.labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def moment(instant: datetime.datetime) -> str:
    """UTC, always as long: `2026-10-01T00:00:00.000000Z`."""
    utc = instant.astimezone(datetime.UTC)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def started_at(record: UsageRecord) -> str:
    return moment(record.started_at)


def text(name: str, *, ours: bool = False) -> Column:
    def value(record: UsageRecord) -> str:
        return str(getattr(record, name))

    return Column(name, lambda record: safe_cell(value(record)), value, ours)


def number(name: str) -> Column:
    def value(record: UsageRecord) -> int:
        return int(getattr(record, name))

    return Column(name, lambda record: str(value(record)), value)


def amount(name: str, *, ours: bool = False) -> Column:
    def value(record: UsageRecord) -> str | None:
        nano = getattr(record, name)
        return None if nano is None else from_nano(nano)

    return Column(name, lambda record: value(record) or "", value, ours)


def latency(name: str, source: str) -> Column:
    def value(record: UsageRecord) -> float | None:
        microseconds = getattr(record, source)
        return None if microseconds is None else microseconds / 1000

    return Column(name, lambda record: decimal_cell(value(record)), value)


COLUMNS = (
    text("record_id"),
    text("request_id"),
    Column("started_at", started_at, started_at),
    text("tenant"),
    text("project"),
    text("key_id"),
    text("key"),
    text("user"),
    text("alias"),
    text("endpoint"),
    text("provider"),
    text("model"),
    text("upstream_model"),
    number("status"),
    text("outcome"),
    text("ended_by"),
    Column("stream", lambda r: "true" if r.stream else "false", lambda r: r.stream),
    number("input_tokens"),
    number("cached_input_tokens"),
    number("cache_write_tokens"),
    number("output_tokens"),
    number("reasoning_tokens"),
    text("usage_source"),
    amount("cost", ours=True),
    text("cost_currency", ours=True),
    text("cost_price_version", ours=True),
    amount("charge"),
    text("charge_currency"),
    text("charge_price_version"),
    text("charge_policy"),
    latency("latency_ms", "latency_us"),
    latency("first_token_ms", "first_token_us"),
    latency("gateway_ms", "gateway_us"),
    number("attempts"),
    text("cache"),
    Column("labels", labels, lambda record: record.labels),
)
