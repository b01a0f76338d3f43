"""Settles what dead workers have left: their journals here, and what they hold in Redis."""

import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from billing import ledger
from billing.counters.asks import CountersAway
from billing.counters.blocking import BlockingCounters
from billing.counters.nodes import TAGS
from billing.orphans import entry_of, recover_journals, settler


class Command(BaseCommand):
    help = (
        "Settles expired reservations and records their requests. The gateway does so itself "
        "every few seconds; this is for when it does not run. A worker that has just stopped "
        "renewing its lease is only suspected: sweep again some seconds later."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        url, spool = settings.ENVIRONMENT.redis_url, settings.SPOOL_DIR
        try:
            written = _with_redis(url) if url else recover_journals(spool, (), now=_now())[0]
        except CountersAway as error:
            raise CommandError(f"Redis cannot be swept now: {error}") from None
        self.stdout.write(f"{written} requests of dead workers were settled.")


def _now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.UTC)


def _with_redis(url: str) -> int:
    with BlockingCounters(url) as counters:
        held = {name for tag in TAGS for name in counters.held(tag)}
        written, waiting = recover_journals(settings.SPOOL_DIR, held, now=_now())
        for orphans in counters.sweep(settler(waiting)):
            entries = [entry for orphan in orphans if (entry := entry_of(orphan.entry))]
            ledger.write(entries, {}, now=_now())
            for orphan in orphans:
                counters.committed([orphan.record_id], orphan.tags)
            written += len(orphans)
        return written
