"""What dead workers left behind: journals in the spool, and with Redis their holds.

A hold decides: whoever settles it first says what the request came to, so counters and records
agree. A journal whose requests are held still therefore waits until they have been swept, and the
sweep asks the journals at hand first, because they may know more than the hold.
"""

import datetime
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from billing import journal, ledger
from billing.counters.asks import Counters, Orphan
from billing.counters.nodes import TAGS
from billing.orphans import entry_of, recover_journals, settler
from billing.records import Entry

log = structlog.get_logger("gateway.recovery")

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Recovery:
    """`in_thread` runs what writes to the database."""

    def __init__(self, spool: Path, counters: Counters, in_thread: InThread) -> None:
        self._spool, self._counters, self._in_thread = spool, counters, in_thread
        self._journalled: dict[str, Entry] = {}
        """Final entries in journals of the dead that wait for a sweep."""

    async def run(self) -> None:
        """Raises database errors and CountersAway; what was not done is done the next time."""
        await self._journals()
        async for orphans in self._counters.sweep(settler(self._journalled)):
            await self._write(orphans)

    async def _journals(self) -> None:
        held = await self._held()
        now = datetime.datetime.now(tz=datetime.UTC)
        found, self._journalled = await self._in_thread(
            lambda: recover_journals(self._spool, held, now=now)
        )
        if found:
            log.warning("recovered what a dead worker left", requests=found)

    async def _held(self) -> set[str]:
        """The record ids of all holds; nobody holds anything where they die with their worker."""
        if not self._counters.keeps_entries or not journal.has_orphans(self._spool):
            return set()
        return {name for tag in TAGS for name in await self._counters.held(tag)}

    async def _write(self, orphans: Sequence[Orphan]) -> None:
        entries = [entry for orphan in orphans if (entry := entry_of(orphan.entry))]
        now = datetime.datetime.now(tz=datetime.UTC)
        await self._in_thread(lambda: ledger.write(entries, {}, now=now))
        for orphan in orphans:
            await self._counters.committed([orphan.record_id], orphan.tags)
        log.warning("swept what a dead worker held", requests=len(orphans))
