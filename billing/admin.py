"""Price books and usage, in the admin. Versions are added, never edited; records are only read."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html_join

from billing.admin_explain import explanation, may_see_money
from billing.models import (
    Attempt,
    BudgetAdjustment,
    Price,
    PriceBook,
    PriceVersion,
    RefusalCount,
    UsageRecord,
)
from gateway_project.admin import (
    ConfiguredAdmin,
    ConfiguredForm,
    ConfiguredInline,
    RecordsAdmin,
    one_of,
)
from gateway_project.units import from_nano

OUTCOMES = ("completed", "interrupted", "failed", "blocked", "cached")
ENDED_BY = ("caller", "upstream", "gateway")
USAGE_SOURCES = ("provider", "counted", "estimated")


class PriceBookForm(ConfiguredForm):
    fixed = ("name", "currency", "based_on")


class PriceVersionInline(admin.TabularInline):
    """What a book has; a new version has a page of its own, with its prices."""

    model = PriceVersion
    fields = ("label", "effective", "markup", "created_at", "withdrawn_at")
    readonly_fields = fields
    ordering = ("-effective", "-revision")
    show_change_link = True
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PriceBook)
class PriceBookAdmin(ConfiguredAdmin):
    """Its currency and base are fixed, as records were priced by them, and so it is not deleted."""

    form = PriceBookForm
    list_display = ("name", "currency", "based_on", "fallback", "withdrawn_at")
    list_select_related = ("based_on",)
    search_fields = ("name",)
    exclude = ("withdrawn_at",)
    inlines = (PriceVersionInline,)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PriceForm(ConfiguredForm):
    identity = "model"


class PriceInline(ConfiguredInline):
    model = Price
    form = PriceForm
    extra = 3

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PriceVersion)
class PriceVersionAdmin(ConfiguredAdmin):
    """Prices from a date on. Other prices for a date are a new revision, and the one before is
    withdrawn; records go on naming it."""

    list_display = ("label", "book", "effective", "revision", "markup", "withdrawn_at")
    list_filter = ("book", ("withdrawn_at", admin.EmptyFieldListFilter))
    list_select_related = ("book",)
    ordering = ("book", "-effective", "-revision")
    inlines = (PriceInline,)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        given = ("book", "effective", "markup")
        return given if obj is None else (*given, "revision", "created_at", "withdrawn_at")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: forms.Form, change: bool) -> None:
        same_date = PriceVersion.objects.filter(book=obj.book, effective=obj.effective)
        obj.revision = (same_date.aggregate(latest=Max("revision"))["latest"] or 0) + 1
        for standing in same_date.filter(withdrawn_at=None):
            standing.withdrawn_at = timezone.now()
            standing.save(update_fields=["withdrawn_at"])
        super().save_model(request, obj, form, change)


def _money(nano: int | None, currency: str) -> str:
    return "-" if nano is None else f"{from_nano(nano)} {currency}"


class PricedRecordsAdmin(RecordsAdmin):
    """Records with amounts. `money` is shown only to those who may see it, and nobody else finds it
    out by asking which records have more of it."""

    money: tuple[str, ...]

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._allowed(request, super().get_list_display(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self._allowed(request, super().get_fields(request, obj))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        is_money = lookup.split("__", maxsplit=1)[0] in self.money
        return (may_see_money(request) or not is_money) and super().lookup_allowed(
            lookup, value, request
        )

    def _allowed(self, request: HttpRequest, names: Any) -> list[Any]:
        return [name for name in names if may_see_money(request) or name not in self.money]


@admin.register(UsageRecord)
class UsageRecordAdmin(PricedRecordsAdmin):
    list_display = (
        "record_id",
        "started_at",
        "tenant",
        "key",
        "alias",
        "model",
        "status",
        "outcome",
        "charged",
        "costing",
        "milliseconds",
    )
    list_filter = (
        "started_at",
        one_of("outcome", OUTCOMES),
        one_of("ended_by", ENDED_BY),
        one_of("usage_source", USAGE_SOURCES),
        "stream",
        "quarantined",
    )
    search_fields = ("record_id", "request_id", "tenant")
    search_help_text = "A record id, a request id or a tenant, whole."
    readonly_fields = ("tries",)
    money = (
        *("charge", "charge_currency", "charge_price_version", "charged"),
        *("cost", "cost_currency", "cost_price_version", "costing"),
        *("reserved", "absorbed"),
    )

    def get_urls(self) -> list[Any]:
        page = self.admin_site.admin_view(self.explain)
        name = "billing_usagerecord_explain"
        return [path("<path:object_id>/explain/", page, name=name), *super().get_urls()]

    def explain(self, request: HttpRequest, object_id: str) -> HttpResponse:
        record = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, record):
            raise PermissionDenied
        if record is None:
            raise Http404
        return explanation(request, record, self.admin_site.each_context(request))

    @admin.display(description="charge")
    def charged(self, record: UsageRecord) -> str:
        return _money(record.charge, record.charge_currency)

    @admin.display(description="cost")
    def costing(self, record: UsageRecord) -> str:
        return _money(record.cost, record.cost_currency)

    @admin.display(description="latency")
    def milliseconds(self, record: UsageRecord) -> str:
        return f"{record.latency_us / 1000:,.0f} ms"

    @admin.display(description="tries")
    def tries(self, record: UsageRecord) -> str:
        """What was tried, in order, one line each."""
        attempts = Attempt.objects.filter(record_id=record.record_id)
        return format_html_join(
            "",
            "<div>{}. {}: {} at {}, {} {}</div>",
            (
                (
                    attempt.ordinal,
                    attempt.role,
                    attempt.model,
                    attempt.provider,
                    attempt.status or attempt.error_kind or "no answer",
                    attempt.error,
                )
                for attempt in attempts
            ),
        )


@admin.register(Attempt)
class AttemptAdmin(PricedRecordsAdmin):
    list_display = ("record_id", "ordinal", "started_at", "role", "provider", "model", "status")
    list_filter = ("started_at",)
    search_fields = ("record_id",)
    search_help_text = "A record id, whole."
    ordering = ("-started_at",)
    money = ("cost", "charge", "usage")


@admin.register(RefusalCount)
class RefusalCountAdmin(RecordsAdmin):
    list_display = ("hour", "tenant", "key_id", "code", "requests")
    list_filter = ("hour",)
    search_fields = ("tenant", "key_id", "code")
    search_help_text = "A tenant, a key id or a code, whole."


@admin.register(BudgetAdjustment)
class BudgetAdjustmentAdmin(RecordsAdmin):
    """They are made on the page of limits and budgets, see admin_adjust.py."""

    list_display = ("created_at", "owner", "counter", "adjusted", "reason", "by")
    list_filter = ("created_at",)
    search_fields = ("tenant", "counter", "by")
    search_help_text = "A tenant, a counter or who did it, whole."

    @admin.display(description="tenant")
    def owner(self, adjustment: BudgetAdjustment) -> str:
        return adjustment.tenant or "(gateway)"

    @admin.display(description="amount")
    def adjusted(self, adjustment: BudgetAdjustment) -> str:
        unit = adjustment.counter.split("|")[2:3]
        is_tokens = unit == ["tokens"]
        return f"{adjustment.amount} tokens" if is_tokens else from_nano(adjustment.amount)
