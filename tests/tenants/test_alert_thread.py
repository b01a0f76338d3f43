"""The thread beside the event loop: what the hot path raises is written and sent."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from tenants import alert_thread
from tenants.alert_thread import MOST_REMEMBERED, MOST_WAITING, AlertThread
from tenants.events import Event
from tenants.models import Alert
from tests.factories import NOON, WebhookFactory
from tests.gateway_process import eventually
from tests.webhook_receiver import WebhookReceiver, after, with_status

pytestmark = pytest.mark.django_db(transaction=True)


def event(key: str = "openai", tenant: str = "acme") -> Event:
    return Event("provider.down", tenant, key, NOON, {"provider": "openai"})


@pytest.fixture
def thread() -> Iterator[AlertThread]:
    made = AlertThread()
    yield made
    made.stop()


def test_what_is_raised_arrives_at_once(thread: AlertThread, receiver: WebhookReceiver) -> None:
    WebhookFactory.create(url=receiver.url, events=["provider.down"], secret="a secret")
    thread.start()
    thread.raise_alert(event())
    eventually(lambda: receiver.received or None, within=5)
    assert receiver.received[0].verified(b"a secret")["type"] == "provider.down"


def test_stopping_writes_what_waits_and_waits_for_what_is_sent(
    thread: AlertThread, receiver: WebhookReceiver
) -> None:
    receiver.answers(after(0.5, with_status(204)))
    WebhookFactory.create(url=receiver.url, events=["provider.down"], secret="a secret")
    thread.start()
    thread.raise_alert(event("first"))
    eventually(lambda: receiver.received or None, within=5)
    thread.raise_alert(event("second"))
    thread.stop()
    states = {row.key: row.deliveries.get().state for row in Alert.objects.all()}
    assert states == {"first": "delivered", "second": "pending"}


def test_a_storm_of_one_alert_costs_nothing(thread: AlertThread) -> None:
    began = time.perf_counter()
    for _ in range(100_000):
        thread.raise_alert(event())
    assert time.perf_counter() - began < 2
    assert len(thread._waiting) == 1


def test_too_many_are_dropped_with_one_line(
    thread: AlertThread, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST_WAITING + 10):
        thread.raise_alert(event(str(number)))
    assert len(thread._waiting) == MOST_WAITING
    assert caplog.text.count("more are dropped") == 1
    thread._write()
    thread.raise_alert(event(str(MOST_WAITING)))  # dropped before, so it is not held for known
    assert len(thread._waiting) == 1


def test_what_it_remembers_is_bounded(thread: AlertThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_thread, "MOST_WAITING", 10 * MOST_REMEMBERED)
    for number in range(MOST_REMEMBERED + 5):
        thread.raise_alert(event(str(number)))
    assert len(thread._raised) == MOST_REMEMBERED


def test_alerts_wait_while_the_database_is_away(
    thread: AlertThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> int:
        raise OperationalError("no connection")

    with monkeypatch.context() as outage:
        outage.setattr(alert_thread, "record", away)
        thread.raise_alert(event())
        thread._work()
        thread._work()
    assert caplog.text.count("the database is away") == 1
    assert Alert.objects.count() == 0
    thread._work()
    assert Alert.objects.count() == 1


def test_one_that_cannot_be_written_holds_up_no_other(
    thread: AlertThread, caplog: pytest.LogCaptureFixture
) -> None:
    thread.raise_alert(Event("provider.down", "acme", "odd", NOON, {"x": object()}))  # type: ignore[dict-item]
    thread.raise_alert(event())
    thread._work()
    assert Alert.objects.get().key == "openai"
    assert "an alert was refused" in caplog.text


def test_stopping_one_that_never_started_is_nothing(thread: AlertThread) -> None:
    thread.stop()
