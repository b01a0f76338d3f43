"""Alerts: written down once, with a delivery for each webhook that asked."""

import datetime
import threading

import pytest
from django.db import connection

from tenants import alerts
from tenants.events import (
    BudgetState,
    Event,
    budget_exhausted,
    budget_threshold,
    limit_sustained,
    provider_down,
    usage_absorbed,
)
from tenants.models import Alert, Delivery, Key
from tests.factories import NOON, KeyFactory, ProjectFactory, TenantFactory, WebhookFactory

pytestmark = pytest.mark.django_db

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


def half_used(tenant: str = "acme", start: datetime.datetime = NOON, share: str = "50%") -> Event:
    state = BudgetState(
        budget="tenant",
        period="day",
        period_start=start,
        resets_at=start + DAY,
        amount="10",
        used="5.5",
        unit="USD",
    )
    return budget_threshold(tenant=tenant, state=state, threshold=share, now=NOON)


class TestRecording:
    def test_each_webhook_that_asked_gets_a_delivery(self) -> None:
        asked = WebhookFactory.create(events=["budget.threshold", "key.expiring"])
        also = WebhookFactory.create(url="https://other.acme.example/", events=["budget.threshold"])
        WebhookFactory.create(url="https://third.acme.example/", events=["provider.down"])
        assert alerts.record([half_used()], NOON) == 1
        deliveries = Delivery.objects.all()
        assert {delivery.webhook for delivery in deliveries} == {asked, also}
        for delivery in deliveries:
            assert (delivery.state, delivery.next_try_at) == ("pending", NOON)
        assert deliveries.get(webhook=asked).recipient == "https://hooks.acme.example"

    def test_a_threshold_is_heard_once_a_period(self) -> None:
        WebhookFactory.create()
        events = [half_used(), half_used(), half_used(share="80%"), half_used(start=NOON + DAY)]
        assert alerts.record(events, NOON) == 3
        assert alerts.record(events, NOON + HOUR) == 0
        assert Alert.objects.count() == Delivery.objects.count() == 3

    def test_another_tenant_hears_nothing(self) -> None:
        WebhookFactory.create(tenant__name="globex")
        assert alerts.record([half_used("acme"), half_used("globex")], NOON) == 2
        assert Delivery.objects.get().alert.tenant == "globex"

    def test_the_gateways_own_events_go_to_its_own_webhooks(self) -> None:
        WebhookFactory.create(events=["provider.down"])
        operators = WebhookFactory.create(tenant=None, events=["provider.down"])
        for tenant in ("", "globex"):
            down = provider_down(
                tenant=tenant, provider="openai", reason="timeout", since=NOON, now=NOON
            )
            assert alerts.record([down], NOON) == 1
        delivery = Delivery.objects.get()
        assert (delivery.webhook, delivery.alert.tenant) == (operators, "")
        assert alerts.record_test(operators, NOON).alert.tenant == ""

    def test_one_opening_that_two_workers_raise_is_heard_once_also_around_the_hour(self) -> None:
        since = NOON - datetime.timedelta(seconds=1)
        for later in range(3):
            now = since + datetime.timedelta(seconds=later)
            down = provider_down(
                tenant="", provider="openai", reason="timeout", since=since, now=now
            )
            assert alerts.record([down], now) == (0 if later else 1)

    def test_nobody_asked_but_it_is_listed(self) -> None:
        down = provider_down(tenant="", provider="openai", reason="timeout", since=NOON, now=NOON)
        assert alerts.record([down], NOON) == 1
        assert (Alert.objects.get().tenant, Delivery.objects.count()) == ("", 0)

    @pytest.mark.django_db(transaction=True)
    def test_many_workers_raise_it_once(self) -> None:
        WebhookFactory.create()
        new: list[int] = []
        together = threading.Barrier(4)

        def raise_it() -> None:
            together.wait()
            new.append(alerts.record([half_used()], NOON))
            connection.close()

        threads = [threading.Thread(target=raise_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(new) == [0, 0, 0, 1]
        assert Alert.objects.count() == Delivery.objects.count() == 1

    def test_an_alert_is_written_with_its_deliveries_or_not_at_all(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        WebhookFactory.create()
        with monkeypatch.context() as dying:
            dying.setattr(alerts, "new_delivery", None)
            with pytest.raises(TypeError):
                alerts.record([half_used()], NOON)
        assert alerts.record([half_used()], NOON) == Delivery.objects.count() == 1

    def test_a_key_of_any_length_is_kept_apart_by_its_start(self) -> None:
        long = Event("budget.threshold", "acme", "x" * 1000, NOON)
        assert [alerts.record([long], NOON), alerts.record([long], NOON)] == [1, 0]


class TestEvents:
    def test_exhausted_is_heard_once_a_period_whatever_was_used(self) -> None:
        def state(used: str) -> BudgetState:
            return BudgetState(
                budget="key/frontend",
                period="total",
                period_start=NOON,
                resets_at=None,
                amount="10",
                used=used,
                unit="USD",
            )

        first = budget_exhausted(tenant="acme", state=state("10"), now=NOON)
        again = budget_exhausted(tenant="acme", state=state("10.5"), now=NOON + HOUR)
        assert first.identity == again.identity
        assert first.data["resets_at"] is None

    def test_a_limit_and_a_provider_are_heard_of_once_an_hour(self) -> None:
        def at(now: datetime.datetime) -> list[tuple[str, str, str]]:
            limit = limit_sustained(
                tenant="acme",
                scope="tenant",
                limit="requests_per_minute",
                amount=10,
                refused=99,
                now=now,
            )
            down = provider_down(
                tenant="", provider="openai", reason="timeout", since=NOON, now=now
            )
            return [limit.identity, down.identity]

        assert at(NOON) == at(NOON + HOUR - datetime.timedelta(seconds=1))
        assert not set(at(NOON)) & set(at(NOON + HOUR))

    def test_absorbed_usage_is_heard_once_a_record(self) -> None:
        event = usage_absorbed(
            tenant="acme",
            record_id="0190-7",
            provider="openai",
            model="gpt-4o",
            amount="0.02",
            unit="USD",
            now=NOON,
        )
        assert event.identity == ("acme", "usage.absorbed", "0190-7")


class TestExpiringKeys:
    def _heard(self) -> list[tuple[str, str]]:
        rows = Alert.objects.filter(name="key.expiring").order_by("key")
        return [(row.data["key_id"], row.data["within"]) for row in rows]

    def test_a_key_is_spoken_of_a_week_and_a_day_before_its_end(self) -> None:
        key = KeyFactory.create(expires_at=NOON + 30 * DAY)
        KeyFactory.create(expires_at=NOON + 300 * DAY)
        heard = []
        for days in (22, 23, 24, 28, 29, 29.5, 31):
            alerts.expiring(NOON + days * DAY)
            heard.append(len(self._heard()))
        assert heard == [0, 1, 1, 1, 2, 2, 2]
        assert self._heard() == [(key.key_id, "1d"), (key.key_id, "7d")]

    def test_one_that_is_first_seen_on_its_last_day_is_spoken_of_once(self) -> None:
        key = KeyFactory.create(expires_at=NOON + HOUR, project=ProjectFactory.create(name="bot"))
        assert [alerts.expiring(NOON), alerts.expiring(NOON)] == [1, 0]
        assert self._heard() == [(key.key_id, "1d")]
        assert Alert.objects.get().data == {
            "key_id": key.key_id,
            "key": key.name,
            "project": "bot",
            "expires_at": "2026-10-15T13:00:00Z",
            "within": "1d",
        }

    def test_what_is_revoked_replaced_or_over_is_not(self) -> None:
        def soon(**values: object) -> Key:
            return KeyFactory.create(issued_at=NOON - DAY, **{"expires_at": NOON + HOUR, **values})

        soon(revoked_at=NOON)
        soon(revoked_at=NOON + HOUR / 2)
        soon(expires_at=NOON)
        KeyFactory.create(replaces=soon())
        assert alerts.expiring(NOON) == 0

    def test_its_tenant_is_told(self) -> None:
        WebhookFactory.create(events=["key.expiring"], tenant=TenantFactory.create(name="acme"))
        KeyFactory.create(expires_at=NOON + HOUR, tenant__name="globex")
        KeyFactory.create(expires_at=NOON + HOUR, tenant__name="acme")
        assert alerts.expiring(NOON) == 2
        assert Delivery.objects.get().alert.tenant == "acme"


def test_a_test_goes_to_one_webhook_whatever_it_asked_for() -> None:
    webhook = WebhookFactory.create(events=["provider.down"])
    WebhookFactory.create(url="https://other.acme.example/")
    first, second = alerts.record_test(webhook, NOON), alerts.record_test(webhook, NOON)
    assert {delivery.webhook for delivery in (first, second)} == {webhook}
    assert Alert.objects.filter(name="webhook.test").count() == 2
