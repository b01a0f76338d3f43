"""One thread for each worker, beside the event loop: writes the alerts that the hot path raises,
sends what is due, and looks for keys that end soon. A slow webhook holds up other alerts at most.
"""

import threading
import time
from collections import deque

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from tenants.alerts import expiring, record
from tenants.deliveries import AT_ONCE, deliver_due
from tenants.events import Event

log = structlog.get_logger("gateway.alerts")

LOOK_SECONDS = 1.0
EXPIRING_SECONDS = 120.0
MOST_WAITING = 1000
"""Alerts held in memory until they are written; more are dropped."""

MOST_REMEMBERED = 10_000
"""Alerts known to have been raised, so that a storm of one costs nothing."""

SECONDS_TO_STOP = 15.0


class AlertThread:
    """One per worker. `raise_alert` may be called from any thread; the rest belongs to the life of
    the worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._waiting: deque[Event] = deque()
        self._raised: dict[tuple[str, str, str], None] = {}
        self._dropping = False
        self._problem = ""
        self._look_for_keys_at = 0.0
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def raise_alert(self, event: Event) -> None:
        """Never blocks and never fails. The same alert again is nothing new; one too many is
        dropped, with a line in the log."""
        with self._lock:
            if event.identity in self._raised:
                return
            if len(self._waiting) >= MOST_WAITING:
                if not self._dropping:
                    log.error("too many alerts wait; more are dropped", alert=event.name)
                self._dropping = True
                return
            if len(self._raised) >= MOST_REMEMBERED:
                del self._raised[next(iter(self._raised))]
            self._raised[event.identity] = None
            self._waiting.append(event)
        self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Writes what waits; what is being sent has its time to end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_STOP)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            self._work()
        connection.close()

    def _work(self) -> None:
        """One turn. Whatever goes wrong, there is a next one."""
        try:
            self._write()
            if time.monotonic() >= self._look_for_keys_at:
                expiring(timezone.now())
                self._look_for_keys_at = time.monotonic() + EXPIRING_SECONDS
            more = True
            while more and not self._stopping.is_set():
                more = deliver_due(timezone.now()) == AT_ONCE
                self._write()
            self._problem = ""
        except (OperationalError, InterfaceError) as error:
            self._note("alerts wait: the database is away", str(error))
            connection.close()
        except Exception as error:  # noqa: BLE001
            self._note("alerts wait", repr(error))

    def _write(self) -> None:
        """Those that wait, oldest first. One that cannot be written holds up no other."""
        while self._waiting:
            event = self._waiting[0]
            try:
                record([event], timezone.now())
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                log.exception("an alert was refused", alert=event.name, tenant=event.tenant)
            self._waiting.popleft()
        self._dropping = False

    def _note(self, problem: str, detail: str) -> None:
        """Says once what is wrong."""
        if problem != self._problem:
            log.error(problem, detail=detail)
        self._problem = problem
