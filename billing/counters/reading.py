"""The running counters, for who is not on the event loop: Django's views.

A view runs in a thread, and what it calls here runs on the loop that waits for the view: the
worker's own. So an engine is never touched by two threads, and needs no locks; and one that holds
connections of its loop serves as well. Commands have no worker: nothing runs there.
"""

from collections.abc import Collection, Sequence

from asgiref.sync import async_to_sync

from billing import counters
from billing.counters.asks import Ask, CountersAway, State


def states(asks: Sequence[Ask]) -> list[State | None]:
    """Counters as they stand. None for a cold one; for all of them while no engine runs, or its
    store is away."""
    if counters.running is None or not asks:
        return [None] * len(asks)
    try:
        return list(async_to_sync(counters.running.read)(asks))
    except CountersAway:
        return [None] * len(asks)


def forget(keys: Collection[str]) -> None:
    """Makes counters cold at once in this process. Others hear of it by the revision, as does this
    one when its store is away now."""
    if counters.running is None:
        return
    try:
        async_to_sync(counters.running.forget)(keys)
    except CountersAway:
        return
