"""The outbox: what arrives, what is tried again, what is given up."""

import base64
import datetime
import logging
import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import WebhookVerificationError

from tenants import deliveries, sending
from tenants.deliveries import (
    AT_ONCE,
    JITTER,
    LEASE,
    LONGEST_WAIT,
    PATIENCE,
    deliver_due,
    send_again,
    wait_after,
)
from tenants.models import Delivery, Webhook
from tests.factories import AlertFactory, DeliveryFactory, WebhookFactory
from tests.tenants.conftest import Environment
from tests.webhook_receiver import WebhookReceiver, after, endless, trickling, with_status

pytestmark = pytest.mark.django_db

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so").decode()


def due(receiver: WebhookReceiver, now: datetime.datetime, **webhook: Any) -> Delivery:
    """A delivery to the receiver, due now."""
    values = {"url": receiver.url, "secret": SECRET} | webhook
    return DeliveryFactory.create(
        webhook=WebhookFactory.create(**values), next_try_at=now, give_up_at=now + PATIENCE
    )


@pytest.fixture
def now() -> datetime.datetime:
    """The real time: who verifies a signature looks at the clock."""
    return timezone.now()


class TestWhatArrives:
    def test_it_is_signed_as_the_official_library_wants(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        delivery = due(receiver, now)
        assert deliver_due(now) == 1
        (got,) = receiver.received
        payload = got.verified(SECRET)
        assert payload["type"] == "provider.down"
        assert payload["data"] == {"tenant": "acme", "provider": "openai", "reason": "timeout"}
        assert got.headers["webhook-id"] == f"msg_{delivery.alert.pk.hex}"
        assert got.headers["content-type"] == "application/json"
        assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        with pytest.raises(WebhookVerificationError):
            got.verified(SECRET[:-4] + "AAA=")
        delivery.refresh_from_db()
        assert (delivery.state, delivery.status, delivery.attempts) == ("delivered", 204, 1)
        assert delivery.delivered_at is not None
        assert deliver_due(now + PATIENCE) == 0

    def test_a_plain_secret_is_the_key_itself(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        due(receiver, now, secret="pläin text")
        deliver_due(now)
        assert receiver.received[0].verified("pläin text".encode())["type"] == "provider.down"

    def test_a_reference_that_only_the_worker_has_is_followed(
        self, receiver: WebhookReceiver, now: datetime.datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOOK_SECRET", SECRET)
        due(receiver, now, secret="", secret_reference="env:HOOK_SECRET")
        deliver_due(now)
        assert receiver.received[0].verified(SECRET)

    def test_slack_gets_its_own_form_unsigned(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        due(receiver, now, format="slack", secret="")
        deliver_due(now)
        (got,) = receiver.received
        assert got.body.startswith(b'{"text":"The provider openai is down')
        assert "webhook-signature" not in got.headers

    def test_mail_goes_to_its_address(
        self, environment: Environment, now: datetime.datetime, mailoutbox: list[Any]
    ) -> None:
        environment(email_url="set")
        webhook = WebhookFactory.create(url="mailto:finance@acme.example", format="email")
        delivery = DeliveryFactory.create(webhook=webhook, next_try_at=now)
        deliver_due(now)
        (mail,) = mailoutbox
        assert mail.to == ["finance@acme.example"]
        assert mail.subject.startswith("[gateway] The provider openai is down")
        assert "reason: timeout" in mail.body
        delivery.refresh_from_db()
        assert (delivery.state, delivery.recipient) == ("delivered", "finance@acme.example")

    def test_what_waits_longest_goes_first(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        webhook = WebhookFactory.create(url=receiver.url, secret=SECRET)
        for seconds in range(3):
            waiting = now - datetime.timedelta(seconds=seconds)
            DeliveryFactory.create(webhook=webhook, next_try_at=waiting)
        oldest = Delivery.objects.get(next_try_at=now - datetime.timedelta(seconds=2))
        assert deliver_due(now, limit=1) == 1
        oldest.refresh_from_db()
        assert oldest.state == "delivered"


class TestWhatFails:
    def _error_of(self, delivery: Delivery, now: datetime.datetime) -> str:
        deliver_due(now)
        delivery.refresh_from_db()
        assert delivery.state == "pending"
        return delivery.error

    def test_a_500_is_tried_again_later_under_the_same_id(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        receiver.answers(500, 200)
        delivery = due(receiver, now)
        assert self._error_of(delivery, now) == "HTTP 500"
        assert delivery.status == 500
        wait = delivery.next_try_at - now
        assert datetime.timedelta(seconds=4) <= wait <= datetime.timedelta(seconds=6)
        assert deliver_due(now + wait / 2) == 0
        assert deliver_due(now + wait) == 1
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts, delivery.error) == ("delivered", 2, "")
        first, second = receiver.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert second.verified(SECRET) == first.verified(SECRET)

    def test_it_is_given_up_after_a_day_and_says_so(
        self,
        receiver: WebhookReceiver,
        now: datetime.datetime,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receiver.answers(503)
        delivery = due(receiver, now)
        clock = now
        while delivery.state == "pending":
            clock = max(clock, delivery.next_try_at)
            deliver_due(clock)
            delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert datetime.timedelta(hours=15) < clock - now <= PATIENCE
        assert delivery.attempts == len(receiver.received) > 10
        assert delivery.error == f"given up after {delivery.attempts} attempts: HTTP 503"
        assert "an alert was not delivered" in caplog.text
        assert deliver_due(clock + PATIENCE) == 0

    def test_gone_is_gone(self, receiver: WebhookReceiver, now: datetime.datetime) -> None:
        receiver.answers(410)
        delivery = due(receiver, now)
        deliver_due(now)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.status) == ("failed", 410)

    def test_a_redirect_is_not_followed(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        receiver.answers(with_status(302, location=f"http://127.0.0.1:{receiver.port}/elsewhere"))
        assert "redirects are not followed" in self._error_of(due(receiver, now), now)
        assert len(receiver.received) == 1

    @pytest.mark.parametrize("script", [after(3, with_status(200)), trickling])
    def test_who_is_slow_times_out(
        self,
        receiver: WebhookReceiver,
        now: datetime.datetime,
        monkeypatch: pytest.MonkeyPatch,
        script: Any,
    ) -> None:
        monkeypatch.setattr(sending, "STEP_SECONDS", 0.3)
        monkeypatch.setattr(sending, "WHOLE_SECONDS", 1.0)
        receiver.answers(script)
        began = time.monotonic()
        assert self._error_of(due(receiver, now), now) == "timed out"
        assert time.monotonic() - began < 2.5

    def test_an_endless_answer_is_not_read(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        receiver.answers(endless)
        delivery = due(receiver, now)
        began = time.monotonic()
        deliver_due(now)
        delivery.refresh_from_db()
        assert (delivery.state, time.monotonic() - began < 2) == ("delivered", True)

    def test_nobody_there(self, receiver: WebhookReceiver, now: datetime.datetime) -> None:
        delivery = due(receiver, now, url="http://127.0.0.1:1/")
        assert self._error_of(delivery, now).startswith("cannot connect")

    def test_a_private_address_is_refused(
        self, receiver: WebhookReceiver, environment: Environment, now: datetime.datetime
    ) -> None:
        environment(allowed_private_hosts=[])
        error = self._error_of(due(receiver, now), now)
        assert error.startswith("127.0.0.1 is at 127.0.0.1, which is not public")
        assert receiver.received == []

    def test_mail_without_a_server_says_what_is_missing(
        self, now: datetime.datetime, mailoutbox: list[Any]
    ) -> None:
        webhook = WebhookFactory.create(url="mailto:finance@acme.example", format="email")
        delivery = DeliveryFactory.create(
            webhook=webhook, next_try_at=now, give_up_at=now + PATIENCE
        )
        assert self._error_of(delivery, now) == "GATEWAY_EMAIL_URL is not set"
        assert mailoutbox == []

    @pytest.mark.parametrize(
        ("secret", "says"),
        [
            ("", "the webhook's secret is not set"),
            ("whsec_no base64", "begins with whsec_ but is no base64"),
        ],
    )
    def test_a_secret_that_cannot_sign(
        self, receiver: WebhookReceiver, now: datetime.datetime, secret: str, says: str
    ) -> None:
        assert says in self._error_of(due(receiver, now, secret=secret), now)

    def test_a_secret_that_does_not_open_holds_up_no_other(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        broken = due(receiver, now)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tenants_webhook SET secret = 'not ours'")
        due(receiver, now, url=f"{receiver.url}/other")
        assert "cannot be decrypted" in self._error_of(broken, now)
        assert len(receiver.received) == 1

    def test_a_webhook_that_is_gone(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        delivery = due(receiver, now)
        Webhook.objects.all().delete()
        deliver_due(now)
        delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert "the webhook is gone" in delivery.error

    def test_no_secret_is_logged_or_kept(
        self,
        receiver: WebhookReceiver,
        now: datetime.datetime,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        receiver.answers(200, 410, with_status(302, location="/very-hidden-path"))
        for number in range(3):
            due(receiver, now, url=f"{receiver.url}{number}", format="slack")
        assert deliver_due(now) == 3
        kept = [str(row) + row.recipient + row.error for row in Delivery.objects.all()]
        for hidden in ("very-hidden", SECRET):
            assert hidden not in caplog.text
            assert hidden not in "".join(kept)


class TestTheClaim:
    @pytest.mark.django_db(transaction=True)
    def test_who_sees_the_same_at_once_sends_it_once(
        self,
        receiver: WebhookReceiver,
        now: datetime.datetime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        look = deliveries._due
        webhook = WebhookFactory.create(url=receiver.url, secret=SECRET)
        for _ in range(8):
            DeliveryFactory.create(webhook=webhook, next_try_at=now)
        tried: list[int] = []
        together = threading.Barrier(4)

        def look_together(*asked: Any) -> list[Delivery]:
            found = look(*asked)
            together.wait()  # everybody has seen all of them, and nobody has claimed one
            return found

        monkeypatch.setattr(deliveries, "_due", look_together)

        def deliver() -> None:
            tried.append(deliver_due(now))
            connection.close()

        threads = [threading.Thread(target=deliver) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(tried) == len(receiver.received) == 8
        assert len({one.headers["webhook-id"] for one in receiver.received}) == 8

    def test_what_a_dead_worker_claimed_is_sent_once_its_lease_is_over(
        self,
        receiver: WebhookReceiver,
        now: datetime.datetime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        delivery = due(receiver, now)
        with monkeypatch.context() as dying:
            dying.setattr("tenants.deliveries.send_all", None)
            with pytest.raises(TypeError):
                deliver_due(now)
        assert deliver_due(now + LEASE / 2) == 0
        assert deliver_due(now + LEASE) == 1
        delivery.refresh_from_db()
        assert (delivery.state, delivery.attempts) == ("delivered", 2)

    def test_no_more_than_asked_for_are_taken(
        self, receiver: WebhookReceiver, now: datetime.datetime
    ) -> None:
        webhook = WebhookFactory.create(url=receiver.url, secret=SECRET)
        for _ in range(AT_ONCE + 1):
            DeliveryFactory.create(webhook=webhook, next_try_at=now)
        assert [deliver_due(now), deliver_due(now), deliver_due(now)] == [AT_ONCE, 1, 0]


class TestTheWait:
    @pytest.mark.parametrize(("attempts", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 640)])
    def test_it_doubles(self, attempts: int, seconds: int) -> None:
        for _ in range(50):
            waited = wait_after(attempts).total_seconds()
            assert seconds * (1 - JITTER) <= waited <= seconds * (1 + JITTER)

    @pytest.mark.parametrize("attempts", [14, 100, 10_000])
    def test_it_has_an_end(self, attempts: int) -> None:
        assert wait_after(attempts) == LONGEST_WAIT


def test_sent_again_it_has_another_day(receiver: WebhookReceiver, now: datetime.datetime) -> None:
    receiver.answers(410, 200)
    delivery = due(receiver, now)
    deliver_due(now)
    later = now + datetime.timedelta(minutes=3)
    assert send_again(Delivery.objects.all(), later) == 1
    assert deliver_due(later) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error) == ("delivered", "")


def test_an_alert_without_deliveries_is_nothing_to_do(now: datetime.datetime) -> None:
    AlertFactory.create()
    assert deliver_due(now) == 0
