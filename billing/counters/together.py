"""A request's calls on one Redis: all tags of a hold in one call, so all of it or nothing."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from billing.counters.asks import Admitted, Answer, Ask, Hold
from billing.counters.batches import Unanswered
from billing.counters.deliveries import Deliveries
from billing.counters.epochs import Epochs
from billing.counters.holds import Holds, Own
from billing.counters.parts import answer_of, bodies_of, split
from billing.counters.payloads import EPOCH_DIGITS, GIVEN_UP, Part, pack, used_of

SECONDS_OF_A_MARK = 10.0
"""How long what was given up is remembered, in case its admission arrives yet."""


class Piece(NamedTuple):
    """What a change makes of a hold in one tag: the bodies after (None: no part there any more),
    what it settles and what it takes."""

    if_admitted: bytes
    if_refused: bytes | None
    used: Sequence[tuple[Ask, int]]
    asks: Sequence[Ask]


class Change:
    """What another attempt makes of a hold: settles `used` of it, and takes `asks`."""

    def __init__(
        self, own: Own, hold: Hold, used: Sequence[tuple[Ask, int]], asks: Sequence[Ask]
    ) -> None:
        self._own, self._hold = own, hold
        gone = [ask for ask, _ in used]
        given = {id(ask) for ask in gone}  # another of the hold's may be equal
        self._shrunk = [ask for ask in hold.asks if id(ask) not in given]
        self._grown = [*self._shrunk, *asks]
        self._taken: list[Part] = [*own.taken, *used_of(gone, [actual for _, actual in used])]
        tags = own.parts.tags
        self._after_refusal = split(self._shrunk, own.record_id, tags)
        self._after = split(self._grown, own.record_id, tags)
        refused = bodies_of(self._shrunk, self._after_refusal, self._taken, hold.entry)
        admitted = bodies_of(self._grown, self._after, self._taken, hold.entry)
        self._bodies = {True: admitted, False: refused}
        self.places = split(asks, own.record_id, self._after.tags).places
        """Where the asks of each tag stand."""
        self.pieces = {
            tag: Piece(
                *(admitted[tag], refused.get(tag)),
                [pair for pair in used if pair[0].key.startswith(tag)],
                [asks[place] for place in self.places[tag]],
            )
            for tag in self._after.tags
        }

    def done(self, admitted: bool) -> None:
        """Brings the worker's own idea of the hold up to date."""
        own = self._own
        own.parts = self._after if admitted else self._after_refusal
        own.bodies, own.taken = self._bodies[admitted], self._taken
        self._hold.asks = self._grown if admitted else self._shrunk


class Together:
    def __init__(self, epochs: Epochs, holds: Holds, deliveries: Deliveries) -> None:
        self._epochs, self._holds, self._deliveries = epochs, holds, deliveries

    async def admit(self, own: Own) -> Answer:
        return answer_of(await self.take(own, own.parts.tags), own.parts.order)

    async def change(
        self, own: Own, hold: Hold, used: Sequence[tuple[Ask, int]], asks: Sequence[Ask]
    ) -> Answer:
        change = Change(own, hold, used, asks)
        order = [place for tag in change.pieces for place in change.places[tag]]
        answer = answer_of(await self.change_in(own, change.pieces), order)
        change.done(type(answer) is Admitted)
        return answer

    async def settle(self, own: Own) -> list[Any]:
        return await self.settle_in(own, own.parts.tags)

    # ---- in some of a hold's tags

    async def take(
        self, own: Own, tags: Sequence[str], bodies: Mapping[str, bytes] | None = None
    ) -> list[Any]:
        """Of parts that are new. `bodies` are the hold's own where none are given."""

        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for tag, epoch in zip(tags, epochs, strict=True):
                own.epochs[tag] = epoch[:EPOCH_DIGITS]
                words += (epoch, self._holds.payload(own, epoch, (bodies or own.bodies)[tag]))
            return words

        try:
            return await self._epochs.script("admit", tags, arguments)
        except (Unanswered, asyncio.CancelledError):
            self._deliveries.add(lambda: self.cancel(own.record_id, tags))
            raise

    async def change_in(self, own: Own, pieces: Mapping[str, Piece]) -> list[Any]:
        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for (tag, piece), epoch in zip(pieces.items(), epochs, strict=True):
                own.epochs[tag] = epoch[:EPOCH_DIGITS]
                refused = piece.if_refused
                words += (
                    *(epoch, self._holds.payload(own, epoch, piece.if_admitted)),
                    b"" if refused is None else self._holds.payload(own, epoch, refused),
                    *(pack(piece.used), pack(piece.asks)),
                )
            return words

        return await self._epochs.script("change", list(pieces), arguments)

    async def settle_in(self, own: Own, tags: Sequence[str]) -> list[Any]:
        def arguments(epochs: Sequence[bytes]) -> list[Any]:
            words: list[Any] = [own.record_id]
            for tag, epoch in zip(tags, epochs, strict=True):
                words += (epoch, self._holds.payload(own, epoch, own.bodies[tag]))
            return words

        return await self._epochs.script("settle", tags, arguments)

    async def cancel(self, record_id: str, tags: Sequence[str]) -> None:
        """Gives back what is of no use, or what nobody knows to be taken."""
        for tag in tags:
            reply = await self._epochs.script(
                "cancel",
                [tag],
                lambda epochs: [record_id, epochs[0], self._holds.mark(GIVEN_UP, epochs[0])],
            )
            if reply[1]:
                unmark = functools.partial(self._unmark, record_id, [tag])
                self._deliveries.add_later(SECONDS_OF_A_MARK, unmark)

    async def _unmark(self, record_id: str, tags: Sequence[str]) -> None:
        for tag in tags:
            await self._epochs.script("committed", [tag], lambda epochs: [epochs[0], record_id])
