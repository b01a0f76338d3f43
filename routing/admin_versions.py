"""Versions of the configuration, in the admin: drafts, comparisons, simulations, publishing."""

from datetime import datetime
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from billing.simulation.apart import AT_MOST, NotSimulated, simulate_apart
from billing.simulation.report import by_currency, change_in_words
from routing import config
from routing.config import recording, versions
from routing.config.comparing import compared
from routing.models import ConfigurationVersion

MOST_LINES = 4_000
"""Of a comparison that a page shows."""
OFFERED = 100
"""Versions to compare with."""
MOST_ROWS = 50
SPANS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}

_LARGEST_NUMBER = 2**63 - 1

_State = ConfigurationVersion.State


class DraftForm(forms.ModelForm):
    """Held to all that an apply checks, so that nothing is stored that might be a secret."""

    class Meta:
        model = ConfigurationVersion
        fields = ("note", "text", "base")
        widgets = {
            "note": forms.TextInput({"class": "vTextField"}),
            "text": forms.Textarea(
                {"rows": 34, "class": "configuration", "spellcheck": "false", "wrap": "off"}
            ),
            "base": forms.HiddenInput(),
        }
        help_texts = {
            "text": "The whole configuration: what it lacks goes when it is published. Secrets "
            "stand in it as env:NAME or stored:…, never themselves."
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "text" in cleaned:
            cleaned["text"] = cleaned["text"].replace("\r\n", "\n")
            try:
                versions.check_draft(cleaned["text"])
            except config.ConfigInvalid as invalid:
                for problem in invalid.problems:
                    self.add_error("text", str(problem))
        return cleaned


class SimulateForm(forms.Form):
    since = forms.ChoiceField(choices=list(SPANS.items()), initial="7d", label="The last")
    tenant = forms.CharField(required=False, max_length=64, help_text="Empty: all of them.")


class ConfigurationVersionAdmin(admin.ModelAdmin):
    form = DraftForm
    list_display = ("name", "state", "note", "begun", "published")
    list_display_links = ("name",)
    list_filter = ("state",)
    list_per_page = 50
    search_fields = ("note", "created_by", "published_by")

    # ---- who may do what

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may change it: headers and addresses in it can be as good as secrets."""
        return super().has_view_permission(request, obj) and (
            super().has_add_permission(request)
            or super().has_change_permission(request)
            or self.has_publish_permission(request)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A new draft shows what is in force."""
        return super().has_add_permission(request) and self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_draft = obj is None or obj.state == _State.DRAFT
        return is_draft and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Drafts, one by one. What was in force stays."""
        is_draft = obj is not None and obj.state == _State.DRAFT
        return is_draft and super().has_delete_permission(request, obj)

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("routing.publish_configuration")

    def has_simulate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["billing.view_usagerecord", "billing.view_money"])

    # ---- the list, and a version's own page

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        told = recording.is_told_of(config.export()) if self.has_view_permission(request) else True
        return super().changelist_view(request, {**(extra_context or {}), "is_told_of": told})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and str(match.url_name).endswith("_changelist")
        return rows.defer("text") if is_list else rows

    @admin.display(description="version", ordering="pk")
    def name(self, version: ConfigurationVersion) -> str:
        return str(version)

    @admin.display(ordering="created_at")
    def begun(self, version: ConfigurationVersion) -> str:
        return _by_at(version.created_by, version.created_at)

    @admin.display(ordering="published_at")
    def published(self, version: ConfigurationVersion) -> str:
        return _by_at(version.published_by, version.published_at)

    @admin.display(description="text")
    def shown_text(self, version: ConfigurationVersion) -> str:
        return format_html('<pre class="configuration">{}</pre>', version.text)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("note", "text", "base")
        if self.has_change_permission(request, obj):
            return ("state", "note", "text", "created_by", "created_at")
        return (
            *("state", "note", "shown_text", "created_by", "created_at"),
            *("published_by", "published_at", "replaced"),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = self.get_fields(request, obj)
        return [name for name in fields if name not in ("note", "text", "base")]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A draft begins with what is in force, or with an older version."""
        text = config.export()
        initial = {"text": text, "base": config.digest(text)}
        if "from" in request.GET:
            version = self._asked_for(request, "from")
            initial |= {"text": version.text, "note": f"From {version}"}
        return initial

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user.get_username()
            obj.save()
            return
        drafts = ConfigurationVersion.objects.filter(pk=obj.pk, state=_State.DRAFT)
        if not drafts.update(note=obj.note, text=obj.text):
            raise PermissionDenied("It was published meanwhile.")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        shown = {
            "may_publish": self.has_publish_permission(request),
            "may_simulate": self.has_simulate_permission(request),
            "may_begin": self.has_add_permission(request),
        }
        return super().change_view(request, object_id, form_url, (extra_context or {}) | shown)

    # ---- pages of its own

    def get_urls(self) -> list[Any]:
        views = {
            "diff": self.diff_view,
            "simulate": self.simulate_view,
            "publish": self.publish_view,
        }
        own = [
            path(
                f"<int:number>/{name}/",
                self.admin_site.admin_view(view),
                name=f"routing_configurationversion_{name}",
            )
            for name, view in views.items()
        ]
        return own + super().get_urls()

    def _version(self, request: HttpRequest, number: int) -> ConfigurationVersion:
        if not self.has_view_permission(request):
            raise PermissionDenied
        version = self.get_object(request, str(number)) if number <= _LARGEST_NUMBER else None
        if version is None:
            raise Http404("There is no such version.")
        found: ConfigurationVersion = version
        return found

    def _asked_for(self, request: HttpRequest, name: str) -> ConfigurationVersion:
        """The version whose number stands in the address under this name."""
        said = request.GET[name]
        if len(said) > len(str(_LARGEST_NUMBER)) or not (said.isascii() and said.isdecimal()):
            raise Http404("There is no such version.")
        return self._version(request, int(said))

    def _page(
        self, request: HttpRequest, name: str, version: ConfigurationVersion, **context: Any
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "version": version,
            "original": version,
            **context,
        }
        template = f"admin/routing/configurationversion/{name}.html"
        return TemplateResponse(request, template, context)

    def diff_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """A version against what is in force, or against another one."""
        version = self._version(request, number)
        other = self._asked_for(request, "against") if request.GET.get("against") else None
        try:
            new = _whole(version)
            old = _whole(other) if other else config.export()
        except config.ConfigInvalid as invalid:
            return self._refused(request, version, invalid)
        lines = list(islice(compared(old, new), MOST_LINES + 1))
        return self._page(
            request,
            "diff",
            version,
            title=f"What {version} says otherwise",
            other=other,
            lines=lines[:MOST_LINES],
            is_cut=len(lines) > MOST_LINES,
            most_lines=MOST_LINES,
            may_publish=self.has_publish_permission(request),
            offered=ConfigurationVersion.objects.exclude(pk=version.pk).defer("text")[:OFFERED],
        )

    def simulate_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """What it would have made of the requests of the past."""
        version = self._version(request, number)
        if not self.has_simulate_permission(request):
            raise PermissionDenied
        form = SimulateForm(request.POST if request.method == "POST" else None)
        found = None
        if form.is_valid():
            try:
                found = simulate_apart(version.text, **form.cleaned_data)
            except NotSimulated as error:
                form.add_error(None, str(error))
        return self._page(
            request,
            "simulate",
            version,
            title=f"Simulate {version}",
            form=form,
            found=found and _for_people(found),
            at_most=AT_MOST,
        )

    def publish_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Asks first, and shows what would change; all or nothing."""
        version = self._version(request, number)
        if not self.has_publish_permission(request):
            raise PermissionDenied
        if request.method == "POST" and (done := self._publish(request, version)):
            return done
        try:
            trial = versions.try_out(version)
        except config.ConfigInvalid as invalid:
            return self._refused(request, version, invalid)
        in_force = config.digest(trial.before)
        return self._page(
            request,
            "publish",
            version,
            title=f"Publish {version}" if version.state == _State.DRAFT else f"Back to {version}",
            outcome=trial.outcome,
            forgotten=trial.forgotten,
            in_force=in_force,
            reviewed=config.digest(version.text),
            has_moved=version.state == _State.DRAFT and version.base != in_force,
        )

    def _publish(self, request: HttpRequest, version: ConfigurationVersion) -> HttpResponse | None:
        """None: it was not done, and the page says why and asks again."""
        seen = request.POST.get("in_force", "")
        if request.POST.get("reviewed") != config.digest(version.text):
            messages.error(request, "The draft was edited meanwhile. Read what it changes now.")
            return None
        is_draft = version.state == _State.DRAFT
        if is_draft and version.base != seen and "confirmed" not in request.POST:
            messages.error(request, "What is in force has changed since. Confirm it, or leave it.")
            return None
        try:
            outcome = versions.publish(version, by=request.user.get_username(), expected=seen)
        except config.ConfigMoved:
            messages.error(request, "What is in force changed meanwhile. Read what changes now.")
            return None
        except versions.NothingToPublish:
            messages.warning(request, "Nothing was published: all of it is in force already.")
            return HttpResponseRedirect(_page_of(version))
        except config.ConfigInvalid as invalid:
            return self._refused(request, version, invalid)
        self.log_change(request, version, "Published." if is_draft else "Published again.")
        for warning in outcome.warnings:
            messages.warning(request, warning)
        messages.success(request, f"{version} is in force, in every worker within two seconds.")
        return HttpResponseRedirect(reverse("admin:routing_configurationversion_changelist"))

    def _refused(
        self,
        request: HttpRequest,
        version: ConfigurationVersion,
        invalid: config.ConfigInvalid,
    ) -> HttpResponse:
        """It cannot be put in force as things are now."""
        for problem in invalid.problems:
            messages.error(request, f"{version} cannot be put in force. {problem}")
        return HttpResponseRedirect(_page_of(version))


def _by_at(by: str, moment: datetime | None) -> str:
    """`ada, 25 Nov 2026, 14:05`, in UTC."""
    if moment is None:
        return "-"
    when = f"{moment.day} {moment:%b %Y, %H:%M}"
    return f"{by}, {when}" if by else when


def _page_of(version: ConfigurationVersion) -> str:
    return reverse("admin:routing_configurationversion_change", args=[version.pk])


def _whole(version: ConfigurationVersion) -> str:
    """What is in force with it: of a draft, what would be."""
    return versions.try_out(version).after if version.state == _State.DRAFT else version.text


def _for_people(found: dict[str, Any]) -> dict[str, Any]:
    """A simulation with its amounts as tables show them."""
    rows = [{**row, **_amounts(row)} for row in found["rows"][:MOST_ROWS]]
    return {
        **found,
        **{name: _to_the_second(found[name]) for name in ("from", "to", "stopped_at")},
        "rows": rows,
        "left_out": len(found["rows"]) - len(rows),
        "total": {**found["total"], **_amounts(found["total"])},
        "models": found["models"][:MOST_ROWS],
        "refusals": found["refusals"][:MOST_ROWS],
    }


def _to_the_second(moment: str | None) -> str:
    return moment[:19].replace("T", " ") if moment else ""


def _amounts(sums: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [{**line, "said": change_in_words(line)} for line in by_currency(sums, name)]
        for name in ("cost", "charge")
    }
