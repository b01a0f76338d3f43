"""Requests whose worker died: settled by what was known of them, so that counters and records agree
to the last nano-unit."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from billing import journal, ledger
from billing.counters.asks import BUCKET, SLOTS, Taken
from billing.partitions import ensure_partitions
from billing.records import Entry, Record

log = structlog.get_logger("gateway.orphans")

_decode = msgspec.json.Decoder(Entry).decode
_encode = msgspec.json.Encoder().encode


def used_of(record: Record, taken: Taken) -> int:
    """What a record says that one counter of its hold should count."""
    if taken.kind == SLOTS:
        return taken.take
    unit = taken.key.split("|")[2]
    if taken.kind == BUCKET and unit == "requests":
        return taken.take
    if unit == "tokens":
        return (
            record.input_tokens
            + record.cached_input_tokens
            + record.cache_write_tokens
            + record.output_tokens
            + record.reasoning_tokens
        )
    return (record.charge if unit == "charge" else record.cost) or 0


def settler(
    journalled: Mapping[str, Entry],
) -> Callable[[bytes, Sequence[Taken]], tuple[Sequence[int], bytes]]:
    """Settles an orphan as its journal says, where that is at hand and final; else as its admission
    described it: `interrupted`, and charged by the tenant's `on_disconnect`."""

    def settle(line: bytes, taken: Sequence[Taken]) -> tuple[Sequence[int], bytes]:
        entry = _decode(line)
        found = journalled.get(entry.record.record_id)
        if entry.mirror is not None:
            entry = found if found is not None and found.mirror is not None else entry
            return [used_of(entry.billed, one) for one in taken], _encode(entry)
        entry = found or entry
        entry = Entry(True, entry.record, entry.attempts)
        return [used_of(entry.record, one) for one in taken], _encode(entry)

    return settle


def entry_of(line: bytes) -> Entry | None:
    """What the counters keep of a request's journal; None where that cannot be read, which must not
    keep the others from being swept."""
    try:
        return _decode(line)
    except ValueError:
        log.error("an orphan's record cannot be read", line=line[:200])
        return None


def recover_journals(
    spool: Path, held: Collection[str], *, now: datetime.datetime
) -> tuple[int, dict[str, Entry]]:
    """Writes what journals of the dead tell. One of whose requests is held still stays until that
    was swept. Returns how many requests were written, and the final entries that stay."""
    waiting: dict[str, Entry] = {}

    def write(entries: list[Entry]) -> bool:
        if any(one.record.record_id in held or one.hold_id in held for one in entries):
            waiting.update((e.record.record_id, e) for e in entries if e.settled)
            return False
        ledger.write(entries, {}, now=now)
        return True

    ensure_partitions(now.date())
    return journal.recover(spool, write), waiting
