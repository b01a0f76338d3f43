"""Finding one request again, by its record id or by the id that its caller gave it."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.db.models import JSONField, Model, QuerySet

from billing.explain import Request
from billing.models import Attempt, UsageRecord
from billing.records import AttemptRow, Entry, Record

MOST_OTHERS = 20
"""Further records of one request id that are named."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose records somebody may see: a tenant's; where they are given, only those of one key, and
    of one end user, who may be nameless."""

    tenant: str
    key_id: str | None = None
    user: str | None = None

    def covers(self, record: Record) -> bool:
        return all(getattr(record, name) == one for name, one in self._wanted.items())

    def records(self) -> QuerySet[UsageRecord]:
        return UsageRecord.objects.filter(**self._wanted)

    @property
    def _wanted(self) -> dict[str, str]:
        wanted = {"tenant": self.tenant, "key_id": self.key_id, "user": self.user}
        return {name: one for name, one in wanted.items() if one is not None}


def named(name: str, entries: Iterable[Entry], sight: Sight) -> list[Entry]:
    """Those that have this record id or request id, and may be seen."""
    wanted = name.lower()
    return [
        entry
        for entry in entries
        if (entry.record.record_id == wanted or entry.record.request_id == name)
        and sight.covers(entry.record)
    ]


def find(name: str, sight: Sight, waiting: Sequence[Entry] = ()) -> Request | None:
    """The request of this name, in the table or among those that wait to be written: the record of
    that id, else the newest with that request id. None where there is none to be seen."""
    by_id = [entry for entry in waiting if entry.record.record_id == name.lower()]
    if by_id:
        return _unwritten(by_id[-1])  # of a request and its copy, the copy knows both
    if _UUID.fullmatch(name) and (record := sight.records().filter(record_id=name).first()):
        return written(record)
    found = {str(request.record.record_id): request for request in map(_unwritten, waiting)}
    rows = sight.records().filter(request_id=name).order_by("-started_at", "-record_id")
    for record in rows[: MOST_OTHERS + 1]:
        found.setdefault(str(record.record_id), Request(record))
    newest_first = sorted(
        found.values(),
        key=lambda request: (request.record.started_at, str(request.record.record_id)),
        reverse=True,
    )
    if not newest_first:
        return None
    newest, *others = newest_first
    ids = [str(other.record.record_id) for other in others[:MOST_OTHERS]]
    attempts = newest.attempts or attempts_of(newest.record)
    return Request(newest.record, attempts, ids)


def written(record: UsageRecord) -> Request:
    return Request(record, attempts_of(record))


def attempts_of(record: UsageRecord) -> list[Attempt]:
    return list(Attempt.objects.filter(record_id=record.record_id).order_by("ordinal"))


def _unwritten(entry: Entry) -> Request:
    return Request(
        _row(UsageRecord, entry.record), [_row(Attempt, attempt) for attempt in entry.attempts]
    )


def _row(model: type[M], values: Record | AttemptRow) -> M:
    """The row that the values will be."""
    columns = msgspec.structs.asdict(values)
    return model(**{name: _value(model, name, value) for name, value in columns.items()})


def _value(model: type[Model], name: str, value: Any) -> Any:
    column: Any = model._meta.get_field(name)
    is_text = isinstance(column, JSONField) and value is not None
    return json.loads(value) if is_text else column.to_python(value)
