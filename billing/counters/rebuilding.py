"""What is asked of the Redis engine beside requests: of records, cold counters, and people."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from billing.counters.asks import Ask, CountersAway, State, tag_of
from billing.counters.deliveries import Deliveries
from billing.counters.epochs import Epochs, new_mark
from billing.counters.holds import Holds
from billing.counters.parts import ADMITTED
from billing.counters.payloads import home_of, pack, spelled

IDS_IN_A_CALL = 500


class Rebuilding:
    def __init__(self, epochs: Epochs, holds: Holds, deliveries: Deliveries) -> None:
        self._epochs, self._holds, self.deliveries = epochs, holds, deliveries

    async def committed(self, record_ids: Collection[str], tags: Collection[str]) -> None:
        """Never fails: what cannot be forgotten now is forgotten later."""
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
            await self._epochs.script("committed", [tag], lambda epochs: [epochs[0], *record_ids])

    async def held(self, tag: str) -> Collection[str]:
        """Beside the record ids a mark that looks like one: it belongs into `apart_from`, too."""
        ids = await self._epochs.script("held", [tag], lambda epochs: [epochs[0]], patient=True)
        return [record_id.decode() for record_id in ids]

    async def warm(self, ask: Ask, total: int, apart_from: Collection[str]) -> bool:
        packed, apart = pack(spelled(ask)), pack(list(apart_from))

        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            return [epochs[0], packed, total, apart]

        reply = await self._epochs.script("warm", [tag_of(ask.key)], arguments, patient=True)
        return bool(reply[0] == ADMITTED)

    async def forget(self, keys: Collection[str]) -> None:
        for tag, mine in by_tag(keys).items():

            def arguments(epochs: Sequence[bytes], mine: list[str] = mine) -> list[Any]:
                return [epochs[0], new_mark(), *mine]

            await self._epochs.script("forget", [tag], arguments)

    async def read(self, asks: Sequence[Ask]) -> Sequence[State | None]:
        states: dict[int, State | None] = {}
        for tag, places in places_by_tag(asks).items():
            packed = pack([spelled(asks[at]) for at in places])

            def arguments(epochs: Sequence[bytes], packed: bytes = packed) -> list[Any]:
                return [epochs[0], packed]

            reply = await self._epochs.script("read", [tag], arguments)
            states.update(zip(places, states_of(reply), strict=True))
        return [states[at] for at in range(len(asks))]


def by_tag(keys: Collection[str]) -> dict[str, list[str]]:
    """Keys as they are spelled in Redis."""
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        found[tag_of(key)].append(key.encode("utf-8", "backslashreplace").decode())
    return found


def places_by_tag(asks: Sequence[Ask]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, ask in enumerate(asks):
        found[tag_of(ask.key)].append(place)
    return found


def states_of(reply: Sequence[int]) -> list[State | None]:
    """What the script `read` replies: used (-1: cold) and reserved of each."""
    pairs = zip(reply[1::2], reply[2::2], strict=True)
    return [None if used < 0 else State(used, reserved) for used, reserved in pairs]
