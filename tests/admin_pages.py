"""Admin pages, filled in as a browser would: of Django's test client, or of a gateway that runs."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tests.gateway_process import GatewayProcess

Form = dict[str, Any]
PASSWORD = "known-to-the-test"


def said(response: Any) -> str:
    """What a page says."""
    return html.unescape(response.content.decode())


def staff(*permissions: str) -> Client:
    """Somebody of the staff who may do this alone."""
    user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def page_of(row: Any) -> str:
    """The address of a row's own page."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def list_of(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def new_page_of(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")


def filled(client: Client, url: str, *, more_rows: dict[str, int] | None = None) -> Form:
    """What a browser would send if the page were saved untouched; `more_rows` of an inline, by its
    prefix, stand empty behind those it has."""
    context = client.get(url).context
    data: Form = {}
    _take(context["adminform"].form, data)
    for inline in context["inline_admin_formsets"]:
        formset = inline.formset
        for form in (formset.management_form, *formset.forms):
            _take(form, data)
        for _ in range((more_rows or {}).get(formset.prefix, 0)):
            number = int(data[f"{formset.prefix}-TOTAL_FORMS"])
            data[f"{formset.prefix}-TOTAL_FORMS"] = number + 1
            for name, value in _values(formset.empty_form).items():
                data[name.replace("__prefix__", str(number))] = value
    return data


def save(client: Client, url: str, changes: Form, **options: Any) -> Any:
    """Saves a page with these changes. The response has the page's problems, if any."""
    return client.post(url, filled(client, url, **options) | changes)


def problems_on(response: Any) -> str:
    """All that the page says is wrong; empty when it was saved."""
    if response.status_code == 302:
        return ""
    context = response.context
    said = [context["adminform"].form.errors.as_text()]
    for inline in context["inline_admin_formsets"]:
        said += [form.errors.as_text() for form in inline.formset.forms]
        said.append(inline.formset.non_form_errors().as_text())
    return html.unescape("\n".join(said)).strip() or "the page was shown again"


def _take(form: Any, data: Form) -> None:
    data.update(_values(form))


def _values(form: Any) -> Form:
    values: Form = {}
    for bound in form:
        value = bound.value()
        if bound.field.disabled or value is False:
            continue
        widgets = getattr(bound.field.widget, "widgets_names", None)
        if widgets is not None:
            parts = bound.field.widget.decompress(value)
            values |= {
                f"{bound.html_name}{suffix}": _text(part)
                for suffix, part in zip(widgets, parts, strict=True)
            }
        else:
            values[bound.html_name] = "on" if value is True else _text(value)
    return values


def _text(value: Any) -> str:
    return "" if value is None else str(value)


# ---- of a gateway that runs


@contextmanager
def gateway_with_admin(folder: Path, **options: Any) -> Iterator[GatewayProcess]:
    """A gateway that has a superuser."""
    with GatewayProcess(folder, DJANGO_SUPERUSER_PASSWORD=PASSWORD, **options) as process:
        words = ("--noinput", "--username", "root", "--email", "root@acme.example")
        process.clerk.manage("createsuperuser", *words)
        yield process


@contextmanager
def logged_in(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    """A browser in which the superuser has logged in."""
    with httpx.Client(base_url=gateway.url, trust_env=False, timeout=30) as browser:
        press(browser, "/admin/login/", username="root", password=PASSWORD)
        assert "sessionid" in browser.cookies
        yield browser


def press(browser: httpx.Client, url: str, **form: str) -> httpx.Response:
    """Sends a form with the token of its page, or of the last page where it has none of its own."""
    browser.get(url)
    token = browser.cookies["csrftoken"]
    response = browser.post(url, data={**form, "csrfmiddlewaretoken": token})
    assert response.status_code in (200, 302), response.text
    return response
