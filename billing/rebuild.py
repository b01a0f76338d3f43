"""What the usage records say that a counter should hold: for counters that are cold."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, F, Func, QuerySet, Sum, TextField, Value
from django.utils import timezone

from billing.budgets import Period, Purse
from billing.limits import Limit
from billing.models import Attempt, BudgetAdjustment, UsageRecord
from billing.records import MIRROR
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


class _Label(Func):
    """What a label says. By its name, which as a path of JSON may be a place in a list: `2026`."""

    function = "jsonb_extract_path_text"
    output_field = TextField()

    def __init__(self, name: str) -> None:
        super().__init__(F("labels"), Value(name))

    def as_sqlite(self, compiler: Any, connection: Any, **options: Any) -> Any:
        template = "(SELECT l.value FROM json_each(%(expressions)s)"
        where = ") AS l WHERE l.key = "
        return self.as_sql(compiler, connection, template=template, arg_joiner=where, **options)


def _records(scope: Scope, apart_from: Collection[str]) -> QuerySet[UsageRecord]:
    records = UsageRecord.objects.order_by()
    if scope.owner:
        records = records.filter(tenant=scope.owner)
    for column, value in scope.where:
        if column.startswith("label:"):
            label = _Label(column.removeprefix("label:"))
            records = records.alias(counted_label=label).filter(counted_label=value)
        else:
            records = records.filter(**{column: value})
    apart = [name for name in apart_from if not name.startswith(MIRROR)]
    return records.exclude(record_id__in=apart) if apart else records


def _within(records: QuerySet[UsageRecord], period: Period) -> QuerySet[UsageRecord]:
    if not period.end:
        return records
    return records.filter(
        started_at__gte=datetime.fromtimestamp(period.start, UTC),
        started_at__lt=datetime.fromtimestamp(period.end, UTC),
    )


def _amount(rule: Limit | Purse) -> Sum | Count:
    """What its records add up to, in its unit."""
    if rule.unit == "tokens":
        return Sum(_TOKENS)
    return Count("*") if isinstance(rule, Limit) else Sum(F(rule.unit))


def settled_in(
    purse: Purse, scope: Scope, period: Period, *, key: str, apart_from: Collection[str]
) -> int:
    """What a purse has settled in a period, in its unit, adjustments included."""
    records = _within(_records(scope, apart_from), period)
    settled = records.aggregate(total=_amount(purse))["total"] or 0
    if purse.unit == "cost":
        settled += _mirrored(scope, period, apart_from)
    return int(settled) + adjusted([key]).get(key, 0)


def _mirrored(scope: Scope, period: Period, apart_from: Collection[str]) -> int:
    """What copies of requests cost, which no record holds."""
    apart = [name.removeprefix(MIRROR) for name in apart_from if name.startswith(MIRROR)]
    mirrors = Attempt.objects.filter(role="mirror").exclude(record_id__in=apart).order_by()
    records = _within(_records(scope, ()), period)
    found = mirrors.filter(record_id__in=records.values("record_id"))
    return found.aggregate(total=Sum("cost"))["total"] or 0


def adjusted(keys: Collection[str]) -> Mapping[str, int]:
    """What adjustments add to purses, by their keys; those without any are absent."""
    rows = BudgetAdjustment.objects.filter(counter__in=keys).order_by()
    return dict(rows.values_list("counter").annotate(total=Sum("amount")))


def used_lately(limit: Limit, scope: Scope, *, apart_from: Collection[str]) -> int:
    """What a limit's last window used up, in its unit."""
    since = timezone.now() - timedelta(milliseconds=limit.window)
    records = _records(scope, apart_from).filter(started_at__gte=since)
    return int(records.aggregate(total=_amount(limit))["total"] or 0)


def used_by_users(
    rule: Limit | Purse,
    period: Period,
    *,
    most: int,
    user: str | None = None,
    keys: Collection[str] | None = None,
) -> Mapping[tuple[str, str], int]:
    """Who used most of a rule that each user has: (tenant, user), and what their records in a
    period add up to, in its unit. Of `user` alone, or with these keys alone, by their ids."""
    records = _within(_records(rule.scope, ()), period)
    if user is not None:
        records = records.filter(user=user)
    if keys is not None:
        records = records.filter(key_id__in=keys)
    ranked = records.values_list("tenant", "user").annotate(total=_amount(rule))
    rows = ranked.order_by(F("total").desc(nulls_last=True), "tenant", "user")[:most]
    return {(tenant, user): int(total or 0) for tenant, user, total in rows}


def adjusted_lately() -> Collection[str]:
    """The purses that somebody adjusted within the last minutes, by their keys."""
    since = timezone.now() - ADJUSTED_LATELY
    return set(
        BudgetAdjustment.objects.filter(created_at__gte=since).values_list("counter", flat=True)
    )
