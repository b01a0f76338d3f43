"""Alerts and their deliveries, in the admin."""

import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from tenants.models import Alert, Delivery, Webhook
from tests.admin_pages import list_of, new_page_of, page_of, problems_on, save
from tests.factories import NOON, AlertFactory, DeliveryFactory, WebhookFactory

pytestmark = pytest.mark.django_db

HIDDEN = "https://hooks.slack.example/services/very-hidden"


def act(client: Client, action: str, *rows: Any) -> Any:
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(list_of(type(rows[0])), data)


@pytest.fixture
def failed() -> Delivery:
    webhook = WebhookFactory.create(url=HIDDEN, format="slack", secret="signing-secret")
    return DeliveryFactory.create(
        webhook=webhook, state="failed", attempts=16, status=503, error="given up: HTTP 503"
    )


def test_the_list_says_what_happened_and_what_became_of_it(
    admin_client: Client, failed: Delivery
) -> None:
    AlertFactory.create(tenant="", key="other")
    content = admin_client.get(list_of(Alert)).content.decode()
    assert "The provider openai is down since ?: timeout" in content
    assert "1 failed" in content
    assert "(gateway)" in content
    assert "none" in content
    assert "given up: HTTP 503" in admin_client.get(page_of(failed.alert)).content.decode()


@pytest.mark.parametrize(
    ("model", "query", "found"),
    [
        (Alert, "name=provider.down&q=acme", 1),
        (Alert, "name=key.expiring", 0),
        (Alert, "q=globex", 0),
        (Delivery, "state=failed&q=slack.example", 1),
        (Delivery, "state=pending", 0),
    ],
)
def test_the_lists_are_searched_and_filtered(
    admin_client: Client, failed: Delivery, model: Any, query: str, found: int
) -> None:
    context = admin_client.get(f"{list_of(model)}?{query}").context
    assert context["cl"].result_count == found


def test_no_page_but_the_webhooks_own_shows_its_path_and_none_its_secret(
    admin_client: Client, failed: Delivery
) -> None:
    for url in (
        list_of(Alert),
        list_of(Delivery),
        list_of(Webhook),
        page_of(failed),
        page_of(failed.alert),
    ):
        content = admin_client.get(url).content.decode()
        assert "https://hooks.slack.example" in content or url == list_of(Alert)
        assert "very-hidden" not in content
        assert "signing-secret" not in content
    assert "signing-secret" not in admin_client.get(page_of(failed.webhook)).content.decode()


def test_records_are_only_read(admin_client: Client, failed: Delivery) -> None:
    for row in (failed, failed.alert):
        assert admin_client.get(new_page_of(type(row))).status_code == 403
        assert admin_client.post(page_of(row), {"state": "delivered"}).status_code == 403
        assert admin_client.post(page_of(row).replace("change", "delete")).status_code == 403


def test_a_delivery_is_sent_again(admin_client: Client, failed: Delivery) -> None:
    assert act(admin_client, "send_again", failed).status_code == 302
    failed.refresh_from_db()
    assert (failed.state, failed.attempts, failed.error) == ("pending", 0, "")
    assert abs(failed.next_try_at - timezone.now()) < datetime.timedelta(minutes=1)


def test_a_test_is_sent(admin_client: Client) -> None:
    webhook, _ = WebhookFactory.create(), WebhookFactory.create(url=HIDDEN)
    assert act(admin_client, "send_test", webhook).status_code == 302
    delivery = Delivery.objects.get()
    assert (delivery.webhook, delivery.state) == (webhook, "pending")
    assert (delivery.alert.name, delivery.alert.tenant) == ("webhook.test", "acme")


def test_a_webhook_of_the_gateways_own_is_made(admin_client: Client) -> None:
    form = {"url": "mailto:ops@example.org", "format": "email", "events": '["provider.down"]'}
    response = save(admin_client, new_page_of(Webhook), form)
    assert problems_on(response) == ""
    assert str(Webhook.objects.get()) == "gateway: ops@example.org"
    assert "ops@example.org" in admin_client.get(list_of(Webhook)).content.decode()
    response = save(
        admin_client,
        new_page_of(Webhook),
        form | {"format": "slack", "url": "mailto:x@acme.example"},
    )
    assert "gateway.webhooks[1].format: must be 'email'" in problems_on(response)


def test_who_may_only_look_sends_nothing(client: Client, failed: Delivery) -> None:
    reader = User.objects.create_user("reader", is_staff=True)
    for name in ("view_delivery", "view_webhook"):
        reader.user_permissions.add(Permission.objects.get(codename=name))
    client.force_login(reader)
    act(client, "send_again", failed)
    act(client, "send_test", failed.webhook)
    failed.refresh_from_db()
    assert failed.next_try_at == NOON
    assert Delivery.objects.count() == 1
