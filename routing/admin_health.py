"""The admin's page of the health of upstreams, and its button that lets one be asked again."""

import datetime
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_POST

from routing.circuit import Circuit
from routing.sharing import reading
from routing.subjects import Subject, name_of
from routing.upstreams import GROUPS, Upstream, upstreams_of
from tenants.models import Tenant

NAMED_TENANTS = 500
"""As many names the box for a tenant suggests."""

WELL = Circuit()
REASONS: Mapping[str, str] = {
    "connection": "connections fail",
    "timeout": "time-outs",
    "server_error": "server errors",
    "overloaded": "overloaded",
    "rate_limit": "rate limit",
    "auth": "secret refused",
}


def health(request: HttpRequest) -> HttpResponse:
    """Every provider, model and credential of the gateway, or of the tenant that is asked for."""
    if not request.user.has_perm("routing.view_provider"):
        raise PermissionDenied
    tenant = request.GET.get("tenant", "").strip()
    is_known = not tenant or Tenant.objects.filter(name=tenant).exists()
    known = reading.standings()
    lines = [line(one, known or {}) for one in upstreams_of(tenant)]
    lines.sort(key=lambda one: one["is_well"])  # within a group, what is out comes first
    groups = [
        {"name": name, "lines": [one for one in lines if one["group"] == name]}
        for name in GROUPS.values()
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Health of upstreams",
        "tenant": tenant,
        "is_known": is_known,
        "groups": [group for group in groups if group["lines"]],
        "out": sum(not one["is_well"] for one in lines),
        "runs": known is not None,
        "problem": reading.problem(),
        "tenants": Tenant.objects.values_list("name", flat=True)[:NAMED_TENANTS],
        "may_change": request.user.has_perm("routing.change_provider"),
    }
    return TemplateResponse(request, "admin/health.html", context)


def line(upstream: Upstream, known: Mapping[Subject, Circuit]) -> dict[str, Any]:
    """A row of the table, in words."""
    circuit, now = known.get(upstream.subject, WELL), time.time()
    state = circuit.state(now)
    return {
        "anchor": anchor(upstream.subject),
        "group": upstream.group,
        "subject": name_of(upstream.subject),
        "name": upstream.name,
        "state": state,
        "state_in_words": state.replace("_", "-"),
        "is_well": state == "closed",
        "is_tried": circuit.is_tried,
        "disbelieves": state != "closed" and circuit.on_trial,
        "reason": REASONS.get(circuit.reason, circuit.reason) if state != "closed" else "",
        "since": _moment(circuit.since),
        "left": _left(circuit.until - now) if state == "open" else "",
        "asked_at": _moment(_asked_at(upstream.subject, circuit, known)),
    }


def _asked_at(subject: Subject, circuit: Circuit, known: Mapping[Subject, Circuit]) -> float:
    """When a probe was last answered or failed; of a provider also its list of models."""
    if subject[0] != "provider":
        return circuit.asked_at
    return max(circuit.asked_at, known.get(("list", *subject[1:]), WELL).asked_at)


def _moment(at: float) -> datetime.datetime | None:
    return datetime.datetime.fromtimestamp(at, datetime.UTC) if at else None


def _left(seconds: float) -> str:
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def anchor(subject: Subject) -> str:
    """Where on the page a row stands."""
    return slugify("-".join(part or "none" for part in subject))


@require_POST
def ask_again(request: HttpRequest) -> HttpResponse:
    """Closes what stands in a subject's way, in every worker, and writes down who did."""
    if not request.user.has_perm("routing.change_provider"):
        raise PermissionDenied
    tenant, name = request.POST.get("tenant", ""), request.POST.get("subject", "")
    found = [one for one in upstreams_of(tenant) if name_of(one.subject) == name]
    back = reverse("health-of-upstreams") + (f"?{urlencode({'tenant': tenant})}" if tenant else "")
    if not found:
        messages.error(request, "It is no more. Look again.")
        return HttpResponseRedirect(back)
    upstream = found[0]
    if reading.close(upstream.subject):
        _write_down(request, upstream)
        messages.success(request, f"{upstream.name} is asked again, by every worker.")
    else:
        messages.info(request, f"{upstream.name} is asked already.")
    return HttpResponseRedirect(f"{back}#{anchor(upstream.subject)}")


def _write_down(request: HttpRequest, upstream: Upstream) -> None:
    said = f"Asked again: the {upstream.subject[0]} {upstream.name}."
    by: Any = request.user
    LogEntry.objects.log_actions(
        by.pk, [upstream.row], CHANGE, change_message=said, single_object=True
    )
