"""Usage as files: a row a request (CSV, FOCUS, JSON lines), or a row a key of a summary.

An export is streamed: records are read page by page in the order they started, and what was written
is counted and hashed on the way, so that whoever receives the file can check it. A tenant's own
export has its cost columns empty (null in JSON): what providers bill us is not the tenant's.
"""

import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import UUID

from django.db.models import QuerySet

from billing import columns, focus
from billing.models import UsageRecord
from billing.usage import Summary
from gateway_project.units import NANO

PAGE = 2000
"""Records in memory at once."""

SUMMARY_COLUMNS = (
    "key",
    "tenant",
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "cost",
    "cost_currency",
    "charge",
    "currency",
    "latency_ms_avg",
    "latency_ms_p95",
    "cache_hits",
)

Write = Callable[[bytes], object]
Row = TypeVar("Row", bound=Any)


@dataclass(slots=True)
class ControlTotal:
    """What an export holds. Money is in nano-units by currency; tokens are those of all buckets."""

    rows: int = 0
    tokens: int = 0
    costs: Counter[str] = field(default_factory=Counter)
    charges: Counter[str] = field(default_factory=Counter)
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page of records becomes bytes; `own` when a tenant is to have them."""

    header: bytes
    page: Callable[[Sequence[UsageRecord]], bytes]
    own: bool


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: CRLF, quotes where needed; UTF-8."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


def json_bytes(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def record_layout(name: str, *, own: bool) -> Layout:
    """The layout `csv`, `focus` or `jsonl`; `own` for a tenant's own export."""
    shown = focus.COLUMNS if name == "focus" else columns.COLUMNS
    hidden = {column.name for column in shown if own and column.ours}

    def csv_page(page: Sequence[UsageRecord]) -> bytes:
        return csv_bytes(
            ["" if column.name in hidden else column.cell(record) for column in shown]
            for record in page
        )

    def json_page(page: Sequence[UsageRecord]) -> bytes:
        return json_bytes(
            {
                column.name: None if column.name in hidden else column.value(record)
                for column in shown
            }
            for record in page
        )

    if name == "jsonl":
        return Layout(b"", json_page, own)
    return Layout(csv_bytes([[column.name for column in shown]]), csv_page, own)


def pages_of(records: QuerySet[UsageRecord, Row]) -> Iterator[list[Row]]:
    """Records in the order they started.

    Each page begins at the instant at which the one before ended, without what that one had of it:
    no offset, no long transaction. (Comparing the rest by record id would be shorter, but SQLite
    keeps times as text, in which one instant can be written in two ways.)
    """
    ordered = records.order_by("started_at", "record_id")
    page = list(ordered[:PAGE])
    had: set[UUID] = set()
    while page:
        yield page
        at = page[-1].started_at
        if page[0].started_at < at:
            had = set()
        had |= {record.record_id for record in page if record.started_at == at}
        page = list(ordered.filter(started_at__gte=at).exclude(record_id__in=had)[:PAGE])


def export_records(
    pages: Iterable[Sequence[UsageRecord]],
    *,
    layout: Layout,
    write: Write,
    reached: Callable[[datetime], object] = lambda moment: None,
) -> ControlTotal:
    """Writes page after page (none of them empty); tells `reached` when a page's last started."""
    total, digest = ControlTotal(), hashlib.sha256(layout.header)
    write(layout.header)
    for page in pages:
        lines = layout.page(page)
        digest.update(lines)
        write(lines)
        for record in page:
            _count(total, record, own=layout.own)
        reached(page[-1].started_at)
    total.sha256 = digest.hexdigest()
    return total


def _count(total: ControlTotal, record: UsageRecord, *, own: bool) -> None:
    total.rows += 1
    total.tokens += columns.tokens(record)
    if record.cost is not None and not own:
        total.costs[record.cost_currency] += record.cost
    if record.charge is not None:
        total.charges[record.charge_currency] += record.charge


def export_summary(
    summary: Summary, *, name: str, tenant: str | None, write: Write
) -> ControlTotal:
    """Writes a summary's rows, as `csv` or `jsonl`, under SUMMARY_COLUMNS.

    The control total counts each request once, also where labels put it in several rows or none.
    """
    rows: list[dict[str, Any]] = [
        {"tenant": tenant or "", "cost": None, "cost_currency": None} | dict(row)
        for row in summary["rows"]
    ]
    if name == "jsonl":
        content = json_bytes({column: row[column] for column in SUMMARY_COLUMNS} for row in rows)
    else:
        cells = [[_summary_cell(row[column]) for column in SUMMARY_COLUMNS] for row in rows]
        content = csv_bytes([SUMMARY_COLUMNS, *cells])
    write(content)
    whole = summary["total"]
    return ControlTotal(
        rows=len(rows),
        tokens=whole["input_tokens"] + whole["output_tokens"],
        costs=_nano(whole, "cost", "cost_currency", "costs"),
        charges=_nano(whole, "charge", "currency", "charges"),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _summary_cell(value: object) -> str:
    if isinstance(value, float):
        return columns.decimal_cell(value)
    return "" if value is None else columns.safe_cell(str(value))


def _nano(total: Any, amount: str, currency: str, several: str) -> Counter[str]:
    amounts = total.get(several) or {total.get(currency): total.get(amount)}
    return Counter(
        {name: int(Decimal(decimal) * NANO) for name, decimal in amounts.items() if name}
    )


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
