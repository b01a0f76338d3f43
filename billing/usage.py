"""Usage, summed up: what tenants read at `/v1/usage`, and operators in `usage_summary`.

The database does the work, alike on SQLite and PostgreSQL: a million records never reach Python.

- `errors` are requests that ended badly through no choice of the caller: `failed`, or `interrupted`
  by anyone else. A caller who hangs up and a guard that blocks are no errors.
- `input_tokens` are all that went in (input, cached input and cache writes), `output_tokens` all
  that came out (output and reasoning). Records keep the buckets apart.
- `latency_ms_p95` is a latency that was measured (the discrete percentile), not an interpolation.
- A key with several currencies has a row for each. Its latencies, which no currency splits, stand
  in all of them; a request without an amount (a guard refused, say) counts in the busiest.
"""

import datetime
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

from django.db import connection
from django.db.models import QuerySet

from billing.models import UsageRecord
from billing.periods import format_moment
from gateway_project.units import from_nano
from tenants.models import Tenant

DIMENSIONS = ("provider", "model", "alias", "tenant", "project", "key", "user", "label")
_TENANTS_OWN = {"project", "key", "user", "label"}


class Sums(TypedDict):
    """Amounts are decimal strings in `currency`; latencies are milliseconds, null without requests.

    `currency` is null where nothing has an amount. The cost fields are there when asked for.
    """

    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    charge: str | None
    currency: str | None
    latency_ms_avg: float | None
    latency_ms_p95: float | None
    cache_hits: int
    cost: NotRequired[str | None]
    cost_currency: NotRequired[str | None]


class Row(Sums):
    """One key and currency. `tenant` is there when a gateway-wide summary is by something that
    each tenant names for itself (project, key, user, label)."""

    key: str
    tenant: NotRequired[str]


class Total(Sums):
    """Every request once, whatever `by` is. With several currencies an amount is null, and
    `charges` (or `costs`) has it by currency."""

    charges: NotRequired[dict[str, str]]
    costs: NotRequired[dict[str, str]]


Summary = TypedDict(
    "Summary", {"from": str, "to": str, "by": str, "rows": list[Row], "total": Total}
)


@dataclass(frozen=True, slots=True)
class _Span:
    start: datetime.datetime
    end: datetime.datetime
    tenant: str | None


_COUNTED = ("requests", "errors", "tokens_in", "tokens_out", "charge", "cost", "latency", "hits")
_COUNTS = """
SELECT {name} AS name, {owner} AS owner, charge_currency, {cost_currency} AS cost_currency,
       COUNT(*) AS requests,
       COUNT(*) FILTER (WHERE outcome = 'failed'
                        OR (outcome = 'interrupted' AND ended_by <> 'caller')) AS errors,
       SUM(input_tokens + cached_input_tokens + cache_write_tokens) AS tokens_in,
       SUM(output_tokens + reasoning_tokens) AS tokens_out,
       SUM(charge) AS charge, SUM(cost) AS cost, SUM(latency_us) AS latency,
       COUNT(*) FILTER (WHERE outcome = 'cached') AS hits
FROM {records}
GROUP BY 1, 2, 3, 4
ORDER BY requests DESC, 1, 2, 3, 4
"""
_LATENCIES = """
SELECT name, owner, AVG(latency_us) AS average,
       MIN(latency_us) FILTER (WHERE reached >= 0.95) AS p95
FROM (
    SELECT {name} AS name, {owner} AS owner, latency_us,
           CUME_DIST() OVER (PARTITION BY {name}, {owner} ORDER BY latency_us) AS reached
    FROM {records}
) AS placed
GROUP BY name, owner
"""
_LABELS = {
    "sqlite": "CROSS JOIN json_each(r.labels) AS l",
    "postgresql": "CROSS JOIN LATERAL jsonb_each_text(r.labels) AS l",
}
_NAMES = {"label": "l.key || '=' || l.value", "key": "COALESCE(NULLIF(r.key, ''), r.key_id)"}


def summarise(
    *,
    start: datetime.datetime,
    end: datetime.datetime,
    by: str,
    tenant: str | None = None,
    cost: bool = False,
) -> Summary:
    """Requests that started in [start, end), of one tenant or of all, one row a key and currency.

    Busiest first. A request without labels has no row by `label`, one with two has two. With `cost`
    the answer also has what providers bill us: not for tenants' eyes. Raises ValueError when `by`
    is none of DIMENSIONS.
    """
    if by not in DIMENSIONS:
        raise ValueError(f"usage is summed up by {', '.join(DIMENSIONS)}; not by {by!r}")
    span = _Span(start, end, tenant)
    groups = _in_one_currency(_query(_COUNTS, span, by=by, cost=cost))
    latencies = {
        (found["name"], found["owner"]): found for found in _query(_LATENCIES, span, by=by)
    }
    rows: list[Row] = []
    for group in groups:
        latency = latencies[group["name"], group["owner"]]
        sums = _sums(group, average=latency["average"], p95=latency["p95"], cost=cost)
        row = cast(Row, {"key": group["name"], **sums})
        if by in _TENANTS_OWN and tenant is None:
            row["tenant"] = group["owner"]
        rows.append(row)
    once = groups if by != "label" else _query(_COUNTS, span, by=None, cost=cost)
    return {
        "from": format_moment(start),
        "to": format_moment(end),
        "by": by,
        "rows": rows,
        "total": _total(once, within(start=start, end=end, tenant=tenant), cost=cost),
    }


def within(
    *, start: datetime.datetime, end: datetime.datetime, tenant: str | None
) -> QuerySet[UsageRecord]:
    """The records that started in [start, end), of one tenant or of all."""
    records = UsageRecord.objects.filter(started_at__gte=start, started_at__lt=end)
    return records if tenant is None else records.filter(tenant=tenant)


def is_known(tenant: str) -> bool:
    """Whether a tenant of that name exists, or did when it made requests that are still kept."""
    return (
        Tenant.objects.filter(name=tenant).exists()
        or UsageRecord.objects.filter(tenant=tenant).exists()
    )


def _query(
    template: str, span: _Span, *, by: str | None, cost: bool = False
) -> list[dict[str, Any]]:
    """The rows of `_COUNTS` or `_LATENCIES`; without `by` all requests have one name."""
    labels = _LABELS[connection.vendor] if by == "label" else ""
    mine = "AND r.tenant = %s" if span.tenant is not None else ""
    sql = template.format(
        name=_NAMES.get(by, f'r."{by}"') if by else "''",
        owner="r.tenant" if by in _TENANTS_OWN else "''",
        cost_currency="cost_currency" if cost else "''",
        records=f"""billing_usagerecord AS r {labels}
                    WHERE r.started_at >= %s AND r.started_at < %s {mine}""",
    )
    adapt = connection.ops.adapt_datetimefield_value
    bounds = [adapt(span.start), adapt(span.end)]
    with connection.cursor() as cursor:
        cursor.execute(sql, bounds if span.tenant is None else [*bounds, span.tenant])
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _in_one_currency(counts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`counts`, busiest first, with what has no currency added to the busiest of the same key."""
    currencies: dict[tuple[str, str, str], str] = {}
    for count in counts:
        for field in ("charge_currency", "cost_currency"):
            if count[field]:
                currencies.setdefault((field, count["name"], count["owner"]), count[field])
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for count in counts:
        for field in ("charge_currency", "cost_currency"):
            count[field] = count[field] or currencies.get(
                (field, count["name"], count["owner"]), ""
            )
        names = (count["name"], count["owner"], count["charge_currency"], count["cost_currency"])
        merged[names] = count | _add(merged[names], count) if names in merged else count
    return sorted(merged.values(), key=lambda count: -count["requests"])


def _add(*counts: dict[str, Any]) -> dict[str, int]:
    return {field: sum(int(count[field] or 0) for count in counts) for field in _COUNTED}


def _sums(count: dict[str, Any], *, average: Any, p95: int | None, cost: bool) -> Sums:
    sums: Sums = {
        "requests": count["requests"],
        "errors": count["errors"],
        "input_tokens": int(count["tokens_in"]),
        "output_tokens": int(count["tokens_out"]),
        "charge": from_nano(int(count["charge"] or 0)),
        "currency": count.get("charge_currency") or None,
        "latency_ms_avg": None if average is None else round(float(average) / 1000, 3),
        "latency_ms_p95": None if p95 is None else p95 / 1000,
        "cache_hits": count["hits"],
    }
    if cost:
        sums["cost"] = from_nano(int(count["cost"] or 0))
        sums["cost_currency"] = count.get("cost_currency") or None
    return sums


def _total(counts: list[dict[str, Any]], records: QuerySet[UsageRecord], *, cost: bool) -> Total:
    count = _add(*counts)
    requests = count["requests"]
    average = count["latency"] / requests if requests else None
    slowest = records.order_by("latency_us").values_list("latency_us", flat=True)
    p95 = slowest[(requests * 95 + 99) // 100 - 1] if requests else None
    total = cast(Total, _sums(count, average=average, p95=p95, cost=cost))
    charges = _by_currency(counts, "charge")
    total["charge"], total["currency"] = single(charges)
    if len(charges) > 1:
        total["charges"] = charges
    if cost:
        costs = _by_currency(counts, "cost")
        total["cost"], total["cost_currency"] = single(costs)
        if len(costs) > 1:
            total["costs"] = costs
    return total


def _by_currency(counts: list[dict[str, Any]], amount: str) -> dict[str, str]:
    sums: dict[str, int] = defaultdict(int)
    for count in counts:
        if count[f"{amount}_currency"]:
            sums[count[f"{amount}_currency"]] += int(count[amount] or 0)
    return {currency: from_nano(nano) for currency, nano in sorted(sums.items())}


def single(amounts: dict[str, str]) -> tuple[str | None, str | None]:
    """The amount and its currency; nulls when there are several."""
    if len(amounts) > 1:
        return None, None
    return next(((amount, currency) for currency, amount in amounts.items()), ("0", None))
