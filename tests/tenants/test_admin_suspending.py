"""Suspending and resuming tenants, in the admin."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from tenants.models import Revision, Tenant
from tests.admin_pages import list_of, page_of
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def press(client: Client, action: str, *tenants: Tenant, **more: str) -> Any:
    chosen = [tenant.pk for tenant in tenants]
    return client.post(list_of(Tenant), {"action": action, "_selected_action": chosen, **more})


def as_looker(client: Client) -> None:
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    client.force_login(looker)


def test_suspending_asks_first(admin_client: Client) -> None:
    tenant = TenantFactory.create()
    response = press(admin_client, "suspend", tenant)
    assert "Suspend these?" in response.content.decode()
    tenant.refresh_from_db()
    assert tenant.status == "active"


def test_a_confirmed_suspension_is_heard_of_and_logged(admin_client: Client) -> None:
    tenant, other = TenantFactory.create(), TenantFactory.create(name="globex")
    before = Revision.objects.get(name="configuration").number
    press(admin_client, "suspend", tenant, confirmed="yes")
    tenant.refresh_from_db()
    other.refresh_from_db()
    assert (tenant.status, other.status) == ("suspended", "active")
    assert Revision.objects.get(name="configuration").number == before + 1
    logged = LogEntry.objects.get()
    assert (logged.object_repr, logged.change_message) == ("acme", "Suspended.")


def test_resuming_does_not_ask(admin_client: Client) -> None:
    tenant = TenantFactory.create(status="suspended")
    press(admin_client, "resume", tenant)
    tenant.refresh_from_db()
    assert tenant.status == "active"


def test_what_is_suspended_already_is_not_logged_again(admin_client: Client) -> None:
    press(admin_client, "suspend", TenantFactory.create(status="suspended"), confirmed="")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("status", "action", "absent"),
    [("active", "suspend", "resume"), ("suspended", "resume", "suspend")],
)
def test_a_tenants_page_has_the_button_that_fits(
    admin_client: Client, status: str, action: str, absent: str
) -> None:
    tenant = TenantFactory.create(status=status)
    content = admin_client.get(page_of(tenant)).content.decode()
    assert f'name="action" value="{action}"' in content
    assert f'name="action" value="{absent}"' not in content


def test_a_button_leads_back_to_its_page(admin_client: Client) -> None:
    tenant = TenantFactory.create()
    asked = press(admin_client, "suspend", tenant, from_page="yes")
    assert page_of(tenant) in asked.content.decode()
    for action in ("suspend", "resume"):
        done = press(admin_client, action, tenant, from_page="yes", confirmed="yes")
        assert done["Location"] == page_of(tenant)


def test_a_button_without_a_token_of_the_page_is_refused(admin_user: User) -> None:
    tenant = TenantFactory.create(status="suspended")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert press(strict, "resume", tenant).status_code == 403
    tenant.refresh_from_db()
    assert tenant.status == "suspended"


def test_who_may_only_look_has_no_button_and_cannot(client: Client) -> None:
    as_looker(client)
    tenant = TenantFactory.create()
    assert 'value="suspend"' not in client.get(page_of(tenant)).content.decode()
    press(client, "suspend", tenant, confirmed="yes")
    tenant.refresh_from_db()
    assert tenant.status == "active"


def test_who_is_not_logged_in_is_sent_to(client: Client) -> None:
    response = press(client, "suspend", TenantFactory.create(), confirmed="yes")
    assert "login" in response["Location"]
    assert Tenant.objects.get().status == "active"
