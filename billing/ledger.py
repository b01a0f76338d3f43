"""Usage records into the table: plain SQL, because per row the ORM costs more than a request may.

Inserting is idempotent by primary key, so a batch, or a whole journal, may be written twice.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from django.db import DataError, connection, transaction
from django.db.models import CharField, Field, IntegerField

from billing.models import Attempt, RefusalCount, UsageRecord
from billing.records import AttemptRow, Entry, Record

Refusals = Mapping[tuple[str, str, str], int]
"""Requests refused, by (tenant, key id, code)."""


def _insert_sql(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join(["%s"] * len(columns))
    return f'INSERT INTO "{table}" ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING'  # noqa: S608


_RECORDS = _insert_sql(UsageRecord._meta.db_table, Record.__struct_fields__)
_ATTEMPTS = _insert_sql(Attempt._meta.db_table, AttemptRow.__struct_fields__)
_REFUSALS = (
    f'INSERT INTO "{RefusalCount._meta.db_table}" ("hour", "tenant", "key_id", "code", "requests") '  # noqa: S608
    'VALUES (%s, %s, %s, %s, %s) ON CONFLICT ("hour", "tenant", "key_id", "code") '
    f'DO UPDATE SET "requests" = "{RefusalCount._meta.db_table}"."requests" + EXCLUDED."requests"'
)
_FIELDS: Mapping[type, list[Any]] = {
    Record: [UsageRecord._meta.get_field(name) for name in Record.__struct_fields__],
    AttemptRow: [Attempt._meta.get_field(name) for name in AttemptRow.__struct_fields__],
}


def _as_stored(moment: str, is_sqlite: bool) -> str:
    """As Django writes it: SQLite compares text, and holds naive UTC with a blank; PostgreSQL reads
    ISO-8601."""
    if not is_sqlite:
        return moment
    return moment[:26].replace("T", " ").removesuffix(".000000")


def _stored(row: Record | AttemptRow, is_sqlite: bool) -> list[Any]:
    values = list(msgspec.structs.astuple(row))
    if is_sqlite:
        values[0] = row.record_id.replace("-", "")
        values[2] = _as_stored(row.started_at, is_sqlite)
    return values


def _bounded(row: Record | AttemptRow, is_sqlite: bool) -> list[Any]:
    """The row as its columns can hold it: text without null characters and not too long, numbers
    not too large. What an upstream reports in error must not cost us the record."""
    fields = _FIELDS[type(row)]
    return [_fitted(*pair) for pair in zip(fields, _stored(row, is_sqlite), strict=True)]


def _fitted(field: "Field[Any, Any]", value: Any) -> Any:
    if isinstance(value, str) and isinstance(field, CharField):
        return value.replace("\0", "").encode(errors="replace").decode()[: field.max_length]
    if isinstance(value, int) and isinstance(field, IntegerField):
        least, most = connection.ops.integer_field_range(field.get_internal_type())
        return max(least, min(value, most))
    return value


def write(entries: Sequence[Entry], refusals: Refusals, *, now: datetime.datetime) -> None:
    """Writes records, their attempts and refusal counts in one transaction.

    Refusal counts add up and are therefore not idempotent: they are handed over once.
    """
    try:
        _write(entries, refusals, now, _stored)
    except (DataError, ValueError, OverflowError):
        _write(entries, refusals, now, _bounded)


def _write(
    entries: Sequence[Entry],
    refusals: Refusals,
    now: datetime.datetime,
    stored: Callable[[Record | AttemptRow, bool], list[Any]],
) -> None:
    # Asked once for a batch: a look at `connection` costs more than a row may.
    is_sqlite = connection.vendor == "sqlite"
    with transaction.atomic(), connection.cursor() as cursor:
        if entries:
            cursor.executemany(_RECORDS, [stored(entry.record, is_sqlite) for entry in entries])
            attempts = [
                stored(attempt, is_sqlite) for entry in entries for attempt in entry.attempts
            ]
            if attempts:
                cursor.executemany(_ATTEMPTS, attempts)
        if refusals:
            hour = now.astimezone(datetime.UTC).replace(minute=0, second=0, microsecond=0)
            moment = _as_stored(hour.isoformat(timespec="microseconds"), is_sqlite)
            cursor.executemany(
                _REFUSALS,
                # Sorted, so that two writers lock the rows in the same order.
                [(moment, *names, count) for names, count in sorted(refusals.items())],
            )
