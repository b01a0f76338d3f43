"""Calls to one Redis server: gathered into pipelines, with a deadline, behind a breaker.

One batch is under way at a time; calls that are made meanwhile gather for the next. A call costs
half as much that way, and under load even less.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from billing.counters.asks import CountersAway
from billing.counters.batches import Batch, Future, OtherServer, Unanswered, give_up, translated
from billing.counters.greeting import Connect, facts_of, greeted, load_scripts
from billing.counters.scripts import Scripts
from billing.counters.tally import Tally

log = logging.getLogger(__name__)

SECONDS_BETWEEN_PROBES = 0.25
FAILURES_TO_OPEN = 5
SECONDS_OF_PATIENCE = 1.0
"""For scripts that look through all holds of a tag, and do not hold up a request."""

GRACE = 0.1
"""The part of the deadline that is kept for answers which have come and were not read yet, because
this process was busy with something else."""


class Line:
    """The way to one server. `run_id` tells it from the one that takes its place; `on_change` is
    called, before anything else is sent, when another one answers."""

    def __init__(
        self,
        connect: Connect,
        scripts: Scripts,
        *,
        deadline: float,
        tally: Tally,
        on_change: Callable[["Line"], None],
    ) -> None:
        self._connect, self._scripts = connect, scripts
        self._deadline, self._tally, self._on_change = deadline, tally, on_change
        self.facts: dict[str, str] = {}
        """What INFO said last."""
        self._connection: AbstractConnection | None = None
        self._gathering: Batch | None = None
        self._under_way: Batch | None = None
        self._pump: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._failures = 0
        self._asking: tuple[Batch | None, Future] | None = None

    @property
    def run_id(self) -> str:
        return self.facts.get("run_id", "")

    # ---- calling

    def script(
        self, name: str, keys: tuple[bytes, ...], *arguments: Any, patient: bool = False
    ) -> Future:
        digest = self._scripts.digests[name]
        return self.call("EVALSHA", digest, len(keys), *keys, *arguments, patient=patient)

    def call(self, *command: Any, patient: bool = False) -> Future:
        """Raises CountersAway at once while the breaker is open; the future may raise it, too."""
        if self._probe is not None:
            self._tally.refused_at_once += 1
            raise CountersAway("Redis is known to be away")
        loop = asyncio.get_running_loop()
        batch = self._gathering
        if batch is None:
            batch = self._gathering = Batch()
            batch.timer = loop.call_later(self._deadline * (1 - GRACE), self._expire, batch)
            if self._pump is None:
                self._pump = loop.create_task(self._run())
        future = loop.create_future()
        batch.add(command, future)
        if patient:
            batch.patient.add(future)
        self._tally.calls += 1
        return future

    async def learn(self) -> str:
        """Asks the server who it is, again: once for all who ask in the same batch."""
        if self._asking is None or self._asking[0] is not self._gathering:
            future = self.call("INFO", patient=True)
            self._asking = (self._gathering, future)
            self._learned(facts_of(await future))
        else:
            await asyncio.shield(self._asking[1])
        return self.run_id

    def _learned(self, facts: dict[str, str]) -> None:
        before, self.facts = self.run_id, facts
        if before != self.run_id:
            self._on_change(self)

    # ---- the pump

    async def _run(self) -> None:
        error: Exception | None = None
        batch: Batch | None = None
        try:
            if self._connection is None:
                self._connection = await self._connected()
            while (batch := self._gathering) is not None:
                self._gathering, self._under_way = None, batch
                await self._exchange(self._connection, batch)
                self._under_way, self._failures = None, 0
                batch.finish()
        except asyncio.CancelledError:
            error = CountersAway("no answer in time")
        except Exception as reason:  # noqa: BLE001 - whatever it is, somebody waits
            error = reason
        self._under_way = None
        if error is not None:
            await self._drop()
            self._fail(batch or self._gathering, error)
        self._pump = None
        if self._gathering is not None and self._probe is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _connected(self) -> AbstractConnection:
        before = self.run_id
        connection, facts = await greeted(self._connect, self._scripts)
        self._tally.connections += 1
        self._learned(facts)
        batch = self._gathering
        if batch is not None and before not in ("", self.run_id):
            self._gathering = None
            batch.finish(OtherServer("another server took its place"))
        return connection

    async def _exchange(self, connection: AbstractConnection, batch: Batch) -> None:
        batch.sent = True
        await connection.send_packed_command(batch.calls, check_health=False)
        self._tally.batches += 1
        again = Batch()
        for call, future in zip(batch.calls, batch.futures, strict=True):
            try:
                reply = await connection.read_response()
            except NoScriptError:
                again.calls.append(call)
                again.futures.append(future)
                continue
            except ResponseError as reason:
                if not future.done():
                    future.set_exception(translated(reason))
                if isinstance(reason, ReadOnlyError):  # another server is the master now
                    raise
                continue
            if not future.done():
                future.set_result(reply)
        if again.calls:
            self._tally.reloads += 1
            await load_scripts(connection, self._scripts)
            await self._exchange(connection, again)

    # ---- failing

    def _expire(self, batch: Batch) -> None:
        """The deadline of a batch's first call is over, or nearly, or its patience."""
        loop = asyncio.get_running_loop()
        if not batch.late:
            batch.late = True
            batch.timer = loop.call_later(self._deadline * GRACE, self._expire, batch)
        elif batch is not self._under_way:
            self._fail(batch, CountersAway("no answer in time"))
        elif batch.patient:
            give_up(set(batch.futures) - batch.patient, Unanswered("no answer in time"))
            batch.patient.clear()
            batch.timer = loop.call_later(SECONDS_OF_PATIENCE, self._expire, batch)
        elif self._pump is not None:
            self._pump.cancel()

    def _fail(self, batch: Batch | None, error: Exception) -> None:
        self._tally.failures += 1
        self._failures += 1
        if batch is not None:
            if batch is self._gathering:
                self._gathering = None
            kind = Unanswered if batch.sent else CountersAway
            batch.finish(kind(f"Redis: {error}"))
        if self._failures >= FAILURES_TO_OPEN and self._probe is None:
            self._open(error)

    def _open(self, error: Exception) -> None:
        log.error("Redis is away (%s); trying again in the background", error)
        self._tally.breaker_opened += 1
        self._probe = asyncio.get_running_loop().create_task(self._probing())
        if self._gathering is not None:
            self._fail(self._gathering, error)
        if self._pump is not None:
            self._pump.cancel()

    async def _probing(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_PROBES)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                connection = await self._connected()
                break
        await self._drop()
        self._connection, self._failures, self._probe = connection, 0, None
        log.info("Redis is back")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)

    async def stop(self) -> None:
        """Calls under way are not waited for."""
        for task in (self._probe, self._pump):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._drop()
