"""Counters that many workers share: one script call admits, one settles, whatever the scopes.

On one Redis the counters of a tenant and those of the whole gateway are asked in one call. On a
Redis Cluster they live apart: `apart.py`.
"""

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from billing.counters.asks import (
    PURSE,
    Admitted,
    Answer,
    Ask,
    CountersAway,
    Hold,
    State,
    Taken,
    tag_of,
)
from billing.counters.calls import Unanswered
from billing.counters.deliveries import Deliveries
from billing.counters.epochs import REGISTER_MS, Epochs, new_mark
from billing.counters.holds import Holds, Own
from billing.counters.nodes import Nodes
from billing.counters.parts import (
    ADMITTED,
    ALREADY,
    GONE,
    OTHER_EPOCH,
    answer_of,
    bodies_of,
    in_order,
    order_of,
    spell,
    tags_of,
)
from billing.counters.payloads import GIVEN_UP, SETTLED, body, home_of, pack, spelled, used_of
from billing.counters.scripts import Scripts, load
from billing.counters.tally import Tally

DEADLINE = 0.050
IDS_IN_A_CALL = 500
TRIES = 3
SECONDS_OF_A_MARK = 10.0
"""How long what was given up is remembered, in case its admission arrives yet."""


class RedisCounters:
    def __init__(
        self,
        url: str,
        *,
        deadline: float = DEADLINE,
        register_ms: int = REGISTER_MS,
        scripts: Scripts | None = None,
    ) -> None:
        """`deadline` is in seconds, for each call. `register_ms` is how long a new epoch waits for
        the holds of every worker."""
        self.worker = secrets.token_hex(6).encode()
        self.tally = Tally()
        self.deliveries = Deliveries(self.tally)
        self._holds = Holds(self.worker)
        self._nodes = Nodes(
            url,
            scripts or load(),
            deadline=deadline,
            tally=self.tally,
            on_change=lambda tags: self._epochs.doubt(tags),  # noqa: PLW0108 - made below
        )
        self._epochs = Epochs(self._nodes, self._holds, self.tally, register_ms)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._epochs.enter()),
            asyncio.create_task(self._epochs.watch()),
            asyncio.create_task(self.deliveries.deliver()),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.deliveries.last(1.0)
        await self._nodes.stop()

    # ---- admitting

    async def admit(self, hold: Hold) -> Answer:
        tags = tags_of(hold.asks, hold.record_id)
        try:
            bodies = bodies_of(hold.asks, tags, hold.entry)
        except UnicodeEncodeError:
            spell(hold.asks)
            bodies = bodies_of(hold.asks, tags, hold.entry)
        own = Own(hold.record_id, bodies, {})
        reply = await self._take(own, tags)
        if reply[0] == ADMITTED:
            self._keep(own)
        return answer_of(reply, order_of(hold.asks, tags) if len(tags) > 1 else None)

    async def _take(self, own: Own, tags: Sequence[str]) -> list[int]:
        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for tag, epoch in zip(tags, epochs, strict=True):
                own.epochs[tag] = epoch[:16]
                words += (epoch, self._holds.payload(own, tag, epoch))
            return words

        try:
            return await self._script("admit", tags, arguments)
        except (Unanswered, asyncio.CancelledError):
            self.deliveries.add(lambda: self._cancel(own.record_id, tags))
            raise

    def _keep(self, own: Own) -> None:
        self._holds.add(own)
        for tag, epoch in own.epochs.items():
            live = self._epochs.live.get(tag)
            if live is None or live[:16] != epoch:  # it began meanwhile, and was not told of this
                self._epochs.doubt([tag])

    async def _cancel(self, record_id: str, tags: Sequence[str]) -> None:
        """Gives back what nobody knows to be taken."""
        for tag in tags:

            def arguments(epochs: Sequence[bytes]) -> list[Any]:
                return [record_id, epochs[0], self._holds.mark(GIVEN_UP, epochs[0])]

            await self._script("cancel", [tag], arguments)
        self.deliveries.add_later(SECONDS_OF_A_MARK, lambda: self._remove(tags, [record_id]))

    async def _script(
        self,
        name: str,
        tags: Sequence[str],
        arguments: Callable[[Sequence[bytes]], list[Any]],
        *,
        patient: bool = False,
    ) -> list[Any]:
        """Calls a script in the epochs in force, again when they turn out to be over."""
        live = self._epochs.live
        for _ in range(TRIES):
            epochs = [live[tag] for tag in tags if tag in live]
            if len(epochs) < len(tags):
                epochs = await asyncio.gather(*map(self._epochs.ready, tags))
            words = arguments(epochs)
            reply: list[Any] = await self._nodes.script(name, tags, *words, patient=patient)
            if not reply or reply[0] != OTHER_EPOCH:
                return reply
            tag, epoch = tags[reply[1]], epochs[reply[1]]
            if live.get(tag) == epoch:
                self._epochs.doubt([tag])
        raise CountersAway("one epoch after another")

    # ---- changing

    async def change(self, hold: Hold, used: Sequence[tuple[Ask, int]], asks: list[Ask]) -> Answer:
        own = self._holds.get(hold.record_id)
        if own is None or own.in_doubt:
            raise CountersAway("the hold is gone")
        spell(asks)
        gone = [ask for ask, _ in used]
        shrunk = [ask for ask in hold.asks if ask not in gone]
        taken = [*own.taken, *used_of(gone, [actual for _, actual in used])]
        tags = list(dict.fromkeys([*own.bodies, *(tag_of(ask.key) for ask in asks)]))
        if_admitted = _bodies([*shrunk, *asks], taken, tags, hold.entry)
        if_refused = _bodies(shrunk, taken, list(own.bodies), hold.entry)

        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for tag, epoch in zip(tags, epochs, strict=True):
                head = own.state + self.worker + epoch[:16]
                refused = if_refused.get(tag)
                words += (
                    *(epoch, head + if_admitted[tag], b"" if refused is None else head + refused),
                    pack([pair for pair in used if pair[0].key.startswith(tag)]),
                    pack([ask for ask in asks if ask.key.startswith(tag)]),
                )
                own.epochs[tag] = epoch[:16]
            return words

        try:
            reply = await self._script("change", tags, arguments)
        except (Unanswered, asyncio.CancelledError):
            own.in_doubt = True
            raise
        answer = answer_of(reply, order_of(asks, tags))
        own.bodies = if_admitted if type(answer) is Admitted else if_refused
        own.taken = taken
        hold.asks = [*shrunk, *asks] if type(answer) is Admitted else shrunk
        self._keep(own)
        return answer

    # ---- settling

    async def settle(self, hold: Hold, used: Sequence[int]) -> Sequence[int] | None:
        own = self._holds.get(hold.record_id)
        if own is None:
            return None
        tags = list(own.bodies)
        taken = [*own.taken, *used_of(hold.asks, used)]
        own.bodies = _bodies([], taken, tags, hold.entry)
        own.state, own.delivered = SETTLED, False
        try:
            reply = await self._settle(own)
        except (CountersAway, asyncio.CancelledError):
            self.deliveries.add(lambda: self._settle(own))
            raise
        if reply[0] == GONE:
            return None
        if reply[0] == ALREADY or len(reply) != len(hold.asks) + 1:
            return [
                _level(ask, state)
                for ask, state in zip(hold.asks, await self.read(hold.asks), strict=True)
            ]
        return reply[1:] if len(tags) == 1 else in_order(reply[1:], order_of(hold.asks, tags))

    async def _settle(self, own: Own) -> list[int]:
        tags = list(own.bodies)

        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for tag, epoch in zip(tags, epochs, strict=True):
                words += (epoch, self._holds.payload(own, tag, epoch))
            return words

        reply = await self._script("settle", tags, arguments)
        own.delivered = True
        if reply[0] == GONE:
            self._holds.drop(own.record_id)
        elif own.in_database:
            await self.committed([own.record_id], [])
        return reply

    # ---- what the database has

    async def committed(self, record_ids: Collection[str], keys: Collection[str]) -> None:
        tags = {tag_of(key) for key in keys}
        by_tag: dict[str, list[str]] = defaultdict(list)
        for record_id in record_ids:
            own = self._holds.get(record_id)
            if own is not None and not own.delivered:
                own.in_database = True
                continue
            self._holds.drop(record_id)
            for tag in own.bodies if own else tags or {home_of(record_id, [])}:
                by_tag[tag].append(record_id)
        for tag, ids in by_tag.items():
            for at in range(0, len(ids), IDS_IN_A_CALL):
                await self._forget_holds(tag, ids[at : at + IDS_IN_A_CALL])

    async def _forget_holds(self, tag: str, record_ids: Sequence[str]) -> None:
        try:
            await self._remove([tag], record_ids)
        except CountersAway:
            self.deliveries.add(lambda: self._remove([tag], record_ids))

    async def _remove(self, tags: Sequence[str], record_ids: Sequence[str]) -> None:
        for tag in tags:
            await self._script("committed", [tag], lambda epochs: [epochs[0], *record_ids])

    # ---- rebuilding

    async def held(self, tag: str) -> Collection[str]:
        ids = await self._script("held", [tag], lambda epochs: [epochs[0]], patient=True)
        return [record_id.decode() for record_id in ids]

    async def warm(self, ask: Ask, total: int, apart_from: Collection[str]) -> bool:
        packed, apart = pack(spelled(ask)), pack(list(apart_from))

        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            return [epochs[0], packed, total, apart]

        reply = await self._script("warm", [tag_of(ask.key)], arguments, patient=True)
        return bool(reply[0] == ADMITTED)

    async def forget(self, keys: Collection[str]) -> None:
        for tag, mine in _by_tag(keys).items():

            def arguments(epochs: Sequence[bytes], mine: list[str] = mine) -> list[Any]:
                return [epochs[0], new_mark(), *mine]

            await self._script("forget", [tag], arguments)

    async def read(self, asks: Sequence[Ask]) -> Sequence[State | None]:
        states: dict[int, State | None] = {}
        for tag in dict.fromkeys(tag_of(ask.key) for ask in asks):
            places = [at for at, ask in enumerate(asks) if tag_of(ask.key) == tag]
            packed = pack([spelled(asks[at]) for at in places])

            def arguments(epochs: Sequence[bytes], packed: bytes = packed) -> list[Any]:
                return [epochs[0], packed]

            reply = await self._script("read", [tag], arguments)
            for at, used, reserved in zip(places, reply[1::2], reply[2::2], strict=True):
                states[at] = None if used < 0 else State(used, reserved)
        return [states[at] for at in range(len(asks))]


def _by_tag(keys: Collection[str]) -> dict[str, list[str]]:
    by_tag: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_tag[tag_of(key)].append(key.encode("utf-8", "backslashreplace").decode())
    return by_tag


def _bodies(
    asks: Sequence[Ask], taken: Sequence[Taken], tags: Sequence[str], entry: bytes
) -> dict[str, bytes]:
    home = tags[0]
    if len(tags) == 1:
        return {home: body(asks, taken, entry=entry)}
    bodies = {}
    for tag in tags:
        mine = [ask for ask in asks if ask.key.startswith(tag)]
        used = [part for part in taken if part.key.startswith(tag)]
        if tag == home:
            bodies[tag] = body(mine, used, entry=entry)
        else:
            bodies[tag] = body(mine, used, home=home)
    return bodies


def _level(ask: Ask, state: State | None) -> int:
    if state is None:
        return 0
    return state.used + state.reserved if ask.kind == PURSE else ask.most - state.used
