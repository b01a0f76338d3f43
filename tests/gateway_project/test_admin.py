"""What all admin pages have in common."""

import json
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from gateway_project.admin import NearPaginator, ReadOnlyAdmin
from routing.models import Alias, Guard, Model
from tenants.models import Revision, Tenant
from tests.admin_pages import filled, list_of, new_page_of, page_of, problems_on, save
from tests.factories import (
    AliasFactory,
    AttemptFactory,
    BudgetAdjustmentFactory,
    CredentialFactory,
    FallbackFactory,
    GuardFactory,
    HmacSignerFactory,
    IssuerFactory,
    KeyFactory,
    KeyPolicyFactory,
    ModelFactory,
    PriceFactory,
    ProjectFactory,
    RefusalCountFactory,
    TenantFactory,
    TierFactory,
    UsageRecordFactory,
    WebhookFactory,
)

pytestmark = pytest.mark.django_db

OURS = [
    model
    for model in admin.site._registry
    if model._meta.app_label in ("tenants", "routing", "billing")
]


@pytest.fixture
def everything() -> None:
    """A row of every kind."""
    for factory in (
        TierFactory,
        TenantFactory,
        ProjectFactory,
        KeyPolicyFactory,
        KeyFactory,
        IssuerFactory,
        HmacSignerFactory,
        WebhookFactory,
        CredentialFactory,
        FallbackFactory,
        GuardFactory,
        PriceFactory,
        UsageRecordFactory,
        AttemptFactory,
        RefusalCountFactory,
        BudgetAdjustmentFactory,
    ):
        factory.create()


def _named(model: Any) -> str:
    return str(model._meta.label)


@pytest.mark.parametrize("model", OURS, ids=_named)
@pytest.mark.usefixtures("everything")
class TestEveryPage:
    def test_its_list_opens_and_can_be_searched(self, admin_client: Client, model: Any) -> None:
        assert admin_client.get(list_of(model)).status_code == 200
        if admin.site._registry[model].search_fields:
            assert admin_client.get(list_of(model), {"q": "a word"}).status_code == 200

    def test_its_rows_open(self, admin_client: Client, model: Any) -> None:
        for row in model.objects.all():
            assert admin_client.get(page_of(row)).status_code == 200

    def test_a_new_row_can_be_begun_unless_it_is_read_only(
        self, admin_client: Client, model: Any
    ) -> None:
        read_only = isinstance(admin.site._registry[model], ReadOnlyAdmin)
        assert admin_client.get(new_page_of(model)).status_code == (403 if read_only else 200)

    def test_saving_a_row_untouched_changes_nothing(self, admin_client: Client, model: Any) -> None:
        if not isinstance(admin.site._registry[model], ReadOnlyAdmin):
            for row in model.objects.all():
                before = model.objects.filter(pk=row.pk).values().get()
                response = save(admin_client, page_of(row), {})
                assert response.status_code in (302, 403), problems_on(response)
                assert model.objects.filter(pk=row.pk).values().get() == before

    def test_somebody_who_is_not_staff_is_sent_to_log_in(self, client: Client, model: Any) -> None:
        response = client.get(list_of(model))
        assert (response.status_code, "login" in response["Location"]) == (302, True)


class TestNames:
    def test_a_name_is_given_once_and_never_changed(self, admin_client: Client) -> None:
        tenant = TenantFactory.create(name="acme")
        save(admin_client, page_of(tenant), {"name": "other", "display_name": "Other"})
        tenant.refresh_from_db()
        assert (tenant.name, tenant.display_name) == ("acme", "Other")

    def test_a_thing_does_not_move_to_another_tenant(self, admin_client: Client) -> None:
        model = ModelFactory.create()
        save(admin_client, page_of(model), {"tenant": TenantFactory.create().pk})
        model.refresh_from_db()
        assert model.tenant is None

    def test_a_new_name_must_be_a_slug(self, admin_client: Client) -> None:
        response = save(admin_client, new_page_of(Tenant), {"name": "Acme Corp"})
        assert "A name is 1-64 of" in problems_on(response)

    def test_two_new_rows_of_one_name_are_told_apart(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        names = {"projects-0-name": "search", "projects-1-name": "search"}
        response = save(admin_client, page_of(tenant), names, more_rows={"projects": 2})
        assert "This stands here twice." in problems_on(response)


class TestJson:
    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ("{", "Enter a valid JSON."),
            ("[]", "This must be a mapping: {...}."),
            ('"text"', "This must be a mapping: {...}."),
            ('{"requests_per_fortnight": 1}', "limits.requests_per_fortnight: unknown key"),
            ('{"requests_per_minute": -1}', "limits.requests_per_minute"),
        ],
    )
    def test_what_is_wrong_is_shown_and_nothing_is_saved(
        self, admin_client: Client, given: str, problem: str
    ) -> None:
        tenant = TenantFactory.create()
        response = save(admin_client, page_of(tenant), {"limits": given, "display_name": "New"})
        assert problem in problems_on(response)
        tenant.refresh_from_db()
        assert (tenant.limits, tenant.display_name) == ({}, "Acme")

    def test_what_was_typed_is_still_there(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        typed = '{"requests_per_fortnight": 1}'
        response = save(admin_client, page_of(tenant), {"limits": typed})
        shown = response.context["adminform"].form["limits"].value()
        assert json.loads(shown) == json.loads(typed)

    def test_an_emptied_box_is_the_default(self, admin_client: Client) -> None:
        tenant = TenantFactory.create(limits={"requests_per_minute": 5}, aliases=["*"])
        response = save(admin_client, page_of(tenant), {"limits": "", "aliases": ""})
        assert problems_on(response) == ""
        tenant.refresh_from_db()
        assert (tenant.limits, tenant.aliases) == ({}, ["*"])

    def test_a_valid_value_is_saved_and_workers_hear_of_it(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        before = Revision.objects.get(name="configuration").number
        response = save(admin_client, page_of(tenant), {"limits": '{"requests_per_minute": 5}'})
        assert problems_on(response) == ""
        tenant.refresh_from_db()
        assert tenant.limits == {"requests_per_minute": 5}
        assert Revision.objects.get(name="configuration").number > before


class TestConfiguration:
    def test_a_name_that_leads_nowhere_is_refused(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        response = save(admin_client, page_of(tenant), {"aliases": '["nowhere"]'})
        assert "there is no alias 'nowhere'" in problems_on(response)

    def test_what_was_broken_before_does_not_stop_another_change(
        self, admin_client: Client
    ) -> None:
        GuardFactory.create(name="broken", kind="no-such-kind")
        TenantFactory.create(name="globex", aliases=["gone"])
        tenant = TenantFactory.create()
        response = save(admin_client, page_of(tenant), {"display_name": "New"})
        assert problems_on(response) == ""

    def test_what_others_name_is_not_deleted(self, admin_client: Client) -> None:
        alias = AliasFactory.create(name="pro")
        TenantFactory.create(aliases=["pro"])
        url = page_of(alias).replace("change", "delete")
        response = admin_client.post(url, {"post": "yes"}, follow=True)
        assert "Nothing was deleted. tenants.acme.aliases[0]" in response.content.decode()
        assert Alias.objects.filter(name="pro").exists()

    def test_nor_by_the_action(self, admin_client: Client) -> None:
        alias = AliasFactory.create(name="pro")
        TenantFactory.create(aliases=["pro"])
        data = {"action": "delete_selected", "_selected_action": [alias.pk], "post": "yes"}
        response = admin_client.post(list_of(Alias), data, follow=True)
        assert "Nothing was deleted." in response.content.decode()
        assert Alias.objects.filter(name="pro").exists()

    def test_what_nobody_names_is(self, admin_client: Client) -> None:
        guard = GuardFactory.create()
        admin_client.post(page_of(guard).replace("change", "delete"), {"post": "yes"})
        data = {"action": "delete_selected", "_selected_action": [ModelFactory.create().pk]}
        admin_client.post(list_of(Model), data | {"post": "yes"})
        assert not Guard.objects.exists()
        assert not Model.objects.exists()


class TestNearPaginator:
    def test_it_counts_no_farther_than_its_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(NearPaginator, "FARTHEST", 3)
        TenantFactory.create(name="one")
        assert NearPaginator(Tenant.objects.all(), 2).count == 1
        for name in ("two", "three", "four"):
            TenantFactory.create(name=name)
        pages = NearPaginator(Tenant.objects.all(), 2)
        assert (pages.count, pages.num_pages) == (3, 2)


def test_a_page_untouched_sends_no_secret(admin_client: Client) -> None:
    signer = HmacSignerFactory.create(secret="hidden")
    assert "hidden" not in str(filled(admin_client, page_of(signer)))
