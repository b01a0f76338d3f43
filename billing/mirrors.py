"""How candidates compare: each copy of a request beside the attempt that answered it.

Latencies are those of the upstreams, where both answered; `cost` is what providers bill for all.
"""

import datetime
from typing import Any, TypedDict

from django.db import connection

from gateway_project.units import from_nano


class Side(TypedDict):
    """Latencies are milliseconds, null without answers; `output_tokens` is the average length."""

    latency_ms_avg: float | None
    latency_ms_p95: float | None
    first_token_ms_avg: float | None
    output_tokens: float | None
    cost: str


class Comparison(TypedDict):
    """The copies of one alias's requests that one model answered and another one was sent."""

    alias: str
    model: str
    candidate: str
    copies: int
    errors: int
    errors_by_kind: dict[str, int]
    answered_by: Side
    mirrored: Side


_NUMBER = {
    "sqlite": "json_extract(m.usage, '$.{0}')",
    "postgresql": "(m.usage->>'{0}')::bigint",
}
"""A number of an attempt's use; absent where it is 0."""
_PAIRS = """
WITH pairs AS (
    SELECT r.alias, w.model, m.model AS candidate, m.error_kind,
           w.latency_us AS latency, m.latency_us AS mirror_latency,
           w.first_token_us AS first_token, m.first_token_us AS mirror_first_token,
           r.output_tokens + r.reasoning_tokens AS output, {output} AS mirror_output,
           r.cost, m.cost AS mirror_cost
    FROM billing_attempt AS m
    JOIN billing_usagerecord AS r ON r.record_id = m.record_id
    JOIN billing_attempt AS w ON w.record_id = m.record_id
         AND w.role <> 'mirror' AND w.status = 200 AND w.error_kind = ''
    WHERE m.role = 'mirror' AND m.started_at >= %s AND m.started_at < %s {mine}
), placed AS (
    SELECT pairs.*,
           CUME_DIST() OVER (PARTITION BY alias, model, candidate, error_kind
                             ORDER BY latency) AS reached,
           CUME_DIST() OVER (PARTITION BY alias, model, candidate, error_kind
                             ORDER BY mirror_latency) AS mirror_reached
    FROM pairs
)
SELECT alias, model, candidate, error_kind, COUNT(*) AS copies,
       AVG(latency) AS average, AVG(mirror_latency) AS mirror_average,
       MIN(latency) FILTER (WHERE reached >= 0.95) AS p95,
       MIN(mirror_latency) FILTER (WHERE mirror_reached >= 0.95) AS mirror_p95,
       AVG(first_token) AS first_token, AVG(mirror_first_token) AS mirror_first_token,
       AVG(output) AS output, AVG(mirror_output) AS mirror_output,
       SUM(cost) AS cost, SUM(mirror_cost) AS mirror_cost
FROM placed
GROUP BY alias, model, candidate, error_kind
ORDER BY alias, model, candidate, error_kind
"""


def compare(
    *, start: datetime.datetime, end: datetime.datetime, alias: str | None = None
) -> list[Comparison]:
    """The copies that were sent in [start, end), by alias, model and candidate."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in _query(start, end, alias):
        found.setdefault((row["alias"], row["model"], row["candidate"]), []).append(row)
    return [_comparison(*names, rows) for names, rows in found.items()]


def _query(
    start: datetime.datetime, end: datetime.datetime, alias: str | None
) -> list[dict[str, Any]]:
    number = _NUMBER[connection.vendor]
    output = (
        f"COALESCE({number.format(name)}, 0)" for name in ("output_tokens", "reasoning_tokens")
    )
    mine = "" if alias is None else "AND r.alias = %s"
    sql = _PAIRS.format(output=" + ".join(output), mine=mine)
    adapt = connection.ops.adapt_datetimefield_value
    bounds = [adapt(start), adapt(end), *([] if alias is None else [alias])]
    with connection.cursor() as cursor:
        cursor.execute(sql, bounds)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _comparison(alias: str, model: str, candidate: str, rows: list[dict[str, Any]]) -> Comparison:
    answered = next((row for row in rows if not row["error_kind"]), None)
    failed = {row["error_kind"]: row["copies"] for row in rows if row["error_kind"]}
    return {
        "alias": alias,
        "model": model,
        "candidate": candidate,
        "copies": sum(row["copies"] for row in rows),
        "errors": sum(count for kind, count in failed.items() if kind != "cancelled"),
        "errors_by_kind": failed,
        "answered_by": _side(answered, "", rows),
        "mirrored": _side(answered, "mirror_", rows),
    }


def _side(answered: dict[str, Any] | None, prefix: str, rows: list[dict[str, Any]]) -> Side:
    def value(column: str) -> Any:
        return None if answered is None else answered[prefix + column]

    output = value("output")
    return {
        "latency_ms_avg": _milliseconds(value("average")),
        "latency_ms_p95": _milliseconds(value("p95")),
        "first_token_ms_avg": _milliseconds(value("first_token")),
        "output_tokens": None if output is None else round(float(output), 1),
        "cost": from_nano(sum(int(row[f"{prefix}cost"] or 0) for row in rows)),
    }


def _milliseconds(microseconds: Any) -> float | None:
    return None if microseconds is None else round(float(microseconds) / 1000, 3)
