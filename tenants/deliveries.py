"""The outbox: deliveries that are due are claimed, sent, and noted.

A claim is one conditional update, so that two workers never send the same one at a time. It puts
the delivery out of reach for LEASE: should the worker die, somebody tries again then. What fails
is tried again after 5 s, 10 s, 20 s … up to 6 h, and given up after a day.
"""

import asyncio
import datetime
import os
import random

import structlog
from django.db.models import F, QuerySet
from django.utils import timezone

from routing.secrets import SecretUnreadable
from tenants.events import Event
from tenants.models import Alert, Delivery, Webhook
from tenants.sending import Letter, Outcome, send_all

log = structlog.get_logger("gateway.alerts")

AT_ONCE = 20
"""Deliveries that one call sends, side by side."""

LEASE = datetime.timedelta(minutes=2)
FIRST_WAIT = datetime.timedelta(seconds=5)
LONGEST_WAIT = datetime.timedelta(hours=6)
JITTER = 0.2
PATIENCE = datetime.timedelta(hours=24)

_DOUBLINGS = 13
"""5 s doubled as often is longer than LONGEST_WAIT."""


def new_delivery(alert: Alert, webhook: Webhook, now: datetime.datetime) -> Delivery:
    """Not saved yet; due at once."""
    return Delivery(
        alert=alert,
        webhook=webhook,
        recipient=webhook.place,
        next_try_at=now,
        give_up_at=now + PATIENCE,
    )


def send_again(deliveries: QuerySet[Delivery], now: datetime.datetime) -> int:
    """Makes deliveries due, with a day before them, whatever became of them. Returns how many."""
    return deliveries.update(
        state=Delivery.State.PENDING,
        attempts=0,
        error="",
        delivered_at=None,
        next_try_at=now,
        give_up_at=now + PATIENCE,
    )


def deliver_due(now: datetime.datetime, limit: int = AT_ONCE) -> int:
    """Sends what is due, the longest waiting first, and notes how it went. Returns how many were
    tried: `limit` means that there may be more. Not for a thread that runs an event loop."""
    claimed = [delivery for delivery in _due(now, limit) if _claim(delivery, now)]
    if claimed:
        outcomes = asyncio.run(send_all([_letter(delivery, now) for delivery in claimed]))
        for delivery, outcome in zip(claimed, outcomes, strict=True):
            _note(delivery, outcome, now)
    return len(claimed)


def wait_after(attempts: int) -> datetime.timedelta:
    """How long to wait after so many attempts, a little more or less by chance: those who failed
    together do not all come back together."""
    doubled = FIRST_WAIT * (1 << min(attempts - 1, _DOUBLINGS))
    spread = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  (no secret)
    return min(doubled * spread, LONGEST_WAIT)


def _due(now: datetime.datetime, limit: int) -> list[Delivery]:
    pending = Delivery.objects.filter(state=Delivery.State.PENDING, next_try_at__lte=now)
    rows = pending.select_related("alert", "webhook").defer("webhook__secret")
    return list(rows.order_by("next_try_at", "pk")[:limit])


def _claim(delivery: Delivery, now: datetime.datetime) -> bool:
    mine = Delivery.objects.filter(
        pk=delivery.pk, state=Delivery.State.PENDING, next_try_at=delivery.next_try_at
    )
    if not mine.update(next_try_at=now + LEASE, attempts=F("attempts") + 1):
        return False
    delivery.next_try_at = now + LEASE
    delivery.attempts += 1
    return True


def _letter(delivery: Delivery, now: datetime.datetime) -> Letter | Outcome:
    """What to send, or why there is nothing to be sent."""
    alert, webhook = delivery.alert, delivery.webhook
    if webhook is None:
        return Outcome("the webhook is gone", is_final=True)
    try:
        secret = _secret(webhook)
    except SecretUnreadable:
        return Outcome("the webhook's secret cannot be decrypted")
    return Letter(
        format=webhook.format,
        url=webhook.url,
        secret=secret,
        message_id=f"msg_{alert.pk.hex}",
        sent_at=now,
        event=event_of(alert),
    )


def event_of(alert: Alert) -> Event:
    return Event(alert.name, alert.tenant, alert.key, alert.happened_at, alert.data)


def _secret(webhook: Webhook) -> str:
    """The deferred secret, opened only now: one that cannot be read holds up no other. An `env:`
    that was not set when the configuration was applied may be set here."""
    reference = webhook.secret_reference
    if not webhook.secret and reference.startswith("env:"):
        return os.environ.get(reference.removeprefix("env:"), "")
    return webhook.secret


def _note(delivery: Delivery, outcome: Outcome, now: datetime.datetime) -> None:
    row = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PENDING)
    if not outcome.error:
        done = Delivery.State.DELIVERED
        row.update(state=done, status=outcome.status, error="", delivered_at=timezone.now())
        return
    next_try_at = now + wait_after(delivery.attempts)
    if not outcome.is_final and next_try_at <= delivery.give_up_at:
        # Only while the claim stands: who took over after it notes the attempt himself.
        row.filter(next_try_at=delivery.next_try_at).update(
            next_try_at=next_try_at, status=outcome.status, error=outcome.error
        )
        return
    said = f"given up after {delivery.attempts} attempts: {outcome.error}"[:200]
    row.update(state=Delivery.State.FAILED, status=outcome.status, error=said)
    log.warning(
        "an alert was not delivered",
        alert=delivery.alert.name,
        tenant=delivery.alert.tenant,
        recipient=delivery.recipient,
        error=said,
    )
