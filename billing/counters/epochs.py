"""Epochs: since when a server has had a tag's counters without a gap.

An epoch is `<16 digits of microseconds> <state> <run_id>`, in `gateway:{tag}:epoch`. Where it is
missing, or of another run_id than the server's (it restarted, a replica took its place, somebody
flushed it), counters were lost or may be behind: the first who notices begins a new one. For
REGISTER_MS it is `registering`, while every worker tells it of its holds and admissions wait; then
it is `live`, and cold counters are rebuilt one by one.
"""

import asyncio
import functools
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from billing.counters.asks import CountersAway
from billing.counters.batches import OtherServer
from billing.counters.holds import Holds, Own
from billing.counters.nodes import TAGS, Nodes
from billing.counters.parts import OTHER_EPOCH
from billing.counters.payloads import EPOCH_DIGITS, epoch_key, is_live
from billing.counters.tally import Tally

REGISTER_MS = 1000
SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_TO_WAIT = 2.0
HOLDS_IN_A_CALL = 200
TRIES = 3

Arguments = Callable[[Sequence[bytes]], list[Any]]
"""The arguments of a script, given the epochs of its tags."""


def new_mark() -> bytes:
    """Looks like a record id, so that those who leave out records by id need not know of it."""
    return str(uuid.uuid4()).encode()


def run_id_of(epoch: bytes) -> str:
    return epoch.rpartition(b" ")[2].decode()


class Epochs:
    def __init__(
        self, nodes: Nodes, holds: Holds, tally: Tally, register_ms: int = REGISTER_MS
    ) -> None:
        self._nodes, self._holds, self._tally = nodes, holds, tally
        self._register_ms = register_ms
        self.live: dict[str, bytes] = {}
        """The epochs in force that know this worker's holds."""
        self._registered: dict[str, bytes] = {}
        self._entering: dict[str, asyncio.Task[bytes]] = {}

    def doubt(self, tags: Sequence[str]) -> None:
        """These tags' epochs may be over: they are looked at before the next call."""
        for tag in tags:
            self.live.pop(tag, None)

    async def ready(self, tag: str) -> bytes:
        """The epoch in force. Waits for one that begins; CountersAway when that takes long."""
        epoch = self.live.get(tag)
        if epoch is not None:
            return epoch
        entering = self._entering.get(tag)
        if entering is None:
            entering = self._entering[tag] = asyncio.create_task(self._enter(tag))
            entering.add_done_callback(functools.partial(self._entered, tag))
        return await asyncio.shield(entering)

    def _entered(self, tag: str, entering: asyncio.Task[bytes]) -> None:
        self._entering.pop(tag, None)
        if not entering.cancelled():
            entering.exception()  # whoever waited has it; perhaps nobody did

    async def _enter(self, tag: str) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SECONDS_TO_WAIT
        while loop.time() < deadline:
            try:
                epoch = await self._current(tag)
                if await self._register(tag, epoch) != epoch:
                    continue
                if is_live(epoch):
                    self.live[tag] = epoch
                    return epoch
                opened = await self._open(tag, epoch)
            except OtherServer:
                continue
            if opened == epoch:
                await asyncio.sleep(self._register_ms / 10_000)
        raise CountersAway("the counters are being rebuilt")

    async def _current(self, tag: str) -> bytes:
        """The epoch of the server that answers now; begins one where it has none."""
        epoch: bytes | None = await self._nodes.call(tag, "GET", epoch_key(tag), patient=True)
        line = await self._nodes.line(tag)
        if epoch is not None and run_id_of(epoch) == line.run_id:
            return epoch
        run_id = await line.learn()
        if epoch is None or run_id_of(epoch) != run_id:
            began: bytes = await self._nodes.script(
                "begin", [tag], run_id, new_mark(), patient=True
            )
            self._tally.epochs += began != epoch
            return began
        return epoch

    async def _open(self, tag: str, epoch: bytes) -> bytes:
        """Opens an epoch, if its time has come."""
        opened: bytes = await self._nodes.script(
            "open", [tag], epoch, self._register_ms, patient=True
        )
        return opened

    async def _register(self, tag: str, epoch: bytes) -> bytes:
        """Tells an epoch of this worker's holds; returns the epoch in force."""
        own = self._holds.untold(tag, epoch)
        if not own and self._registered.get(tag) == epoch[:EPOCH_DIGITS]:
            return epoch
        chunks = [own[at : at + HOLDS_IN_A_CALL] for at in range(0, len(own), HOLDS_IN_A_CALL)]
        for chunk in [*chunks, []]:
            told: list[bytes | str] = []
            for hold in chunk:
                told += [hold.record_id, self._holds.payload(hold, epoch, hold.bodies[tag])]
            last = b"0" if chunk else b"1" if tag in self._registered else b"2"
            current: bytes = await self._nodes.script(
                "register", [tag], epoch, self._holds.worker, last, *told, new_mark(), patient=True
            )
            if current != epoch:
                return current
            self._told(chunk, tag, epoch)
        self._registered[tag] = epoch[:EPOCH_DIGITS]
        return epoch

    def _told(self, chunk: list[Own], tag: str, epoch: bytes) -> None:
        for hold in chunk:
            hold.epochs[tag] = epoch[:EPOCH_DIGITS]
        self._tally.registered += len(chunk)

    async def script(
        self, name: str, tags: Sequence[str], arguments: Arguments, *, patient: bool = False
    ) -> list[Any]:
        """Calls a script in the epochs in force, again when they turn out to be over."""
        live = self.live
        for _ in range(TRIES):
            epochs = [live[tag] for tag in tags if tag in live]
            if len(epochs) < len(tags):
                epochs = await asyncio.gather(*map(self.ready, tags))
            words = arguments(epochs)
            try:
                reply: list[Any] = await self._nodes.script(name, tags, *words, patient=patient)
            except OtherServer:
                continue
            if not reply or reply[0] != OTHER_EPOCH:
                return reply
            tag, epoch = tags[reply[1]], epochs[reply[1]]
            if live.get(tag) == epoch:
                self.doubt([tag])
        raise CountersAway("one epoch after another")

    # ---- the heartbeat

    async def watch(self) -> None:
        """Looks every now and then at the epochs of all tags that this worker has used."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            await self.look()

    async def look(self) -> None:
        """Raises nothing: what cannot be looked at now is looked at the next time."""
        known = dict(self.live)
        try:
            found = await self._nodes.each(TAGS, "GET", epoch_key)
        except CountersAway:
            return
        self.doubt([tag for tag, epoch in found.items() if tag in known and epoch != known[tag]])
        await self.enter()

    async def enter(self) -> None:
        """Makes every tag ready that is not."""
        away = [tag for tag in TAGS if tag not in self.live]
        for failed in await asyncio.gather(*map(self.ready, away), return_exceptions=True):
            if failed is not None and not isinstance(failed, bytes | CountersAway):
                raise failed
