"""What the admin pages of the apps share.

A page that changes the configuration is held to the rules of the configuration file: when saving or
deleting would break one that held before, nothing is changed and the page says which, by its path.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import BaseModelAdmin
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models, transaction
from django.db.models import Model, Q, QuerySet
from django.forms.formsets import DELETION_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.functional import cached_property
from pydantic import ValidationError as Misshapen

from routing import config
from routing.config.explain import problems_of
from routing.config.normal import Plain
from routing.config.references import dangling
from routing.config.schema import Document
from routing.config.secret_values import LONGEST_REFERENCE, SOURCES, STORED, Unresolved


def broken_rules(before: Plain, after: Plain) -> list[config.Problem]:
    """The problems of a stored configuration that it did not have before."""
    old = {str(problem) for problem in _misshapen(before)}
    problems = [problem for problem in _misshapen(after) if str(problem) not in old]
    return problems or dangling(after, before, {})


def _misshapen(configuration: Plain) -> list[config.Problem]:
    try:
        Document.model_validate(configuration)
    except Misshapen as invalid:
        return problems_of(invalid)
    return []


@contextmanager
def configuration_stays_valid() -> Iterator[None]:
    """Undoes what is done inside when it breaks a rule; raises ConfigInvalid then."""
    before = config.stored()
    with transaction.atomic():
        yield
        if problems := broken_rules(before, config.stored()):
            raise config.ConfigInvalid(problems)


class ReadableJSON(forms.JSONField):
    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False)


FORM_FIELDS: dict[Any, Any] = {
    models.JSONField: {"form_class": ReadableJSON},
    models.URLField: {"assume_scheme": "https"},
}


class ConfiguredForm(forms.ModelForm):
    """Names never change, and JSON is at least of the kind that the column holds."""

    fixed: ClassVar[tuple[str, ...]] = ("name", "tenant")
    """What can be given only once, when the thing is created."""
    identity: ClassVar[str] = "name"
    """What tells two rows of one page apart."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.instance._state.adding:
            for name in self.fixed:
                if name in self.fields:
                    self.fields[name].disabled = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name in self.fields:
            if isinstance(self.fields[name], forms.JSONField) and name in cleaned:
                self._clean_json(name, cleaned)
        return cleaned

    def _clean_json(self, name: str, cleaned: dict[str, Any]) -> None:
        column = self._meta.model._meta.get_field(name)
        if column.null:
            return
        default = column.get_default()
        if cleaned[name] is None:  # the box was emptied
            cleaned[name] = default
        elif type(cleaned[name]) is not type(default):
            kind = "a list: [...]" if isinstance(default, list) else "a mapping: {...}"
            self.add_error(name, f"This must be {kind}.")


class SecretForm(ConfiguredForm):
    """A secret can be given, never seen. It stays while nothing new is given, unread even: the
    admin's querysets defer it."""

    new_secret = forms.CharField(
        label="Secret",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="env:NAME, file:/path, or the secret itself. Empty: what is stored stays.",
    )

    class Meta:
        exclude = ("secret", "secret_reference")

    def clean_new_secret(self) -> str:
        given: str = self.cleaned_data["new_secret"]
        if given.startswith(STORED):
            raise forms.ValidationError("Leave it empty to keep what is stored.")
        if given.startswith(tuple(SOURCES)) and len(given) > LONGEST_REFERENCE:
            raise forms.ValidationError(f"A reference has at most {LONGEST_REFERENCE} characters.")
        return given

    def save(self, commit: bool = True) -> Any:
        if given := self.cleaned_data.get("new_secret"):
            self.instance.secret_reference, self.instance.secret = _resolved(given)
        return super().save(commit)


def _resolved(given: str) -> tuple[str, str]:
    """A reference with what it leads to (empty while that is nothing), or no reference and a
    literal."""
    for scheme, read in SOURCES.items():
        if given.startswith(scheme):
            try:
                return given, read(given.removeprefix(scheme))
            except Unresolved:
                return given, ""
    return "", given


class WithSecret(BaseModelAdmin):
    """For pages of what has a secret, with SecretForm: says whether one is stored."""

    readonly_fields = ("secret_state",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        sealed: QuerySet[Any] = rows.defer("secret").annotate(has_secret=~Q(secret=""))
        return sealed

    @admin.display(description="stored secret")
    def secret_state(self, row: Any) -> str:
        """`set` or `not set`, and where it came from."""
        state = "set" if getattr(row, "has_secret", False) else "not set"
        return f"{state} ({row.secret_reference})" if row.secret_reference else state


class OnceFormSet(forms.BaseInlineFormSet):
    """Two new rows of one name are told apart before the database refuses them."""

    def clean(self) -> None:
        super().clean()
        seen = set()
        form: Any
        for form in self.forms:
            value = form.cleaned_data.get(form.identity) if is_kept(form) else None
            if value and value in seen:
                form.add_error(form.identity, "This stands here twice.")
            seen.add(value)


def is_kept(form: Any) -> bool:
    """Whether a cleaned row of a formset is there after saving."""
    if not hasattr(form, "cleaned_data") or form.cleaned_data.get(DELETION_FIELD_NAME):
        return False
    return form.instance.pk is not None or form.has_changed()


class ConfiguredInline(admin.TabularInline):
    """For rows of what ConfiguredAdmin changes."""

    form = ConfiguredForm
    formset = OnceFormSet
    formfield_overrides = FORM_FIELDS
    extra = 0


class ConfiguredAdmin(admin.ModelAdmin):
    """A page that changes the configuration."""

    form = ConfiguredForm
    formfield_overrides = FORM_FIELDS

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        if request.method != "POST":
            return super().changeform_view(request, *args, **options)
        request.configuration = config.stored()  # type: ignore[attr-defined]
        try:
            return super().changeform_view(request, *args, **options)
        except config.ConfigInvalid as invalid:
            # Nothing was changed. The same form once more, now with what is wrong.
            request.problems = invalid.problems  # type: ignore[attr-defined]
            return super().changeform_view(request, *args, **options)

    def save_related(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        """The last step of a save, inside its transaction."""
        super().save_related(request, *args, **options)
        before = request.configuration  # type: ignore[attr-defined]
        if problems := broken_rules(before, config.stored()):
            raise config.ConfigInvalid(problems)

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        form = super().get_form(request, *args, **options)
        problems: list[config.Problem] = getattr(request, "problems", [])
        if not problems:
            return form

        def clean(self: Any) -> Any:
            for problem in problems:
                self.add_error(None, str(problem))
            return form.clean(self)

        return type(form.__name__, (form,), {"clean": clean})

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with configuration_stays_valid():
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with configuration_stays_valid():
            super().delete_queryset(request, queryset)

    def delete_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        try:
            return super().delete_view(request, *args, **options)
        except config.ConfigInvalid as invalid:
            return _refused(request, invalid)

    def changelist_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        try:
            with transaction.atomic():  # an action logs before it acts
                return super().changelist_view(request, *args, **options)
        except config.ConfigInvalid as invalid:
            return _refused(request, invalid)


def _refused(request: HttpRequest, invalid: config.ConfigInvalid) -> HttpResponse:
    for problem in invalid.problems:
        messages.error(request, f"Nothing was deleted. {problem}")
    return HttpResponseRedirect(request.get_full_path())


class ReadOnlyAdmin(admin.ModelAdmin):
    """A page that shows what is written elsewhere."""

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class NearPaginator(Paginator):
    """Counts and turns to the first rows only: a list of millions opens as fast as one of ten."""

    FARTHEST = 10_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        nearest: int = rows.order_by()[: self.FARTHEST].count()
        return nearest


class RecordsAdmin(ReadOnlyAdmin):
    """A page of a table that grows with every request. What is searched for is looked up whole, in
    any of `search_fields`."""

    paginator = NearPaginator
    show_full_result_count = False
    list_per_page = 50

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        found = Q(pk__in=[])
        for name in self.search_fields:
            try:
                found |= Q(**{name: self.model._meta.get_field(name).to_python(search_term)})
            except ValidationError:  # no UUID, say
                continue
        return queryset.filter(found), False


def one_of(field: str, values: tuple[str, ...]) -> type[admin.SimpleListFilter]:
    """A filter by values that are known, where asking the table for them would take a scan."""

    class OneOf(admin.SimpleListFilter):
        title = field.replace("_", " ")
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in values]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    return OneOf
