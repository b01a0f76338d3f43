"""What the dead have held: settled in their stead, so that nothing stays reserved for ever and no
usage record is lost.

Written as steps without I/O: each generator yields what to ask Redis and is sent the reply. So the
gateway sweeps without blocking, and a command without an event loop.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from billing.counters.asks import GATEWAY_TAG, SLOTS, Taken, tag_of
from billing.counters.parts import ADMITTED
from billing.counters.payloads import (
    EPOCH_DIGITS,
    GIVEN_UP,
    OPEN,
    SWEPT,
    Payload,
    body,
    epoch_key,
    held_key,
    is_live,
    pack,
    read,
    used_of,
)

log = logging.getLogger(__name__)

LOCK_MS = 60_000

SettleOrphan = Callable[[bytes, Sequence[Taken]], tuple[Sequence[int], bytes]]
"""From the entry of an orphan and what it took: what to count as used of each, and the entry to
write to the database."""


class Script(NamedTuple):
    """To call a script, on the held hashes of tags."""

    name: str
    tags: Sequence[str]
    arguments: Sequence[Any] = ()


class Command(NamedTuple):
    """To call a command on a key of a tag."""

    tag: str
    words: Sequence[Any]


Steps = Generator[Script | Command, Any, "list[Orphan]"]


class Orphan(NamedTuple):
    """A settled hold whose worker cannot write its record. Once the database has the entry, say so:
    `committed([record_id], keys)`. A key may be a mere tag."""

    record_id: str
    keys: list[str]
    entry: bytes


class _Found(NamedTuple):
    record_id: str
    payload: Payload


def sweep_tag(tag: str, lease_ms: int, settle: SettleOrphan) -> Steps:
    """Settles the holds of dead workers in a tag; returns what must be written."""
    epoch = yield Command(tag, ("GET", epoch_key(tag)))
    gateway_epoch = yield Command(GATEWAY_TAG, ("GET", epoch_key(GATEWAY_TAG)))
    if not epoch or not is_live(epoch) or not gateway_epoch:
        return []
    alive = yield Script("alive", [GATEWAY_TAG])
    orphans: list[Orphan] = []
    cursor = b"0"
    while True:
        page = yield Script("orphans", [tag], [epoch, lease_ms, cursor, pack(_text(alive))])
        found = [_Found(page[at].decode(), read(page[at + 1])) for at in range(1, len(page) - 1, 2)]
        workers = sorted({hold.payload.worker.decode() for hold in found})
        dead: list[bytes] = []
        if workers:
            asked = [gateway_epoch, lease_ms, pack(workers)]
            dead = yield Script("dead", [GATEWAY_TAG], asked)
        for hold in found:
            if hold.payload.state == SWEPT or hold.payload.worker in dead:
                orphans += yield from _sweep(tag, epoch, hold, settle)
        cursor = page[0]
        if cursor == b"0":
            return orphans


def _text(workers: Sequence[bytes]) -> list[str]:
    return [worker.decode() for worker in workers]


def _sweep(tag: str, epoch: bytes, hold: _Found, settle: SettleOrphan) -> Steps:
    payload = hold.payload
    if payload.state == GIVEN_UP:
        yield Script("committed", [tag], [epoch, hold.record_id])
        return []
    if payload.home:
        yield from _sweep_away(tag, epoch, hold)
        return []
    taken, away, entry = payload.taken, payload.away, payload.entry
    if payload.state == OPEN:
        try:
            used, entry = settle(entry, [Taken(*ask[:3]) for ask in payload.asks] + away)
        except Exception:
            log.exception("what a dead worker held cannot be settled: %s", hold.record_id)
            return []
        here = len(payload.asks)
        taken = taken + [Taken(*part) for part in used_of(payload.asks, used[:here])]
        away = yield from _total_away(hold.record_id, away, used[here:])
        final = _final(payload, epoch, body([], taken, entry=entry, away=away))
        reply = yield Script("settle", [tag], [hold.record_id, epoch, final])
        if reply[0] != ADMITTED:  # somebody was quicker
            return []
    for other in _tags(away):
        yield from _settle_away(other, hold, away)
    keys = [part.key for part in taken] or [tag]
    return [Orphan(hold.record_id, [*keys, *(part.key for part in away)], entry)]


def _tags(parts: Sequence[Taken]) -> list[str]:
    return list(dict.fromkeys(tag_of(part.key) for part in parts))


def _final(payload: Payload, epoch: bytes, packed: bytes) -> bytes:
    return SWEPT + payload.worker + epoch[:EPOCH_DIGITS] + packed


def _total_away(
    record_id: str, away: Sequence[Taken], used: Sequence[int]
) -> Generator[Command, Any, list[Taken]]:
    """What a hold will have used in other tags: what changes have settled there, and this."""
    total = [
        Taken(part.kind, part.key, amount)
        for part, amount in zip(away, used, strict=True)
        if part.kind != SLOTS
    ]
    for tag in _tags(away):
        stored = yield Command(tag, ("HGET", held_key(tag), record_id))
        if stored:
            total += read(stored).taken
    return total


def _settle_away(tag: str, hold: _Found, away: Sequence[Taken]) -> Generator[Any, Any, None]:
    epoch = yield Command(tag, ("GET", epoch_key(tag)))
    if epoch and is_live(epoch):
        taken = [part for part in away if part.key.startswith(tag)]
        final = _final(hold.payload, epoch, body([], taken, home="-"))
        yield Script("settle", [tag], [hold.record_id, epoch, final])


def _sweep_away(tag: str, epoch: bytes, hold: _Found) -> Generator[Any, Any, None]:
    """A part whose home was never reached, or has been written and forgotten. Where the home is
    still there, sweeping it will settle this part, too."""
    payload = hold.payload
    home = yield Command(payload.home, ("HGET", held_key(payload.home), hold.record_id))
    if home and home[:1] != GIVEN_UP:
        return
    if payload.state == OPEN:
        final = _final(payload, epoch, body([], payload.taken, home=payload.home))
        yield Script("settle", [tag], [hold.record_id, epoch, final])
    yield Script("committed", [tag], [epoch, hold.record_id])
