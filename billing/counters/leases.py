"""Who is alive: each worker renews a lease, and what the others have held is swept."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from billing.counters.asks import GATEWAY_TAG, CountersAway, Orphan, SettleOrphan
from billing.counters.nodes import TAGS, Nodes
from billing.counters.sweeping import LOCK_MS, Command, sweep_tag
from billing.counters.tally import Tally

SECONDS_OF_A_LEASE = 10.0
RENEWALS_IN_A_LEASE = 5


class Leases:
    def __init__(self, nodes: Nodes, worker: bytes, lease: float, tally: Tally) -> None:
        self._nodes, self._worker, self._tally = nodes, worker, tally
        self._seconds = lease
        self.milliseconds = int(lease * 1000)
        self.has_one = False

    async def renew(self) -> None:
        """Before anything is held: whoever has no lease is dead to the others."""
        await self._nodes.script("renew", [GATEWAY_TAG], self._worker, self.milliseconds)
        self.has_one = True

    async def end(self) -> None:
        """What this worker leaves behind may be swept."""
        await self._nodes.script("renew", [GATEWAY_TAG], self._worker, -1)

    async def keep(self) -> None:
        while True:
            try:
                await self.renew()
            except CountersAway:
                await asyncio.sleep(self._seconds / RENEWALS_IN_A_LEASE / 10)
            else:
                await asyncio.sleep(self._seconds / RENEWALS_IN_A_LEASE)

    async def sweep(self, settle: SettleOrphan) -> AsyncIterator[list[Orphan]]:
        """One worker at a time, tag after tag."""
        for tag in TAGS:
            if not await self._nodes.script("lock", [GATEWAY_TAG], self._worker, LOCK_MS):
                return
            orphans = await self._drive(sweep_tag(tag, self.milliseconds, settle))
            if orphans:
                self._tally.swept += len(orphans)
                yield orphans
        await self._nodes.script("lock", [GATEWAY_TAG], self._worker, 0)

    async def _drive(self, steps: Generator[Any, Any, list[Orphan]]) -> list[Orphan]:
        reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                orphans: list[Orphan] = end.value
                return orphans
            if isinstance(step, Command):
                reply = await self._nodes.call(step.tag, *step.words)
            else:
                reply = await self._nodes.script(
                    step.name, step.tags, *step.arguments, patient=True
                )
