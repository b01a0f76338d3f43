"""The admin's page of limits and budgets."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import slugify

from billing.owners import currency_of, owners_of, owners_of_gateway
from billing.standing import MOST_USERS, Standing, standings
from billing.state import GROUPS, Row
from billing.wording import (
    amount_in_short,
    amount_in_words,
    reset_in_words,
    rule_in_words,
    scope_in_words,
    timezone_in_words,
)
from tenants.models import Tenant

NAMED_TENANTS = 500
"""As many names the box for a tenant suggests."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose limits and budgets a page is about. `tenant` is None for the gateway's, and where there
    is none of that name; `user` is empty for the users who used most."""

    name: str
    user: str
    tenant: Tenant | None
    currency: str

    @property
    def query(self) -> dict[str, str]:
        given = {"tenant": self.name, "user": self.user}
        return {name: value for name, value in given.items() if value}

    @property
    def url(self) -> str:
        return _with_query("limits-and-budgets", self.query)

    @property
    def is_known(self) -> bool:
        return not self.name or self.tenant is not None

    def standings(self) -> list[Standing]:
        if not self.is_known:
            return []
        owners = owners_of(self.tenant) if self.tenant else owners_of_gateway()
        return standings(owners, user=self.user or None)


def asked_by(request: HttpRequest) -> Asked:
    """What the query asks for. Raises PermissionDenied."""
    if not request.user.has_perm("tenants.view_tenant"):
        raise PermissionDenied
    name = request.GET.get("tenant", "").strip()
    tenant = Tenant.objects.select_related("tier", "price_book").filter(name=name).first()
    return Asked(name, request.GET.get("user", "").strip(), tenant, currency_of(tenant))


def may_adjust(request: HttpRequest) -> bool:
    return request.user.has_perm("billing.add_budgetadjustment")


def limits_and_budgets(request: HttpRequest) -> HttpResponse:
    """Every limit and budget of the gateway, or of the tenant that is asked for, as it stands."""
    asked = asked_by(request)
    found = asked.standings()
    groups = [
        {"name": name, "lines": [line(one, asked) for one in found if one.row.group == group]}
        for group, name in GROUPS.items()
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Limits and budgets",
        "asked": asked,
        "groups": [group for group in groups if group["lines"]],
        "most_users": MOST_USERS,
        "some_are_cold": any(one.figures.from_records for one in found),
        "tenants": Tenant.objects.values_list("name", flat=True)[:NAMED_TENANTS],
        "may_adjust": may_adjust(request),
    }
    return TemplateResponse(request, "admin/limits_and_budgets.html", context)


def line(standing: Standing, asked: Asked) -> dict[str, Any]:
    """A row of the table, in words."""
    row, figures = standing
    used = figures.percent(figures.used)
    taken, share = figures.percent(figures.used + figures.reserved), figures.percent_taken
    return {
        "anchor": anchor(row),
        "scope": scope_in_words(row),
        "rule": rule_in_words(row, asked.currency),
        "kind": "" if row.budget is None else "hard" if row.budget.hard else "soft",
        "used": _amount(row, figures.used),
        "reserved": _amount(row, figures.reserved),
        "remaining": _amount(row, figures.remaining),
        "is_over": figures.remaining < 0,
        "used_percent": used,
        "reserved_percent": taken - used,
        "percent": f"{share}" if share < 1000 else "> 999",
        "level": "full" if taken >= 100 else "high" if taken >= 80 else "low",
        "resets": reset_in_words(row, figures),
        "timezone": timezone_in_words(row),
        "from_records": figures.from_records,
        "adjust": "" if row.budget is None else _adjust_url(asked, row),
    }


def _amount(row: Row, amount: int) -> dict[str, str]:
    return {"short": amount_in_short(row, amount), "exact": amount_in_words(row, amount)}


def anchor(row: Row) -> str:
    """Where on the page a row stands."""
    return f"{slugify(row.ask.key)}-{row.amount}"


def _adjust_url(asked: Asked, row: Row) -> str:
    return _with_query("adjust-budget", {**asked.query, "counter": row.ask.key})


def _with_query(view: str, query: dict[str, str]) -> str:
    return reverse(view) + (f"?{urlencode(query)}" if query else "")
