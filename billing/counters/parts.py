"""A hold is one thing to its request and one part per tag to Redis."""

from collections.abc import Sequence

from billing.counters.asks import Admitted, Answer, Ask, Cold, CountersAway, Refused, Short, tag_of
from billing.counters.payloads import body, home_of, spelled

REFUSED, ADMITTED, COLD, OTHER_EPOCH, GONE, ALREADY = range(6)
"""The first number of a script's reply."""


def spell(asks: list[Ask]) -> None:
    """Makes the keys such that UTF-8 can carry them. Seldom needed, and not cheap: only after
    UnicodeEncodeError."""
    asks[:] = map(spelled, asks)


def tags_of(asks: Sequence[Ask], record_id: str) -> list[str]:
    """The tags of a hold, its home first."""
    if asks:
        tag = tag_of(asks[0].key)
        if all(ask.key.startswith(tag) for ask in asks):
            return [tag]
    tags = list(dict.fromkeys(tag_of(ask.key) for ask in asks))
    home = home_of(record_id, tags)
    return [home, *(tag for tag in tags if tag != home)]


def bodies_of(asks: Sequence[Ask], tags: Sequence[str], entry: bytes) -> dict[str, bytes]:
    """What an open hold is to Redis, in each of its tags. Raises UnicodeEncodeError."""
    home = tags[0]
    if len(tags) == 1:
        return {home: body(asks, (), entry=entry)}
    bodies = {}
    for tag in tags:
        mine = [ask for ask in asks if ask.key.startswith(tag)]
        if tag == home:
            bodies[tag] = body(mine, (), entry=entry)
        else:
            bodies[tag] = body(mine, (), home=home)
    return bodies


def order_of(asks: Sequence[Ask], tags: Sequence[str]) -> list[int]:
    """Where each ask stands in `asks`, in the order in which a script sees them."""
    return [index for tag in tags for index, ask in enumerate(asks) if ask.key.startswith(tag)]


def answer_of(reply: list[int], order: list[int] | None) -> Answer:
    """`order` is None where a script saw the asks as they stood."""
    kind = reply[0]
    if kind == ADMITTED:
        return Admitted(reply[1:] if order is None else in_order(reply[1:], order))
    if kind == COLD:
        return Cold(reply[1:] if order is None else sorted(order[index] for index in reply[1:]))
    if kind == REFUSED:
        shorts = [
            Short(reply[at] if order is None else order[reply[at]], reply[at + 1], reply[at + 2])
            for at in range(1, len(reply), 3)
        ]
        return Refused(shorts if order is None else sorted(shorts))
    raise CountersAway("the hold was given up before")


def in_order(levels: Sequence[int], order: Sequence[int]) -> list[int]:
    result = [0] * len(levels)
    for level, index in zip(levels, order, strict=True):
        result[index] = level
    return result
