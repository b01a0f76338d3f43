"""Alerts: events written down once, with a delivery for each webhook that asked for them."""

import datetime
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.db import transaction

from tenants.deliveries import new_delivery
from tenants.events import WEBHOOK_TEST, Event, key_expiring
from tenants.models import Alert, Delivery, Key, Webhook

HORIZONS = {"1d": datetime.timedelta(days=1), "7d": datetime.timedelta(days=7)}
"""How long before its end a key is spoken of; the narrowest comes first."""

_AT_ONCE = 500


def record(events: Iterable[Event], now: datetime.datetime) -> int:
    """Writes the events that are not there yet, and their deliveries, which are due at once.
    Returns how many are new. One without a tenant goes to the gateway's own webhooks."""
    grouped: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.identity[:2]].append(event)
    return sum(
        _record(event, now)
        for group in grouped.values()
        for start in range(0, len(group), _AT_ONCE)
        for event in _unknown(group[start : start + _AT_ONCE])
    )


def _unknown(events: list[Event]) -> Iterator[Event]:
    """Those of one tenant and one name that are not written down."""
    tenant, name, _ = events[0].identity
    keys = [event.identity[2] for event in events]
    rows = Alert.objects.filter(tenant=tenant, name=name, key__in=keys)
    known = set(rows.order_by().values_list("key", flat=True))
    return (event for event in events if event.identity[2] not in known)


def _record(event: Event, now: datetime.datetime) -> bool:
    tenant, name, key = event.identity
    with transaction.atomic():
        alert, is_new = Alert.objects.get_or_create(
            tenant=tenant,
            name=name,
            key=key,
            defaults={"happened_at": event.happened_at, "data": dict(event.data)},
        )
        if is_new:
            Delivery.objects.bulk_create(
                new_delivery(alert, webhook, now) for webhook in _listening(event)
            )
    return is_new


def _listening(event: Event) -> list[Webhook]:
    owner = {"tenant__name": event.tenant} if event.tenant else {"tenant": None}
    webhooks = Webhook.objects.filter(**owner)
    return [webhook for webhook in webhooks.defer("secret") if event.name in webhook.events]


def record_test(webhook: Webhook, now: datetime.datetime) -> Delivery:
    """A test event for this webhook alone, whatever it asked for."""
    with transaction.atomic():
        alert = Alert.objects.create(
            name=WEBHOOK_TEST,
            tenant=webhook.tenant.name if webhook.tenant else "",
            key=uuid.uuid4().hex,
            happened_at=now,
        )
        delivery = new_delivery(alert, webhook, now)
        delivery.save()
    return delivery


def expiring(now: datetime.datetime) -> int:
    """Raises `key.expiring` for keys that end soon and that nobody has revoked or replaced. Returns
    how many were new. A key that is first seen within a day of its end is spoken of once."""
    keys = Key.objects.filter(
        expires_at__gt=now,
        expires_at__lte=now + max(HORIZONS.values()),
        revoked_at=None,
        key=None,  # no other replaces it
    )
    rows = keys.select_related("tenant", "project").order_by("expires_at")
    return record((_expiring(key, now) for key in rows.iterator(_AT_ONCE)), now)


def _expiring(key: Key, now: datetime.datetime) -> Event:
    left = key.expires_at - now
    return key_expiring(
        tenant=key.tenant.name,
        key_id=key.key_id,
        name=key.name,
        project=key.project.name if key.project else "",
        expires_at=key.expires_at,
        within=next(name for name, length in HORIZONS.items() if left <= length),
        now=now,
    )
