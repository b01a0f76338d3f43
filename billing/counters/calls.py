"""Calls to one Redis server: gathered into pipelines, with a deadline, behind a breaker.

One batch is under way at a time; calls that are made meanwhile gather for the next. A call costs
half as much that way, and under load even less.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from billing.counters.asks import CountersAway
from billing.counters.scripts import Scripts
from billing.counters.tally import Tally

log = logging.getLogger(__name__)

SECONDS_TO_CONNECT = 1.0
SECONDS_BETWEEN_PROBES = 0.25
FAILURES_TO_OPEN = 5
SECONDS_OF_PATIENCE = 1.0
"""For scripts that look through all holds of a tag, and do not hold up a request."""

_ELSEWHERE = (AskError, TryAgainError, ClusterDownError, ReadOnlyError)


class Unanswered(CountersAway):
    """The call was sent: it may take effect yet."""


class OtherServer(CountersAway):
    """Another server answers than the one that the call was meant for. It was not sent."""


class _Batch:
    __slots__ = ("calls", "futures", "patient", "sent", "timer")

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.patient: set[asyncio.Future[Any]] = set()
        self.sent = False
        self.timer: asyncio.TimerHandle | None = None


class Line:
    """The way to one server. `run_id` tells it from the one that takes its place; `on_change` is
    called, before anything else is sent, when another one answers."""

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        scripts: Scripts,
        *,
        deadline: float,
        tally: Tally,
        on_change: Callable[["Line"], None],
    ) -> None:
        self._connect, self._scripts = connect, scripts
        self._deadline, self._tally, self._on_change = deadline, tally, on_change
        self.run_id = ""
        self.facts: dict[str, str] = {}
        """What INFO said on connecting."""
        self._connection: AbstractConnection | None = None
        self._gathering: _Batch | None = None
        self._under_way: _Batch | None = None
        self._pump: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._failures = 0
        self._asking: tuple[_Batch | None, asyncio.Future[Any]] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at once (the breaker's word for it)."""
        return self._probe is not None

    # ---- calling

    def script(
        self, name: str, keys: tuple[bytes, ...], *arguments: Any, patient: bool = False
    ) -> asyncio.Future[Any]:
        digest = self._scripts.digests[name]
        return self.call("EVALSHA", digest, len(keys), *keys, *arguments, patient=patient)

    def call(self, *command: Any, patient: bool = False) -> asyncio.Future[Any]:
        """Raises CountersAway at once while the breaker is open; the future may raise it, too."""
        if self._probe is not None:
            self._tally.refused_at_once += 1
            raise CountersAway("the breaker is open")
        loop = asyncio.get_running_loop()
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _Batch()
            batch.timer = loop.call_later(self._deadline, self._expire, batch)
            if self._pump is None:
                self._pump = loop.create_task(self._run())
        future = loop.create_future()
        batch.calls.append(_packed(command))
        batch.futures.append(future)
        if patient:
            batch.patient.add(future)
        self._tally.calls += 1
        return future

    # ---- the pump

    async def _run(self) -> None:
        error: Exception | None = None
        batch: _Batch | None = None
        try:
            if self._connection is None:
                self._connection = await self._reconnected()
            while (batch := self._gathering) is not None:
                self._gathering, self._under_way = None, batch
                await self._exchange(self._connection, batch)
                self._done(batch)
            self._failures = 0
        except asyncio.CancelledError:
            error = CountersAway("no answer in time")
        except (RedisError, OSError, TimeoutError) as reason:
            error = reason
        finally:
            self._under_way = None
            if error is not None:
                await self._drop()
                self._fail(batch or self._gathering, error)
            self._pump = None
            self._go_on()

    def _go_on(self) -> None:
        if self._gathering is not None and self._pump is None and self._probe is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    async def _reconnected(self) -> AbstractConnection:
        before = self.run_id
        connection = await self._connected()
        batch = self._gathering
        if before and before != self.run_id and batch is not None:
            self._gathering = None
            self._finish(batch, OtherServer("another server took its place"))
        return connection

    async def _connected(self) -> AbstractConnection:
        connection = self._connect()
        try:
            async with asyncio.timeout(SECONDS_TO_CONNECT):
                await connection.connect()
                greeting = [
                    ("INFO",),
                    *(("SCRIPT", "LOAD", text) for text in self._scripts.sources),
                ]
                packed = b"".join(_packed(words) for words in greeting)
                await connection.send_packed_command(packed, check_health=False)
                info = await connection.read_response()
                for _ in self._scripts.sources:
                    await connection.read_response()
        except BaseException:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
            raise
        self._tally.connections += 1
        self._learn(info)
        return connection

    def _learn(self, info: bytes) -> None:
        lines = info.decode(errors="replace").split("\r\n")
        self.facts = dict(line.split(":", 1) for line in lines if ":" in line)
        run_id = self.facts["run_id"]
        if run_id != self.run_id:
            self.run_id = run_id
            self._on_change(self)

    async def learn(self) -> str:
        """Asks the server who it is, again: once for all who ask in the same batch."""
        if self._asking is None or self._asking[0] is not self._gathering:
            future = self.call("INFO", patient=True)
            self._asking = (self._gathering, future)
            self._learn(await future)
        else:
            await asyncio.shield(self._asking[1])
        return self.run_id

    async def _exchange(self, connection: AbstractConnection, batch: _Batch) -> None:
        batch.sent = True
        await connection.send_packed_command(batch.calls, check_health=False)
        self._tally.batches += 1
        lost = []
        for index, future in enumerate(batch.futures):
            try:
                reply = await connection.read_response()
            except NoScriptError:
                lost.append(index)
                continue
            except ResponseError as reason:
                if not future.done():
                    future.set_exception(_translated(reason))
                if isinstance(reason, ReadOnlyError):
                    raise
                continue
            if not future.done():
                future.set_result(reply)
        if lost:
            await self._reload(connection)
            again = _Batch()
            again.calls = [batch.calls[index] for index in lost]
            again.futures = [batch.futures[index] for index in lost]
            await self._exchange(connection, again)

    async def _reload(self, connection: AbstractConnection) -> None:
        self._tally.reloads += 1
        loads = [_packed(("SCRIPT", "LOAD", text)) for text in self._scripts.sources]
        await connection.send_packed_command(loads, check_health=False)
        for _ in loads:
            await connection.read_response()

    # ---- failing

    def _done(self, batch: _Batch) -> None:
        self._under_way = None
        self._failures = 0
        if batch.timer is not None:
            batch.timer.cancel()

    def _expire(self, batch: _Batch) -> None:
        """The deadline of a batch's first call, or its patience, is over."""
        if batch is self._gathering:
            self._gathering = None
            self._fail(batch, CountersAway("no answer in time"))
        elif batch is self._under_way and self._pump is not None:
            waiting = {future for future in batch.patient if not future.done()}
            if waiting and batch.timer is not None:
                patience, batch.timer = SECONDS_OF_PATIENCE, None
                loop = asyncio.get_running_loop()
                loop.call_later(patience, self._expire, batch)
                _give_up(set(batch.futures) - waiting, Unanswered("no answer in time"))
            else:
                self._pump.cancel()

    def _fail(self, batch: _Batch | None, error: Exception) -> None:
        self._tally.failures += 1
        self._failures += 1
        if batch is not None:
            if batch is self._gathering:
                self._gathering = None
            kind = Unanswered if batch.sent else CountersAway
            self._finish(batch, kind(f"Redis: {error}"))
        if self._failures >= FAILURES_TO_OPEN and self._probe is None:
            self._open(error)

    def _finish(self, batch: _Batch, error: CountersAway) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        _give_up(batch.futures, error)

    def _open(self, error: Exception) -> None:
        log.error("Redis is away (%s); trying again in the background", error)
        self._tally.breaker_opened += 1
        self._probe = asyncio.get_running_loop().create_task(self._probing())
        gathered, self._gathering = self._gathering, None
        if gathered is not None:
            self._fail(gathered, error)
        if self._pump is not None:
            self._pump.cancel()

    async def _probing(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_PROBES)
            try:
                connection = await self._connected()
            except (RedisError, OSError, TimeoutError):
                continue
            await self._drop()
            self._connection, self._failures, self._probe = connection, 0, None
            log.info("Redis is back")
            return

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


def _packed(command: tuple[Any, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)
    return packed


def _give_up(futures: Iterable[asyncio.Future[Any]], error: CountersAway) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _translated(error: ResponseError) -> Exception:
    """A cluster's redirections are for whoever knows the way; the rest is Redis being away."""
    if isinstance(error, MovedError):
        return error
    if not isinstance(error, _ELSEWHERE):
        log.error("Redis refuses a call: %s", error)
    return CountersAway(f"Redis: {error}")
