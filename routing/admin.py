"""Providers, models and aliases, in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, Q
from django.http import HttpRequest

from gateway_project.admin import (
    ConfiguredAdmin,
    ConfiguredForm,
    ConfiguredInline,
    OnceFormSet,
    SecretForm,
    WithSecret,
    is_kept,
)
from routing.admin_versions import ConfigurationVersionAdmin
from routing.models import (
    Alias,
    AliasGuard,
    ConfigurationVersion,
    Credential,
    Fallback,
    GatewaySettings,
    Guard,
    Model,
    Provider,
    Route,
    RouteTarget,
)

OUT_OF_THE_WAY = 10_000
"""Added to positions while rows change places, as no two may share one."""


admin.site.register(ConfigurationVersion, ConfigurationVersionAdmin)


def visible(kind: type[Model] | type[Provider], tenant: int | None) -> dict[str, Any]:
    """What an owner can name: the gateway's, and a tenant's own before those."""
    rows = kind._default_manager.filter(Q(tenant=None) | Q(tenant=tenant))
    return {row.name: row for row in rows.order_by(F("tenant").asc(nulls_first=True))}


@admin.register(GatewaySettings)
class GatewaySettingsAdmin(ConfiguredAdmin):
    exclude = ("id",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not GatewaySettings.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CredentialInline(WithSecret, ConfiguredInline):
    model = Credential
    form = SecretForm
    fields = ("name", "new_secret", "secret_state", "account", "weight")


@admin.register(Provider)
class ProviderAdmin(ConfiguredAdmin):
    list_display = ("name", "tenant", "dialect", "base_url")
    list_filter = ("dialect", ("tenant", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name", "base_url")
    autocomplete_fields = ("tenant",)
    inlines = (CredentialInline,)


class ModelForm(ConfiguredForm):
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        provider, tenant = cleaned.get("provider"), cleaned.get("tenant")
        if provider is not None and provider not in visible(Provider, _key(tenant)).values():
            self.add_error("provider", "This provider is not this owner's to use.")
        return cleaned


@admin.register(Model)
class ModelAdmin(ConfiguredAdmin):
    form = ModelForm
    list_display = ("name", "tenant", "provider", "upstream", "kind", "context_window")
    list_filter = ("kind", "provider", ("tenant", admin.EmptyFieldListFilter))
    list_select_related = ("tenant", "provider__tenant")
    search_fields = ("name", "upstream", "tenant__name")
    autocomplete_fields = ("tenant", "provider")


@admin.register(Guard)
class GuardAdmin(ConfiguredAdmin):
    list_display = ("name", "kind")
    list_filter = ("kind",)
    search_fields = ("name",)


class InOrderForm(ConfiguredForm):
    place = forms.IntegerField(required=False, min_value=0, help_text="Empty: last.")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk:
            self.initial["place"] = self.instance.position


class InOrderFormSet(OnceFormSet):
    """Rows in an order: places say which comes first, and are counted anew when saved."""

    def save(self, commit: bool = True) -> Any:
        assert self.model is not None
        rows = self.model._default_manager.filter(**{self.fk.name: self.instance})
        rows.update(position=F("position") + OUT_OF_THE_WAY)
        for position, form in enumerate(self.in_order()):
            form.instance.position = position
        saved = super().save(commit)
        for form in self.in_order():  # also those that did not change, and were not saved
            rows.filter(pk=form.instance.pk).update(position=form.instance.position)
        return saved

    def in_order(self) -> list[Any]:
        return sorted((form for form in self.forms if is_kept(form)), key=_place)


def _place(form: Any) -> tuple[bool, int]:
    place = form.cleaned_data.get("place")
    return place is None, place or 0


class RouteForm(InOrderForm):
    targets = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "cols": 30}),
        help_text="A model a line, its weight behind it when that is not 1: gpt-4o 90",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk:
            targets = self.instance.targets.select_related("model").order_by("position")
            self.initial["targets"] = "\n".join(_as_line(target) for target in targets)

    def clean_targets(self) -> list[tuple[str, int]]:
        """Names and weights, in their order."""
        targets = []
        for line in self.cleaned_data["targets"].splitlines():
            name, _, weight = line.strip().partition(" ")
            if weight and not weight.strip().isdecimal():
                raise forms.ValidationError(f"The weight of {name} is not a whole number.")
            if name:
                targets.append((name, int(weight or 1)))
        return targets


def _as_line(target: RouteTarget) -> str:
    return target.model.name if target.weight == 1 else f"{target.model.name} {target.weight}"


class RouteFormSet(InOrderFormSet):
    def clean(self) -> None:
        super().clean()
        models = visible(Model, self.instance.tenant_id)
        for form in self.forms:
            for name, _ in getattr(form, "cleaned_data", {}).get("targets", []):
                if name not in models:
                    form.add_error("targets", f"There is no model {name} that this alias can use.")

    def save(self, commit: bool = True) -> Any:
        saved = super().save(commit)
        models = visible(Model, self.instance.tenant_id)
        for form in self.in_order():
            if "targets" in form.changed_data:
                form.instance.targets.all().delete()
                for position, (name, weight) in enumerate(form.cleaned_data["targets"]):
                    form.instance.targets.create(
                        position=position, model=models[name], weight=weight
                    )
        return saved


class RouteInline(ConfiguredInline):
    model = Route
    form = RouteForm
    formset = RouteFormSet
    fields = ("place", "when", "targets", "strategy", "sticky")


class FallbackForm(InOrderForm):
    identity = "model"


class FallbackFormSet(InOrderFormSet):
    def clean(self) -> None:
        super().clean()
        models = visible(Model, self.instance.tenant_id).values()
        for form in self.forms:
            model = getattr(form, "cleaned_data", {}).get("model")
            if model is not None and model not in models:
                form.add_error("model", "This model is not this alias's to use.")


class FallbackInline(ConfiguredInline):
    model = Fallback
    form = FallbackForm
    formset = FallbackFormSet
    fields = ("place", "model")
    autocomplete_fields = ("model",)


class AliasGuardForm(InOrderForm):
    identity = "guard"


class AliasGuardInline(ConfiguredInline):
    model = AliasGuard
    form = AliasGuardForm
    formset = InOrderFormSet
    fields = ("place", "guard")


@admin.register(Alias)
class AliasAdmin(ConfiguredAdmin):
    list_display = ("name", "tenant", "description")
    list_filter = (("tenant", admin.EmptyFieldListFilter),)
    list_select_related = ("tenant",)
    search_fields = ("name", "description", "tenant__name")
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "name", "description", "fallback_on", "options")
    inlines = (RouteInline, FallbackInline, AliasGuardInline)


def _key(tenant: Any) -> int | None:
    return None if tenant is None else int(tenant.pk)
