"""What admission asks of the counters, and what they answer. Whole numbers below 2**53 throughout.

Three kinds of counter:

- BUCKET, a limit of requests or tokens: a token bucket of `most`, refilled by `amount` per window.
  What is inside is counted in ticks: a token is as many as the window has, so that what flows in
  during one tick of time is `amount`, a whole number.
- SLOTS, a limit of concurrency: `most` at once.
- PURSE, a budget: settled plus reserved never exceeds `most`; NO_LIMIT for a soft one.

A hold is what one request has taken. It is open until the request is settled, and stays known
until its usage record is in the database: a counter that is cold (never seen, or lost) is rebuilt
from the records and from the holds that the records do not tell of yet.
"""

import zlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

BUCKET, SLOTS, PURSE = 0, 1, 2
NO_LIMIT = -1
LARGEST = 9_000_000_000_000_000
"""Below 2**53: a number in Redis' Lua is a double."""


class Ask(NamedTuple):
    """What a request wants of one counter.

    `key` begins with its tag in braces, `{t17}…`: counters of one tag live together. `take` is in
    requests, tokens, slots or nano-units. `window` is in milliseconds (buckets), `until` in seconds
    since the epoch (purses: when the period ends; 0 for never).
    """

    kind: int
    key: str
    take: int
    most: int
    amount: int = 0
    window: int = 0
    until: int = 0


GATEWAY_TAG = "{gw}"
TENANT_TAGS = 64


def numbered_tag(number: int) -> str:
    return f"{{t{number % TENANT_TAGS}}}"


def tenant_tag(tenant: str) -> str:
    """The tag of a tenant's counters. There are few, so that all of them can be looked through."""
    return numbered_tag(zlib.crc32(tenant.encode()))


def tag_of(key: str) -> str:
    return key[: key.index("}") + 1]


def tick_of(window: int) -> int:
    """Milliseconds of one tick: at most 864,000 to a window, so that amounts of ten thousand
    million stay exact."""
    return 1 if window <= 60_000 else 10 if window <= 3_600_000 else 100


class Admitted(NamedTuple):
    """Everything was taken. `levels` are what is left, as each kind counts it: tokens in the bucket
    (rounded down), free slots, and for a purse what is settled plus reserved."""

    levels: Sequence[int]


class Short(NamedTuple):
    """One counter that refused, by its place among the asks. `wait` is milliseconds until it may
    have enough (-1: unknown); `room` what is left of it."""

    place: int
    wait: int
    room: int


class Refused(NamedTuple):
    """Nothing was taken."""

    short: Sequence[Short]


class Cold(NamedTuple):
    """Nothing was taken: these asks' counters must be rebuilt first."""

    places: Sequence[int]


Answer = Admitted | Refused | Cold


class Taken(NamedTuple):
    """A part of a hold: what was taken of one counter."""

    kind: int
    key: str
    take: int


@dataclass(slots=True)
class Hold:
    """What one request holds. `entry` is the line of its journal: what its usage record would be if
    its worker died now."""

    record_id: str
    asks: list[Ask] = field(default_factory=list)
    entry: bytes = b""


SettleOrphan = Callable[[bytes, Sequence[Taken]], tuple[Sequence[int], bytes]]
"""From the entry of an orphan and what it took: what to count as used of each, and the entry to
write to the database."""


class Orphan(NamedTuple):
    """A settled hold whose worker cannot write its record. Once the database has the entry, say so:
    `committed([record_id], tags)`."""

    record_id: str
    tags: list[str]
    entry: bytes


class State(NamedTuple):
    """A counter as it stands, for people. For a bucket `used` is what is missing from it."""

    used: int
    reserved: int


class CountersAway(Exception):
    """The store of the counters did not answer in time, or is known to be away."""


class Counters(Protocol):
    """An engine. All calls may raise CountersAway."""

    keeps_entries: bool
    """Whether it wants each hold's `entry`, because it outlives its worker."""

    @property
    def problem(self) -> str:
        """What keeps it from counting now; empty when nothing does."""

    async def start(self, *, insist: bool = False) -> None:
        """Does not fail when the store is away: it may come back. With `insist` one that may lose
        counters by its settings is refused, with an error that names the setting."""

    async def stop(self) -> None: ...

    def sweep(self, settle: SettleOrphan) -> AsyncIterator[Sequence[Orphan]]:
        """Settles what dead workers have held; yields what is to be written to the database, and
        then to be `committed`. Yields nothing while another worker is at it."""

    async def admit(self, hold: Hold) -> Answer:
        """Takes everything that `hold.asks` wants, or nothing."""

    async def change(self, hold: Hold, used: Sequence[tuple[Ask, int]], asks: list[Ask]) -> Answer:
        """For another attempt: settles `used`, a part of the hold, and takes `asks`. Where those
        are refused the hold has shrunk by `used`. Updates `hold.asks`."""

    async def settle(self, hold: Hold, used: Sequence[int]) -> Sequence[int] | None:
        """Replaces what each ask took by what was used; slots are given back. `hold.entry` is the
        final one by now. Returns what is settled in each purse then, 0 for other kinds; None when
        the hold is gone (it was swept), and nothing changed."""

    async def release(self, hold: Hold) -> None:
        """Gives everything back and forgets the hold: the request never was."""

    async def committed(self, record_ids: Collection[str], tags: Collection[str]) -> None:
        """The database has these records, whose counters have these tags: forgets their holds."""

    async def held(self, tag: str) -> Collection[str]:
        """The record ids of a tag's holds, open or settled."""

    async def warm(self, ask: Ask, total: int, apart_from: Collection[str]) -> bool:
        """Makes a cold counter from what the records add up to, `apart_from` those of these holds,
        and from the holds themselves. False: one of them is gone meanwhile; read again."""

    async def forget(self, keys: Collection[str]) -> None:
        """Makes counters cold: what their records add up to was changed (an adjustment)."""

    async def read(self, asks: Sequence[Ask]) -> Sequence[State | None]:
        """Counters as they stand, for people; None for a cold one."""
