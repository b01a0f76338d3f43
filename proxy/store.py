"""The only door between the event loop and the database.

Reading: one immutable Snapshot, swapped whole when a revision has moved; polled, and looked at once
more when a credential or an alias is unknown, so that what was just created works at once. With the
database away the last good snapshot serves.

Writing: settled records go to the journal at once (see billing/journal.py) and to the database in
batches from a thread of its own. With the database away they wait, in memory up to a bound and in
the journal in any case.
"""

import asyncio
import datetime
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
)

from billing import journal, ledger
from billing.budgets import Period, Purse
from billing.counters.asks import GATEWAY_TAG, Counters, CountersAway, tenant_tag
from billing.explain import Request
from billing.limits import Limit
from billing.rebuild import adjusted_lately, settled_in, used_lately
from billing.records import AttemptRow, Entry, Record
from billing.requests import Sight, find, named
from billing.scopes import Scope
from billing.usage import Summary, summarise
from proxy.errors import StoreUnavailable
from proxy.recovery import Recovery
from proxy.snapshot import Snapshot, read_snapshot
from routing.sharing import Sharing
from tenants import revisions
from tenants.alert_thread import AlertThread
from tenants.events import Event

log = structlog.get_logger("gateway.store")

POLL_SECONDS = 0.25
WRITE_SECONDS = 0.1
CATCH_UP_SECONDS = 0.05
WAITING_RECORDS = 50_000
"""Records held in memory while the database is away; more wait in the journal alone."""

RETRY_SECONDS = 1.0
RECOVER_SECONDS = 3.0

T = TypeVar("T")
Waiting = tuple[journal.Segment, Entry]


def _write(batch: list[Waiting], refusals: ledger.Refusals) -> None:
    """Writes a batch whole; where one of its rows is refused, the others all the same."""
    now = datetime.datetime.now(tz=datetime.UTC)
    entries = [entry for _, entry in batch]
    try:
        ledger.write(entries, refusals, now=now)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("a batch of records was refused; its rows are written one by one")
        for entry in entries:
            try:
                ledger.write([entry], {}, now=now)
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                log.exception("a record was refused", record=msgspec.to_builtins(entry))


def _close_connection() -> None:
    """In the thread that opened it: `connection` is another one in each."""
    connection.close()


class Store:
    """One per worker. `start` and `stop` belong to the ASGI lifespan."""

    def __init__(
        self, *, spool: Path, counters: Counters, sharing: Sharing, insists: bool = True
    ) -> None:
        """`insists` on counters that cannot be lost by a setting of their store."""
        self._spool, self._insists = spool, insists
        self.counters, self.sharing = counters, sharing
        self._snapshot: Snapshot | None = None
        self._threads = {
            name: ThreadPoolExecutor(1, thread_name_prefix=f"store-{name}")
            for name in ("read", "write")
        }
        self._journal: journal.Journal | None = None
        self._waiting: list[Waiting] = []
        self._writing: list[Waiting] = []
        """The batch that is on its way into the database."""
        self._refusals: Counter[tuple[str, str, str]] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._looked_at = 0.0
        self._next_look: asyncio.Task[None] | None = None
        self._failing = False
        self._stopping = asyncio.Event()
        self._alerts = AlertThread()
        self._recovery = Recovery(spool, counters, lambda call: self._in_thread("write", call))
        self.problem = "the first snapshot is being read"
        """What is wrong with the database now; empty when nothing is."""

    @property
    def snapshot(self) -> Snapshot:
        """Raises StoreUnavailable until the first snapshot has been read."""
        if self._snapshot is None:
            raise StoreUnavailable("The gateway is starting.", retry_after=1)
        return self._snapshot

    @property
    def is_ready(self) -> bool:
        """Once a snapshot has been read and the counters have answered; that snapshot serves on."""
        return self._snapshot is not None and not self.counters.problem

    @property
    def waiting(self) -> int:
        """Settled records that are not in the database yet."""
        return len(self._waiting)

    def state(self) -> dict[str, Any]:
        """For operators: what is wrong, what is loaded, what waits."""
        revisions = dict(self._snapshot.revisions) if self._snapshot else {}
        reasons = [reason for reason in (self.problem, self.counters.problem) if reason]
        return {"reasons": reasons, "revisions": revisions, "records_waiting": self.waiting}

    # ---- life

    async def start(self) -> None:
        """Opens the journal, writes what dead workers left, reads the first snapshot."""
        self._journal = journal.Journal(self._spool)
        await self.counters.start(insist=self._insists)
        await self.sharing.start()
        await self._look()
        await self._recover()
        self._tasks = [
            asyncio.create_task(self._poll(), name="store-poll"),
            asyncio.create_task(self._write_in_turn(), name="store-write"),
        ]
        self._alerts.start()

    async def stop(self) -> None:
        """Writes what waits, and leaves to the journal what cannot be written."""
        self._stopping.set()
        # A batch on its way into the database is waited for, or its journal would stay behind.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._flush()
        await self.sharing.stop()
        await self.counters.stop()
        await asyncio.to_thread(self._alerts.stop)
        if self._journal is not None:
            self._journal.close()
        for threads in self._threads.values():
            threads.submit(_close_connection).result()
            threads.shutdown()

    async def _in_thread(self, name: str, call: Callable[[], T]) -> T:
        def run() -> T:
            try:
                return call()
            except (OperationalError, InterfaceError):
                # The next call begins with a fresh connection; while all is well, one is kept.
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._threads[name], run)

    # ---- reading

    async def _look(self) -> None:
        """Reads the snapshot again if a revision has moved; keeps the last one on failure."""
        last = self._snapshot
        try:
            self._snapshot = await self._in_thread("read", lambda: read_snapshot(last))
            await self._hear_of_adjustments(last, self._snapshot)
            self.problem = ""
        except (DatabaseError, InterfaceError) as error:
            self._note(f"the database cannot be read: {type(error).__name__}", str(error))
        except Exception as error:  # noqa: BLE001  (whatever is stored, what was good serves on)
            self._note("the configuration cannot be read", repr(error))
        self._looked_at = time.monotonic()

    async def _hear_of_adjustments(self, last: Snapshot | None, new: Snapshot) -> None:
        """Whoever adjusted a budget made its counter say what it did not count: it is rebuilt."""
        name = revisions.ADJUSTMENTS
        if last is not None and last.revisions.get(name) != new.revisions.get(name):
            await self.counters.forget(await self._in_thread("read", adjusted_lately))

    def _note(self, problem: str, detail: str) -> None:
        """Says once what is wrong; the last snapshot, if there is one, serves on."""
        if problem != self.problem:
            log.error(problem, detail=detail, serves_last_snapshot=self.is_ready)
        self.problem = problem

    async def _poll(self) -> None:
        while not await self._stops_within(POLL_SECONDS):
            await self._look()

    async def _stops_within(self, seconds: float) -> bool:
        """Sleeps, but not beyond the end."""
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    async def catch_up(self) -> Snapshot:
        """The snapshot after a look that began after this call: what its caller has just created is
        seen. All who ask at the same time share one, and CATCH_UP_SECONDS lie between two: an
        unknown name costs the database little."""
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_soon())
        await asyncio.shield(self._next_look)
        return self.snapshot

    async def _look_soon(self) -> None:
        await asyncio.sleep(self._looked_at + CATCH_UP_SECONDS - time.monotonic())
        self._next_look = None  # who asks from here on may know of something newer
        await self._look()

    async def usage(
        self, *, start: datetime.datetime, end: datetime.datetime, by: str, tenant: str
    ) -> Summary:
        """A tenant's own usage, as `GET /v1/usage` answers it."""
        try:
            return await self._in_thread(
                "read", lambda: summarise(start=start, end=end, by=by, tenant=tenant)
            )
        except (DatabaseError, InterfaceError) as error:
            raise StoreUnavailable("The usage cannot be read now.", retry_after=5) from error

    async def request(self, name: str, sight: Sight) -> Request | None:
        """What became of a request that was settled by this worker, or is in the database. Raises
        StoreUnavailable."""
        held = (entry for _, entry in (*self._waiting, *self._writing))
        waiting = named(name, held, sight)
        try:
            return await self._in_thread("read", lambda: find(name, sight, waiting))
        except (DatabaseError, InterfaceError) as error:
            raise StoreUnavailable("Requests cannot be looked up now.", retry_after=5) from error

    async def used(
        self,
        rule: Limit | Purse,
        scope: Scope,
        period: Period | None,
        *,
        key: str,
        apart_from: Collection[str],
    ) -> int:
        """What the records say that a cold counter should hold. Raises StoreUnavailable."""

        def read() -> int:
            if isinstance(rule, Limit):
                return used_lately(rule, scope, apart_from=apart_from)
            assert period is not None
            return settled_in(rule, scope, period, key=key, apart_from=apart_from)

        try:
            return await self._in_thread("read", read)
        except (DatabaseError, InterfaceError) as error:
            raise StoreUnavailable(
                "What limits and budgets have left cannot be read now.", retry_after=1
            ) from error

    # ---- writing

    def admit(self, record: Record, attempts: list[AttemptRow]) -> journal.Segment:
        """Durable before the upstream is called. Raises StoreUnavailable when it cannot be."""
        assert self._journal is not None
        try:
            return self._journal.admit(record, attempts)
        except OSError as error:
            log.error("the journal cannot be written; requests are refused", error=str(error))
            raise StoreUnavailable(
                "The gateway cannot record requests now.", retry_after=5
            ) from error

    def line(self, record: Record, attempts: list[AttemptRow], *, settled: bool = False) -> bytes:
        """What the journal will say of a request that is admitted now, or of its copy."""
        return journal.line_of(Entry(settled, record, attempts))

    def add(self, entry: Entry) -> tuple[journal.Segment, bytes]:
        """Durable before a copy of a settled request is sent; returns where, and the line. Raises
        StoreUnavailable."""
        assert self._journal is not None
        try:
            return self._journal.add(entry)
        except OSError as error:
            raise StoreUnavailable("The gateway cannot record copies now.") from error

    def amend(self, segment: journal.Segment, record: Record, attempts: list[AttemptRow]) -> None:
        """What the record would be, now that another target is tried."""
        assert self._journal is not None
        try:
            self._journal.amend(segment, record, attempts)
        except OSError as error:
            log.error("the journal cannot be amended", error=str(error))

    def settle(self, segment: journal.Segment, entry: Entry) -> bytes:
        """Durable before the last byte leaves; returns the line. A journal that fails now leaves
        the record in memory, from where it reaches the database with the next batch."""
        assert self._journal is not None
        try:
            return self._journal.settle(segment, entry)
        except OSError as error:
            log.error("the journal cannot be written", error=str(error))
            return journal.line_of(entry)

    def enqueue(self, segment: journal.Segment, entry: Entry) -> None:
        """For the next batch into the database."""
        self._waiting.append((segment, entry))

    def drop(self, segment: journal.Segment) -> None:
        """Somebody else wrote this request's record: the journal need not keep it."""
        assert self._journal is not None
        self._journal.committed([segment])

    def count_refusal(self, *, tenant: str, key_id: str, code: str) -> None:
        """One request refused before it cost anything."""
        self._refusals[tenant, key_id, code] += 1

    def raise_alert(self, event: Event) -> None:
        """Never blocks: a thread of its own writes and delivers it."""
        self._alerts.raise_alert(event)

    async def _write_in_turn(self) -> None:
        recovered_at = time.monotonic()
        while not await self._stops_within(WRITE_SECONDS):
            await self._flush()
            if time.monotonic() - recovered_at >= RECOVER_SECONDS:
                await self._recover()
                recovered_at = time.monotonic()

    async def _flush(self) -> None:
        if not self._waiting and not self._refusals:
            return
        batch, self._waiting = self._waiting, []
        self._writing = batch
        refusals, self._refusals = self._refusals, Counter()
        try:
            await self._in_thread("write", lambda: _write(batch, refusals))
        except (OperationalError, InterfaceError) as error:
            if not self._failing:
                log.error("records wait: the database cannot be written", error=str(error))
            self._failing = True
            self._waiting, self._writing = batch + self._waiting, []
            self._refusals.update(refusals)
            self._keep_in_bounds()
            await asyncio.sleep(RETRY_SECONDS)
            return
        self._failing, self._writing = False, []
        assert self._journal is not None
        self._journal.committed([segment for segment, _ in batch])
        await self._tell_committed([entry for _, entry in batch])

    async def _tell_committed(self, entries: list[Entry]) -> None:
        """The counters need not remember what the database tells from now on."""
        try:
            await self.counters.committed(
                {entry.hold_id for entry in entries},
                {GATEWAY_TAG, *(tenant_tag(entry.record.tenant) for entry in entries)},
            )
        except CountersAway as error:
            log.warning("holds of written records stay for a while", error=str(error))

    def _keep_in_bounds(self) -> None:
        """What is over the bound stays in the journal alone, for the next start to recover."""
        over = len(self._waiting) - WAITING_RECORDS
        if over > 0:
            log.error("records wait in the journal alone", records=over)
            del self._waiting[:over]

    async def _recover(self) -> None:
        """What dead workers left. Failing that, the next turn will."""
        try:
            await self._recovery.run()
        except (DatabaseError, InterfaceError, OSError, CountersAway) as error:
            log.error("what dead workers left waits", error=str(error))
        except Exception:
            log.exception("what dead workers left cannot be read")
