"""Records and attempts as the proxy hands them over; a test names what it is about."""

import datetime
import uuid
from typing import Any

from billing.records import AttemptRow, Record

NOON = datetime.datetime(2026, 10, 15, 12, 34, 56, 789_012, tzinfo=datetime.UTC)


def record_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def record(number: int = 1, **options: Any) -> Record:
    facts: dict[str, Any] = {
        "record_id": record_id(number),
        "request_id": f"request-{number}",
        "started_at": NOON.isoformat(timespec="microseconds"),
        "tenant": "acme",
        "alias": "pro",
        "endpoint": "chat",
        "status": 200,
        "outcome": "completed",
        "ended_by": "upstream",
        "stream": False,
    }
    return Record(**{**facts, **options})


def attempt(number: int = 1, ordinal: int = 1, **options: Any) -> AttemptRow:
    facts: dict[str, Any] = {
        "record_id": record_id(number),
        "ordinal": ordinal,
        "started_at": NOON.isoformat(timespec="microseconds"),
        "role": "first",
        "provider": "openai",
        "model": "gpt-4o",
    }
    return AttemptRow(**{**facts, **options})
