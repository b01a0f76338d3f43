"""A hold is one thing to its request and a part per tag to Redis."""

from collections.abc import Sequence
from typing import NamedTuple

from billing.counters.asks import Admitted, Answer, Ask, Cold, CountersAway, Refused, Short
from billing.counters.payloads import Part, body, home_of, spelled

REFUSED, ADMITTED, COLD, OTHER_EPOCH, GONE, ALREADY = range(6)
"""The first number of a script's reply."""


def spell(asks: list[Ask]) -> None:
    """Makes the keys such that UTF-8 can carry them. Seldom needed, and not cheap: only after
    UnicodeEncodeError."""
    asks[:] = map(spelled, asks)


class Split(NamedTuple):
    """The tags of a hold, its home first, and where the asks of each stand among all."""

    tags: list[str]
    places: dict[str, list[int]]

    @property
    def order(self) -> list[int] | None:
        """Where each ask stands that a script sees. None: the script sees them as they stand."""
        if len(self.tags) == 1:
            return None
        return [place for tag in self.tags for place in self.places[tag]]


def split(asks: Sequence[Ask], record_id: str, tags: Sequence[str] = ()) -> Split:
    """`tags` are those that the hold has already."""
    places: dict[str, list[int]] = {tag: [] for tag in tags}
    for place, ask in enumerate(asks):
        key = ask[1]
        places.setdefault(key[: key.index("}") + 1], []).append(place)
    if len(places) == 1 or tags:
        return Split(list(places), places)
    home = home_of(record_id, list(places))
    places.setdefault(home, [])
    return Split([home, *(tag for tag in places if tag != home)], places)


def bodies_of(
    asks: Sequence[Ask], parts: Split, taken: Sequence[Part], entry: bytes
) -> dict[str, bytes]:
    """What an open hold is to Redis, in each of its tags. Raises UnicodeEncodeError."""
    home, *others = parts.tags
    if not others:
        return {home: body(asks, taken, entry=entry)}
    away: list[Part] = []
    bodies = {home: b""}
    for tag in others:
        mine = [asks[place] for place in parts.places[tag]]
        bodies[tag] = body(mine, _of(tag, taken), home=home)
        away += [ask[:3] for ask in mine]
    mine = [asks[place] for place in parts.places[home]]
    bodies[home] = body(mine, _of(home, taken), away=away, entry=entry)
    return bodies


def final_bodies_of(parts: Split, taken: Sequence[Part], entry: bytes) -> dict[str, bytes]:
    """What it is once settled."""
    home, *others = parts.tags
    if not others:
        return {home: body((), taken, entry=entry)}
    bodies = {home: b""}
    for tag in others:
        bodies[tag] = body((), _of(tag, taken), home=home)
    here = _of(home, taken)
    away = [part for part in taken if part not in here]
    bodies[home] = body((), here, away=away, entry=entry)
    return bodies


def _of(tag: str, taken: Sequence[Part]) -> list[Part]:
    return [part for part in taken if part[1].startswith(tag)]


def answer_of(reply: list[int], order: list[int] | None) -> Answer:
    """`order` is where in the hold each ask stands that the script saw; None: as they stood."""
    kind = reply[0]
    if kind == ADMITTED:
        return Admitted(reply[1:] if order is None else in_order(reply[1:], order))
    if kind == COLD:
        return Cold(reply[1:] if order is None else sorted(order[index] for index in reply[1:]))
    if kind == REFUSED:
        return Refused(sorted(_shorts(reply, order)))
    raise CountersAway("the hold was given up before")


def _shorts(reply: list[int], order: list[int] | None) -> list[Short]:
    return [
        Short(reply[at] if order is None else order[reply[at]], reply[at + 1], reply[at + 2])
        for at in range(1, len(reply), 3)
    ]


def in_order(levels: Sequence[int], order: Sequence[int]) -> list[int]:
    result = [0] * len(levels)
    for level, place in zip(levels, order, strict=True):
        result[place] = level
    return result
