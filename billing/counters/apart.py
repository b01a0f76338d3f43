"""A request's calls on a Redis Cluster: the tags of a hold live on different nodes.

What belongs to the whole gateway is taken first, and given back when the tenant's refuses: that may
refuse too early, and never admits too much. To settle, the home goes first: it decides.
"""

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

from billing.counters.asks import Admitted, Answer, Ask, CountersAway, Hold
from billing.counters.holds import Own
from billing.counters.parts import ADMITTED, ALREADY, answer_of
from billing.counters.together import Change, Piece, Together


class Apart(Together):
    async def admit(self, own: Own) -> Answer:
        home, *others = own.parts.tags
        if not others:
            return await super().admit(own)
        levels: dict[int, int] = {}
        for number, tag in enumerate([*others, home]):
            places = own.parts.places[tag]
            try:
                reply = await self.take(own, [tag])
            except (CountersAway, asyncio.CancelledError):
                self._deliveries.add(functools.partial(self.cancel, own.record_id, others[:number]))
                raise
            if reply[0] != ADMITTED:
                await self._give_back(own, others[:number])
                return answer_of(reply, places)
            levels.update(zip(places, reply[1:], strict=True))
        return Admitted([levels[place] for place in range(len(levels))])

    async def change(
        self, own: Own, hold: Hold, used: Sequence[tuple[Ask, int]], asks: Sequence[Ask]
    ) -> Answer:
        if used:
            settling = Change(own, hold, used, ())
            for tag, piece in settling.pieces.items():
                if piece.used or tag == own.parts.tags[0]:
                    await self.change_in(own, {tag: piece})
            settling.done(True)
        change = Change(own, hold, (), asks)
        home, *others = change.pieces
        levels: dict[int, int] = {}
        for number, tag in enumerate([*others, home]):
            places = change.places[tag]
            if not places and tag != home:
                continue
            reply = await self._take_more(own, tag, change.pieces[tag])
            if reply[0] != ADMITTED:
                for other in others[:number]:
                    await self._take_less(own, other, change.pieces[other])
                return answer_of(reply, places)
            levels.update(zip(places, reply[1:], strict=True))
        change.done(True)
        return Admitted([levels[place] for place in range(len(levels))])

    async def _take_more(self, own: Own, tag: str, piece: Piece) -> list[Any]:
        if piece.if_refused is None:
            return await self.take(own, [tag], {tag: piece.if_admitted})
        return await self.change_in(own, {tag: piece})

    async def _take_less(self, own: Own, tag: str, piece: Piece) -> None:
        before = piece.if_refused
        if before is None:
            await self.cancel(own.record_id, [tag])
        else:
            unused = [(ask, 0) for ask in piece.asks]
            await self.change_in(own, {tag: Piece(before, before, unused, ())})

    async def settle(self, own: Own) -> list[Any]:
        home, *others = own.parts.tags
        reply = await self.settle_in(own, [home])
        if reply[0] not in (ADMITTED, ALREADY):
            return reply
        levels = reply[1:]
        for tag in others:
            levels += (await self.settle_in(own, [tag]))[1:]
        return [reply[0], *levels]

    async def _give_back(self, own: Own, tags: Sequence[str]) -> None:
        """Before the caller tries again, which it does by the same record id."""
        try:
            await self.cancel(own.record_id, tags)
        except (CountersAway, asyncio.CancelledError):
            self._deliveries.add(lambda: self.cancel(own.record_id, tags))
            raise
