"""How long usage is kept: records, their attempts and refusal counts, older ones deleted.

Records of unclosed periods stay, whatever is asked for. Periods are a tenant's calendar months and
none has been closed yet two months back, so the current and the previous month count as unclosed:
in every timezone, which reaches a little further back than in UTC.
"""

import datetime
from dataclasses import dataclass

from django.db import models

from billing.models import Attempt, RefusalCount, UsageRecord
from billing.partitions import drop_partitions, month_bounds
from gateway_project.units import parse_duration
from routing.models import GatewaySettings

BATCH = 1000
"""Rows a transaction deletes: SQLite has one writer, and the records' own must not wait long."""

WESTERNMOST = datetime.timedelta(hours=-12)
EASTERNMOST = datetime.timedelta(hours=14)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, all from before `cutoff`; `partitions` were dropped whole."""

    cutoff: datetime.datetime
    records: int
    attempts: int
    refusals: int
    partitions: list[str]


def configured() -> datetime.timedelta | None:
    """The configuration's `gateway.retention.usage`. None, where it says nothing: for ever."""
    settings = GatewaySettings.objects.first()
    text = settings.retention.get("usage") if settings else None
    return datetime.timedelta(seconds=parse_duration(text)) if text else None


def first_unclosed(now: datetime.datetime) -> datetime.datetime:
    """Where the oldest period begins that can still be unclosed: somewhere it is still last month,
    and somewhere that month began before it did in UTC."""
    previous_month, _ = month_bounds((now + WESTERNMOST).date(), -1)
    midnight = datetime.datetime.combine(previous_month, datetime.time(), tzinfo=datetime.UTC)
    return midnight - EASTERNMOST


def prune(*, older_than: datetime.timedelta, now: datetime.datetime) -> Pruned:
    """Deletes what is older, but nothing of an unclosed period.

    In small transactions, months on PostgreSQL whole: a prune that is interrupted goes on the next
    time. Raises OperationalError when the table stays locked.
    """
    cutoff = min(now - older_than, first_unclosed(now))
    dropped = drop_partitions(cutoff)
    return Pruned(
        cutoff=cutoff,
        records=sum(dropped.values()) + _delete(UsageRecord, started_at__lt=cutoff),
        attempts=_delete(Attempt, started_at__lt=cutoff),
        refusals=_delete(RefusalCount, hour__lt=cutoff),
        partitions=list(dropped),
    )


def _delete(model: type[models.Model], **older: datetime.datetime) -> int:
    rows = model._default_manager.filter(**older)
    deleted = 0
    while batch := list(rows.order_by().values_list("pk", flat=True)[:BATCH]):
        deleted += rows.filter(pk__in=batch).delete()[0]
    return deleted
