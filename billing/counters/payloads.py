"""What a hold looks like in Redis: a field of `gateway:{tag}:held`, a hash, named by the record id.

A payload is a head that scripts read by position, a packed list, and the rest is the entry:

    state (1)  worker (12)  epoch (16)  length of the list (6)  [asks, taken, home, away]  entry

`asks` are what is open, `taken` what is settled so far, both of this tag alone. A hold has a part
in each tag that it has asks of; the part at its home has the entry, and in `away` what it takes, or
has settled, elsewhere; the others say in `home` where that is.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from billing.counters.asks import GATEWAY_TAG, SLOTS, Ask, Taken, numbered_tag

OPEN, SETTLED, SWEPT, GIVEN_UP = b"o", b"s", b"w", b"x"

HEAD, LENGTH = 29, 6
EPOCH_DIGITS = 16

pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[list[Ask], list[Taken], str, list[Taken]]).decode


Part = tuple[int, str, int]
"""A Taken, or the beginning of an Ask: kind, key, amount."""


class Payload(NamedTuple):
    state: bytes
    worker: bytes
    asks: list[Ask]
    taken: list[Taken]
    home: str
    away: list[Taken]
    entry: bytes


def body(
    asks: Sequence[Ask],
    taken: Sequence[Part],
    *,
    home: str = "",
    entry: bytes = b"",
    away: Sequence[Part] = (),
) -> bytes:
    packed = pack((asks, taken, home, away))
    return b"%06d%b%b" % (len(packed), packed, entry)


def read(payload: bytes) -> Payload:
    """Marks (of what was given up) have no more than a head."""
    if len(payload) == HEAD:
        return Payload(payload[:1], payload[1:13], [], [], "", [], b"")
    start = HEAD + LENGTH
    end = start + int(payload[HEAD:start])
    asks, taken, home, away = _unpack(payload[start:end])
    return Payload(payload[:1], payload[1:13], asks, taken, home, away, payload[end:])


def used_of(asks: Iterable[Ask], used: Iterable[int]) -> list[Part]:
    """What stays of asks once they are settled: slots are free again."""
    return [
        (ask[0], ask[1], actual) for ask, actual in zip(asks, used, strict=True) if ask[0] != SLOTS
    ]


def home_of(record_id: str, tags: Sequence[str]) -> str:
    """Where the entry of a hold lives: with its tenant's counters, when it has some."""
    for tag in tags:
        if tag != GATEWAY_TAG:
            return tag
    return tags[0] if tags else numbered_tag(zlib.crc32(record_id.encode()))


def spelled(ask: Ask) -> Ask:
    """With a key that UTF-8 can carry: a user's name may hold half a surrogate pair."""
    key = ask.key.encode("utf-8", "backslashreplace").decode()
    return ask if key == ask.key else ask._replace(key=key)


def held_key(tag: str) -> bytes:
    return f"gateway:{tag}:held".encode()


def is_live(epoch: bytes) -> bool:
    """Or whether it is still registering."""
    return epoch[EPOCH_DIGITS : EPOCH_DIGITS + 6] == b" live "


def epoch_key(tag: str) -> bytes:
    return f"gateway:{tag}:epoch".encode()
