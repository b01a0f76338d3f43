"""The admin's page that explains a request: its decision, its attempts in time, its money."""

import json
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from billing.explain import Reader, Request, explain
from billing.models import UsageRecord
from billing.requests import written

REASONS = {
    "no_credential": "it has no credential in force",
    "too_dear": "it may cost more than the alias allows for one request",
    "ill": "it was out after failures",
    "cannot_take_it": "it cannot take the input",
    "not_spoken": "its provider's dialect is not spoken",
    "no_price": "it has no price",
    "slow": "it spoke too slowly lately, and was to be asked last",
    "no_room": "a limit of its own was used up",
}
POLICIES = {
    "usage": "for the use itself",
    "delivered": "for the input and what had gone out",
    "input": "for the input alone",
    "reserved": "for the most that it could have used",
    "nothing": "nothing: no answer, or by the tenant's policy",
}
BUCKETS = {
    "input_tokens": "input",
    "cached_input_tokens": "cached input",
    "cache_write_tokens": "cache writes",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
}
NARROWEST = 0.6
"""Percent of the line that the shortest attempt is drawn with."""


def may_see_money(request: HttpRequest) -> bool:
    return request.user.has_perm("billing.view_money")


def explanation(request: HttpRequest, record: UsageRecord, context: dict[str, Any]) -> HttpResponse:
    """The same that `GET /v1/requests/…` tells, laid out, as far as this user may see it."""
    found = written(record)
    told = explain(found, Reader.ADMIN if may_see_money(request) else Reader.SUPPORT)
    return TemplateResponse(
        request,
        "admin/billing/usagerecord/explain.html",
        {
            **context,
            "title": "Explain",
            "opts": UsageRecord._meta,
            "record": record,
            "told": told,
            "conditions": list(_in_words(told["route"]["when"])),
            "facts": list(_in_words(told["route"]["facts"])),
            "passed_over": [{**one, "words": _why(one)} for one in told["passed_over"]],
            "attempts": list(_on_a_line(found, told)),
            "buckets": [(name, told["usage"][bucket]) for bucket, name in BUCKETS.items()],
            "policy": POLICIES.get(told["charge_policy"], told["charge_policy"]),
            "as_json": json.dumps(told, indent=2, ensure_ascii=False),
        },
    )


def _why(left_out: dict[str, str]) -> str:
    reason, detail = left_out["reason"], left_out.get("detail")
    words = REASONS.get(reason, reason)
    if not detail:
        return words
    return f"{words} (for another {detail})" if reason == "ill" else f"{words} ({detail})"


def _in_words(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Conditions or facts, as a reader of the configuration knows them."""
    for name, value in facts.items():
        if isinstance(value, list):
            text = ", ".join(map(str, value)) or "none"
        elif isinstance(value, dict):
            between = "=" if name == "label" else " "
            text = ", ".join(f"{key}{between}{one}" for key, one in value.items())
        else:
            text = "not known" if value is None else str(value)
        yield name.replace("_", " "), text


def _on_a_line(request: Request, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The attempts, each with the percent of the request's time where it began and that it took."""
    whole = max(request.record.latency_us, 1)
    for row, attempt in zip(request.attempts, told["attempts"], strict=True):
        began = (row.started_at - request.record.started_at).total_seconds() * 1_000_000
        start = min(max(100 * began / whole, 0.0), 100 - NARROWEST)
        width = min(max(100 * row.latency_us / whole, NARROWEST), 100 - start)
        yield {
            **attempt,
            "began_ms": began / 1000,
            "start": f"{start:.2f}",
            "width": f"{width:.2f}",
            "is_good": not row.error_kind,
        }
