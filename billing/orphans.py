"""Requests whose worker died: settled by what was known of them, so that counters and records agree
to the last nano-unit."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from billing.counters.asks import BUCKET, SLOTS, Taken
from billing.records import Entry, Record

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
        entry = journalled.get(entry.record.record_id, entry)
        entry = Entry(True, entry.record, entry.attempts)
        return [used_of(entry.record, one) for one in taken], _encode(entry)

    return settle


def entry_of(line: bytes) -> Entry:
    """A line of a journal, or of what the counters keep of it."""
    return _decode(line)
