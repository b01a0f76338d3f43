"""Tenants, keys and their other credentials, in the admin."""

import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tenants.keys import create_signing_key
from tenants.models import HmacSigner, Key, KeyPolicy, Project, Revision, Tenant
from tests.admin_pages import list_of, new_page_of, page_of, problems_on, save
from tests.factories import (
    HmacSignerFactory,
    KeyFactory,
    KeyPolicyFactory,
    ProjectFactory,
    TenantFactory,
    WebhookFactory,
)

pytestmark = pytest.mark.django_db


class TestTenants:
    def test_a_tenant_is_made_with_its_projects_and_issuers(self, admin_client: Client) -> None:
        response = save(
            admin_client,
            new_page_of(Tenant),
            {
                "name": "acme",
                "projects-0-name": "search",
                "issuers-0-issuer": "https://login.acme.example/",
                "issuers-0-audience": "gateway",
                "issuers-0-jwks_url": "https://login.acme.example/jwks.json",
            },
            more_rows={"projects": 1, "issuers": 1},
        )
        assert problems_on(response) == ""
        tenant = Tenant.objects.get()
        assert (tenant.name, tenant.projects.get().name) == ("acme", "search")
        assert tenant.issuers.get().issuer == "https://login.acme.example/"

    def test_a_policy_names_a_project_of_its_own_tenant(self, admin_client: Client) -> None:
        tenant = TenantFactory.create(name="acme")
        mine = ProjectFactory.create(tenant=tenant, name="mine")
        other = ProjectFactory.create(tenant__name="globex", name="other")
        policy = {"key_policies-0-name": "frontend", "key_policies-0-aliases": '["*"]'}
        for project, accepted in ((other, False), (mine, True)):
            response = save(
                admin_client,
                page_of(tenant),
                policy | {"key_policies-0-project": project.pk},
                more_rows={"key_policies": 1},
            )
            assert (problems_on(response) == "") is accepted
        assert KeyPolicy.objects.get().project == mine

    def test_a_projects_name_stays_while_its_limits_change(self, admin_client: Client) -> None:
        project = ProjectFactory.create(name="search")
        save(
            admin_client,
            page_of(project.tenant),
            {"projects-0-name": "other", "projects-0-limits": '{"concurrency": 2}'},
        )
        assert Project.objects.values_list("name", "limits").get() == ("search", {"concurrency": 2})

    def test_a_policys_name_stays(self, admin_client: Client) -> None:
        policy = KeyPolicyFactory.create(name="frontend")
        save(admin_client, page_of(policy.tenant), {"key_policies-0-name": "other"})
        assert KeyPolicy.objects.get().name == "frontend"


class TestSigners:
    def test_a_timestamp_is_asked_for_there(self, admin_client: Client) -> None:
        row = HmacSignerFactory.create(secret="very-hidden")
        changes = {"timestamp_header": "X-Time", "tolerance": "90s"}
        response = save(admin_client, page_of(row), changes)
        assert problems_on(response) == ""
        row.refresh_from_db()
        assert (row.timestamp_header, row.tolerance) == ("X-Time", "90s")
        content = admin_client.get(page_of(row)).content.decode()
        assert "X-Time" in content
        assert "very-hidden" not in content

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"timestamp_header": "X-Time", "tolerance": "soon"}, "a duration is"),
            ({"timestamp_header": "x-api-key"}, "another meaning"),
            ({"tolerance": "1m"}, "timestamp_header"),
        ],
    )
    def test_it_is_held_to_the_rules_of_the_file(
        self, admin_client: Client, changes: dict[str, str], said: str
    ) -> None:
        row = HmacSignerFactory.create()
        assert said in problems_on(save(admin_client, page_of(row), changes))


class TestSecrets:
    def _save(self, client: Client, row: Any, secret: str) -> str:
        return problems_on(save(client, page_of(row), {"new_secret": secret}))

    @pytest.mark.parametrize("factory", [HmacSignerFactory, WebhookFactory])
    def test_a_secret_is_never_shown(self, admin_client: Client, factory: Any) -> None:
        row = factory.create(secret="very-hidden", secret_reference="env:HIDDEN")
        for url in (page_of(row), list_of(type(row))):
            content = admin_client.get(url).content.decode()
            assert "very-hidden" not in content
            assert "set (env:HIDDEN)" in content

    def test_an_empty_box_keeps_what_is_stored(self, admin_client: Client) -> None:
        row = HmacSignerFactory.create(secret="old", secret_reference="env:OLD")
        assert self._save(admin_client, row, "") == ""
        row.refresh_from_db()
        assert (row.secret, row.secret_reference) == ("old", "env:OLD")

    def test_a_literal_replaces_it_and_its_reference(self, admin_client: Client) -> None:
        row = HmacSignerFactory.create(secret="old", secret_reference="env:OLD")
        assert self._save(admin_client, row, "new") == ""
        row.refresh_from_db()
        assert (row.secret, row.secret_reference) == ("new", "")

    def test_a_reference_is_followed(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FRESH", "from the environment")
        row = HmacSignerFactory.create()
        assert self._save(admin_client, row, "env:FRESH") == ""
        row.refresh_from_db()
        assert (row.secret, row.secret_reference) == ("from the environment", "env:FRESH")

    def test_a_reference_to_nothing_leaves_it_unset(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("FRESH", raising=False)
        row = HmacSignerFactory.create()
        assert self._save(admin_client, row, "env:FRESH") == ""
        assert "not set (env:FRESH)" in admin_client.get(page_of(row)).content.decode()

    def test_what_an_export_writes_in_its_place_is_no_secret(self, admin_client: Client) -> None:
        row = HmacSignerFactory.create(secret="old")
        assert "Leave it empty" in self._save(admin_client, row, "stored:acme/hmac/shopify")

    def test_a_refused_page_does_not_show_what_was_typed(self, admin_client: Client) -> None:
        row = HmacSignerFactory.create()
        changes = {"new_secret": "just-typed", "aliases": '["nowhere"]'}
        response = save(admin_client, page_of(row), changes)
        assert "nowhere" in problems_on(response)
        assert "just-typed" not in response.content.decode()

    def test_a_secret_that_cannot_be_read_does_not_close_the_page(
        self, admin_client: Client
    ) -> None:
        row = HmacSignerFactory.create()
        HmacSigner.objects.filter(pk=row.pk).update(secret="x")
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tenants_hmacsigner SET secret = 'not ours'")
        assert admin_client.get(list_of(HmacSigner)).status_code == 200
        assert self._save(admin_client, row, "new") == ""
        row.refresh_from_db()
        assert row.secret == "new"


class TestSigningKeys:
    def test_a_private_key_is_never_shown(self, admin_client: Client) -> None:
        key = create_signing_key()
        content = admin_client.get(page_of(key)).content.decode()
        assert "PUBLIC KEY" in content
        assert "PRIVATE KEY" not in content


class TestKeys:
    def _revoke(self, client: Client, *keys: Key, confirmed: bool = True) -> Any:
        data = {"action": "revoke", "_selected_action": [key.pk for key in keys]}
        return client.post(list_of(Key), data | ({"confirmed": "yes"} if confirmed else {}))

    def test_a_hash_is_not_shown(self, admin_client: Client) -> None:
        key = KeyFactory.create(kind="opaque", token_hash="abcd" * 16)
        assert "abcdabcd" not in admin_client.get(page_of(key)).content.decode()

    def test_a_key_cannot_be_added_changed_or_deleted(self, admin_client: Client) -> None:
        key = KeyFactory.create(name="frontend")
        assert admin_client.get(new_page_of(Key)).status_code == 403
        assert admin_client.post(page_of(key), {"name": "other"}).status_code == 403
        assert admin_client.post(page_of(key).replace("change", "delete")).status_code == 403

    def test_revoking_asks_first(self, admin_client: Client) -> None:
        key = KeyFactory.create()
        response = self._revoke(admin_client, key, confirmed=False)
        assert key.key_id in response.content.decode()
        key.refresh_from_db()
        assert key.revoked_at is None

    def test_a_confirmed_revocation_is_in_force_and_heard_of(self, admin_client: Client) -> None:
        keys = [KeyFactory.create(), KeyFactory.create()]
        other = KeyFactory.create()
        before = Revision.objects.get(name="keys").number
        response = self._revoke(admin_client, *keys)
        assert response.status_code == 302
        revoked = set(Key.objects.exclude(revoked_at=None))
        assert revoked == set(keys)
        assert other not in revoked
        assert Revision.objects.get(name="keys").number == before + 2

    def test_a_keys_page_has_a_button_until_it_has_ended(self, admin_client: Client) -> None:
        living, ending, ended = (
            KeyFactory.create(revoked_at=moment)
            for moment in (None, timezone.now() + datetime.timedelta(hours=1), timezone.now())
        )
        shown = [
            'value="revoke"' in admin_client.get(page_of(key)).content.decode()
            for key in (living, ending, ended)
        ]
        assert shown == [True, True, False]

    def test_the_button_asks_and_leads_back(self, admin_client: Client) -> None:
        key = KeyFactory.create()
        data = {"action": "revoke", "_selected_action": [key.pk], "from_page": "yes"}
        asked = admin_client.post(list_of(Key), data).content.decode()
        assert (page_of(key) in asked, 'name="from_page"' in asked) == (True, True)
        done = admin_client.post(list_of(Key), data | {"confirmed": "yes"})
        assert done["Location"] == page_of(key)
        key.refresh_from_db()
        assert key.revoked_at is not None

    def test_who_may_only_look_cannot_revoke(self, client: Client) -> None:
        looker = User.objects.create_user("looker", is_staff=True)
        looker.user_permissions.add(Permission.objects.get(codename="view_key"))
        client.force_login(looker)
        key = KeyFactory.create()
        assert client.get(list_of(Key)).status_code == 200
        assert 'value="revoke"' not in client.get(page_of(key)).content.decode()
        self._revoke(client, key)
        key.refresh_from_db()
        assert key.revoked_at is None

    @pytest.mark.parametrize("state", ["active", "expired", "revoked"])
    def test_keys_are_filtered_by_their_state(self, admin_client: Client, state: str) -> None:
        now, day = timezone.now(), datetime.timedelta(days=1)
        KeyFactory.create(name="active", expires_at=now + day, revoked_at=now + day)
        KeyFactory.create(name="expired", issued_at=now - 2 * day, expires_at=now - day)
        KeyFactory.create(name="revoked", expires_at=now + day, revoked_at=now - day)
        rows = admin_client.get(list_of(Key), {"state": state}).context["cl"].result_list
        assert [key.name for key in rows] == [state]
