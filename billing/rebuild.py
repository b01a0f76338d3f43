"""What the usage records say that a counter should hold: for counters that are cold."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from billing.budgets import Period, Purse
from billing.limits import Limit
from billing.models import BudgetAdjustment, UsageRecord
from billing.scopes import Scope

ADJUSTED_LATELY = timedelta(minutes=10)
"""Longer than any worker may be behind."""

_TOKENS = (
    F("input_tokens")
    + F("cached_input_tokens")
    + F("cache_write_tokens")
    + F("output_tokens")
    + F("reasoning_tokens")
)


def _records(scope: Scope, apart_from: Collection[str]) -> QuerySet[UsageRecord]:
    records = UsageRecord.objects.order_by()
    if scope.owner:
        records = records.filter(tenant=scope.owner)
    for column, value in scope.where:
        if column.startswith("label:"):
            label = KeyTextTransform(column.removeprefix("label:"), "labels")
            records = records.alias(counted_label=label).filter(counted_label=value)
        else:
            records = records.filter(**{column: value})
    return records.exclude(record_id__in=list(apart_from)) if apart_from else records


def settled_in(
    purse: Purse, scope: Scope, period: Period, *, key: str, apart_from: Collection[str]
) -> int:
    """What a purse has settled in a period, in its unit, adjustments included."""
    records = _records(scope, apart_from)
    if period.end:
        records = records.filter(
            started_at__gte=datetime.fromtimestamp(period.start, UTC),
            started_at__lt=datetime.fromtimestamp(period.end, UTC),
        )
    amount = _TOKENS if purse.unit == "tokens" else F(purse.unit)
    settled = records.aggregate(total=Sum(amount))["total"] or 0
    adjusted = BudgetAdjustment.objects.filter(counter=key).aggregate(total=Sum("amount"))
    return int(settled) + int(adjusted["total"] or 0)


def used_lately(limit: Limit, scope: Scope, *, apart_from: Collection[str]) -> int:
    """What a limit's last window used up, in its unit."""
    since = timezone.now() - timedelta(milliseconds=limit.window)
    records = _records(scope, apart_from).filter(started_at__gte=since)
    amount = Sum(_TOKENS) if limit.unit == "tokens" else Count("*")
    return int(records.aggregate(total=amount)["total"] or 0)


def adjusted_lately() -> Collection[str]:
    """The purses that somebody adjusted within the last minutes, by their keys."""
    since = timezone.now() - ADJUSTED_LATELY
    return set(
        BudgetAdjustment.objects.filter(created_at__gte=since).values_list("counter", flat=True)
    )
