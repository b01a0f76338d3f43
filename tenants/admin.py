"""Tenants and their credentials, in the admin."""

import datetime
from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from gateway_project.admin import (
    ConfiguredAdmin,
    ConfiguredForm,
    ConfiguredInline,
    ReadOnlyAdmin,
    SecretForm,
    WithSecret,
    one_of,
)
from tenants import alerts, deliveries, events
from tenants.keys import revoke_key
from tenants.messages import headline
from tenants.models import (
    Alert,
    Delivery,
    HmacSigner,
    Issuer,
    Key,
    KeyPolicy,
    Project,
    SigningKey,
    Tenant,
    Tier,
    Webhook,
)


@admin.register(Tier)
class TierAdmin(ConfiguredAdmin):
    list_display = ("name", "weight")
    search_fields = ("name",)


class ProjectInline(ConfiguredInline):
    model = Project


class KeyPolicyForm(ConfiguredForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        project = cleaned.get("project")
        if project is not None and project.tenant_id != self.instance.tenant_id:
            self.add_error("project", "This project is another tenant's.")
        return cleaned


class KeyPolicyInline(ConfiguredInline):
    template = admin.StackedInline.template
    model = KeyPolicy
    form = KeyPolicyForm
    classes = ("collapse",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "project" and request.resolver_match is not None:
            tenant = request.resolver_match.kwargs.get("object_id")
            options["queryset"] = Project.objects.filter(tenant=tenant).order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **options)


class IssuerForm(ConfiguredForm):
    identity = "issuer"


class IssuerInline(ConfiguredInline):
    template = admin.StackedInline.template
    model = Issuer
    form = IssuerForm
    classes = ("collapse",)


def _back_to_page(request: HttpRequest, rows: QuerySet[Any]) -> HttpResponseRedirect | None:
    """Where a button on a row's own page was pressed; None: to the list."""
    row = rows.first()
    if "from_page" not in request.POST or row is None:
        return None
    opts = row._meta
    page = f"admin:{opts.app_label}_{opts.model_name}_change"
    return HttpResponseRedirect(reverse(page, args=[row.pk]))


@admin.register(Tenant)
class TenantAdmin(ConfiguredAdmin):
    list_display = ("name", "display_name", "tier", "status", "price_book", "timezone")
    list_filter = ("status", "tier")
    list_select_related = ("tier", "price_book")
    search_fields = ("name", "display_name")
    inlines = (ProjectInline, KeyPolicyInline, IssuerInline)
    fieldsets = (
        (None, {"fields": ("name", "display_name", "tier", "status", "aliases", "cors_origins")}),
        (
            "Money",
            {
                "fields": (
                    "price_book",
                    "timezone",
                    "credit",
                    "price_factors",
                    "on_disconnect",
                    "unpriced",
                )
            },
        ),
        ("Limits and budgets", {"fields": ("limits", "budgets")}),
        ("Privacy", {"fields": ("log_payloads",)}),
    )
    actions = ("suspend", "resume")

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.change_tenant")

    @admin.action(description="Suspend selected tenants", permissions=["suspend"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Asks first: every key of a suspended tenant is refused within a second."""
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Suspend tenants",
                "opts": self.opts,
                "tenants": queryset,
                "from_page": "from_page" in request.POST,
            }
            return TemplateResponse(request, "admin/tenants/tenant/suspend.html", context)
        return self._set_status(request, queryset, Tenant.Status.SUSPENDED)

    @admin.action(description="Resume selected tenants", permissions=["suspend"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return self._set_status(request, queryset, Tenant.Status.ACTIVE)

    def _set_status(
        self, request: HttpRequest, queryset: QuerySet[Any], status: Tenant.Status
    ) -> HttpResponse | None:
        """Saves each, so that the workers hear of it; those that have that status stay alone."""
        for tenant in queryset.exclude(status=status):
            tenant.status = status
            tenant.save(update_fields=["status"])
            said = "Suspended." if status == Tenant.Status.SUSPENDED else "Resumed."
            self.log_change(request, tenant, said)
            messages.success(request, f"{tenant}: {said}")
        return _back_to_page(request, queryset)


class KeyStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in ("active", "expired", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        revoked, expired = Q(revoked_at__lte=now), Q(expires_at__lte=now)
        match self.value():
            case "revoked":
                return queryset.filter(revoked)
            case "expired":
                return queryset.filter(expired).exclude(revoked)
            case "active":
                return queryset.exclude(revoked).exclude(expired)
        return queryset


def state_of(key: Key, now: datetime.datetime) -> str:
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at <= now else "active"


@admin.register(Key)
class KeyAdmin(ReadOnlyAdmin):
    """Keys are issued by `manage.py issue_key`, which shows the token once; here they end."""

    list_display = ("key_id", "tenant", "name", "project", "state", "issued_at", "expires_at")
    list_filter = (KeyStateFilter, "kind")
    list_select_related = ("tenant", "project__tenant")
    search_fields = ("key_id__exact", "name", "user", "tenant__name")
    exclude = ("token_hash",)
    actions = ("revoke",)

    @admin.display
    def state(self, key: Key) -> str:
        return state_of(key, timezone.now())

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.change_key")

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Asks first: what a revoked key's holder calls with it fails within a second."""
        if "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": "Revoke keys",
                "opts": self.opts,
                "keys": queryset.select_related("tenant"),
                "from_page": "from_page" in request.POST,
            }
            return TemplateResponse(request, "admin/tenants/key/revoke.html", context)
        for key in queryset:
            self.log_change(request, revoke_key(key.key_id), "Revoked.")
        messages.success(request, f"{len(queryset)} keys are revoked.")
        return _back_to_page(request, queryset)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        key = Key.objects.filter(pk=object_id).first()
        ended = key is None or state_of(key, timezone.now()) == "revoked"
        shown = {"may_revoke": not ended and self.has_revoke_permission(request)}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | shown)


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnlyAdmin):
    list_display = ("kid", "algorithm", "created_at", "retired_at")
    exclude = ("private_key",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("private_key")


@admin.register(HmacSigner)
class HmacSignerAdmin(WithSecret, ConfiguredAdmin):
    form = SecretForm
    list_display = ("name", "tenant", "header", "secret_state")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    autocomplete_fields = ("tenant",)


class WebhookForm(SecretForm):
    fixed = ("tenant",)


@admin.register(Webhook)
class WebhookAdmin(WithSecret, ConfiguredAdmin):
    form = WebhookForm
    list_display = ("place", "tenant", "format", "events", "secret_state")
    list_filter = ("format",)
    list_select_related = ("tenant",)
    search_fields = ("url", "tenant__name")
    autocomplete_fields = ("tenant",)
    actions = ("send_test",)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.change_webhook")

    @admin.action(description="Send a test to selected webhooks", permissions=["send"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for webhook in queryset.select_related("tenant"):
            alerts.record_test(webhook, timezone.now())
            self.log_change(request, webhook, "Sent a test.")
        messages.success(request, "Tests are on their way; Deliveries says what becomes of them.")


class DeliveryInline(admin.TabularInline):
    model = Delivery
    fields = ("recipient", "state", "attempts", "status", "error", "next_try_at", "delivered_at")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("happened_at", "name", "owner", "what", "sent")
    list_filter = (one_of("name", events.NAMES),)
    search_fields = ("tenant", "key")
    inlines = (DeliveryInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("deliveries")

    @admin.display(description="tenant", ordering="tenant")
    def owner(self, alert: Alert) -> str:
        return alert.tenant or "(gateway)"

    @admin.display
    def what(self, alert: Alert) -> str:
        return headline(deliveries.event_of(alert))

    @admin.display(description="deliveries")
    def sent(self, alert: Alert) -> str:
        """`2 delivered, 1 failed`; nobody asked for it: `none`."""
        states = Counter(delivery.state for delivery in alert.deliveries.all())
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("alert", "recipient", "state", "attempts", "status", "error", "next_try_at")
    list_filter = (one_of("state", tuple(Delivery.State.values)),)
    list_select_related = ("alert",)
    search_fields = ("alert__tenant", "alert__name", "recipient")
    exclude = ("webhook",)
    actions = ("send_again",)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tenants.change_delivery")

    @admin.action(description="Send selected deliveries again", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        count = deliveries.send_again(queryset, timezone.now())
        messages.success(request, f"{count} deliveries are due now.")
