"""Counters that many workers share: one script call admits, one settles, whatever the scopes.

On one Redis the counters of a tenant and those of the whole gateway are asked in one call. On a
Redis Cluster they live apart, and are asked one after another: `apart.py`.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

from billing.counters.apart import Apart
from billing.counters.asks import (
    PURSE,
    Admitted,
    Answer,
    Ask,
    CountersAway,
    Hold,
    Orphan,
    SettleOrphan,
    State,
)
from billing.counters.deliveries import Deliveries
from billing.counters.epochs import REGISTER_MS, Epochs
from billing.counters.holds import Holds, Own
from billing.counters.leases import SECONDS_OF_A_LEASE, Leases
from billing.counters.nodes import TAGS, Nodes
from billing.counters.parts import (
    ADMITTED,
    ALREADY,
    GONE,
    bodies_of,
    final_bodies_of,
    in_order,
    spell,
    split,
)
from billing.counters.payloads import EPOCH_DIGITS, SETTLED, used_of
from billing.counters.rebuilding import Rebuilding
from billing.counters.scripts import Scripts, load
from billing.counters.tally import Tally
from billing.counters.together import Together

log = logging.getLogger(__name__)

DEADLINE = 0.050


class EvictionAllowed(Exception):
    """Redis may evict counters; says which setting is to be changed."""


class RedisCounters(Rebuilding):
    keeps_entries = True

    def __init__(
        self,
        url: str,
        *,
        deadline: float = DEADLINE,
        register_ms: int = REGISTER_MS,
        lease: float = SECONDS_OF_A_LEASE,
        scripts: Scripts | None = None,
    ) -> None:
        """`deadline` is in seconds, for each call; `lease`, too, for a worker that does not renew.
        `register_ms` is how long a new epoch waits for the holds of every worker."""
        self.worker = secrets.token_hex(6).encode()
        self.tally = tally = Tally()
        holds = Holds(self.worker)
        self._nodes = Nodes(
            url,
            scripts or load(),
            deadline=deadline,
            tally=tally,
            on_change=lambda tags: self._epochs.doubt(tags),  # noqa: PLW0108 - made below
        )
        epochs = Epochs(self._nodes, holds, tally, register_ms)
        super().__init__(epochs, holds, Deliveries(tally))
        self._together = Together(epochs, holds, self.deliveries)
        self._apart = Apart(epochs, holds, self.deliveries)
        self._leases = Leases(self._nodes, self.worker, lease, tally)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def problem(self) -> str:
        if not self._leases.has_one:
            return "Redis has not answered yet"
        return "; ".join(self.faults())

    async def start(self, *, insist: bool = False) -> None:
        """Does not fail when Redis is away: it may come back. With `insist` a Redis that may evict
        counters is refused: EvictionAllowed."""
        with contextlib.suppress(CountersAway):
            await self._leases.renew()
        for fault in self.faults():
            log.error(fault)
        if insist and self.faults():
            await self._nodes.stop()
            raise EvictionAllowed("; ".join(self.faults()))
        background = (
            *(self._leases.keep(), self._epochs.enter(), self._epochs.watch()),
            self.deliveries.deliver(),
        )
        self._tasks = [asyncio.create_task(steps) for steps in background]
        for task in self._tasks:
            task.add_done_callback(_told)

    def faults(self) -> list[str]:
        """Reasons not to call this ready, although it answers."""
        return self._nodes.faults()

    async def ready(self) -> None:
        """Waits for epochs that begin. Raises CountersAway when they do not."""
        await asyncio.gather(*map(self._epochs.ready, TAGS))

    async def stop(self) -> None:
        """Tells Redis what it must still be told, if it can be within a second."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.deliveries.last(1.0)
        with contextlib.suppress(CountersAway):
            await self._leases.end()
        await self._nodes.stop()

    def sweep(self, settle: SettleOrphan) -> AsyncIterator[list[Orphan]]:
        """Settles what dead workers have held; yields what is to be written to the database, and
        then to be `committed`. Yields nothing while another worker is at it."""
        return self._leases.sweep(settle)

    # ---- requests

    async def admit(self, hold: Hold) -> Answer:
        if not self._leases.has_one:
            await self._leases.renew()
        parts = split(hold.asks, hold.record_id)
        try:
            bodies = bodies_of(hold.asks, parts, (), hold.entry)
        except UnicodeEncodeError:
            spell(hold.asks)
            bodies = bodies_of(hold.asks, parts, (), hold.entry)
        own = Own(hold.record_id, parts, bodies)
        answer = await self._way.admit(own)
        if type(answer) is Admitted:
            self._keep(own)
        return answer

    async def change(self, hold: Hold, used: Sequence[tuple[Ask, int]], asks: list[Ask]) -> Answer:
        own = self._holds.get(hold.record_id)
        if own is None or own.in_doubt:
            raise CountersAway("the hold is gone")
        spell(asks)
        try:
            answer = await self._way.change(own, hold, used, asks)
        except (CountersAway, asyncio.CancelledError):
            own.in_doubt = True
            raise
        self._keep(own)
        return answer

    async def settle(self, hold: Hold, used: Sequence[int]) -> Sequence[int] | None:
        """When it raises CountersAway it will be settled nevertheless, as soon as Redis is back."""
        own = self._holds.get(hold.record_id)
        if own is None:
            return None
        if own.state != SETTLED:
            own.taken = [*own.taken, *used_of(hold.asks, used)]
            own.bodies = final_bodies_of(own.parts, own.taken, hold.entry)
            own.state, own.delivered = SETTLED, False
        try:
            reply = await self._settle(own)
        except (CountersAway, asyncio.CancelledError):
            self.deliveries.add(lambda: self._settle(own))
            raise
        if reply[0] == GONE:
            return None
        if reply[0] == ALREADY or len(reply) != len(hold.asks) + 1:
            states = await self.read(hold.asks)
            return [_level(ask, state) for ask, state in zip(hold.asks, states, strict=True)]
        order = own.parts.order
        return reply[1:] if order is None else in_order(reply[1:], order)

    async def _settle(self, own: Own) -> list[Any]:
        reply = await self._way.settle(own)
        own.delivered = True
        if reply[0] not in (ADMITTED, ALREADY):
            self._holds.drop(own.record_id)
        elif own.in_database:
            await self.committed([own.record_id], ())
        return reply

    async def release(self, hold: Hold) -> None:
        own = self._holds.get(hold.record_id)
        if own is None:
            return
        self._holds.drop(own.record_id)
        try:
            await self._way.cancel(own.record_id, own.parts.tags)
        except (CountersAway, asyncio.CancelledError):
            self.deliveries.add(lambda: self._way.cancel(own.record_id, own.parts.tags))
            raise

    @property
    def _way(self) -> Together:
        return self._apart if self._nodes.is_cluster else self._together

    def _keep(self, own: Own) -> None:
        self._holds.add(own)
        for tag, epoch in own.epochs.items():
            live = self._epochs.live.get(tag)
            if live is None or live[:EPOCH_DIGITS] != epoch:  # it was not told of this hold
                self._epochs.doubt([tag])


def _told(task: asyncio.Task[None]) -> None:
    """None of them ends by itself, but one that looks at all epochs once."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("counting in Redis goes on without its upkeep", exc_info=error)


def _level(ask: Ask, state: State | None) -> int:
    if state is None:
        return 0
    return state.used if ask.kind == PURSE else 0
