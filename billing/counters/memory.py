"""Counters of one process. Nothing here waits, so every call is atomic on the event loop."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NamedTuple

from billing.counters.asks import (
    BUCKET,
    NO_LIMIT,
    PURSE,
    SLOTS,
    Admitted,
    Answer,
    Ask,
    Cold,
    Hold,
    Orphan,
    Refused,
    SettleOrphan,
    Short,
    State,
    Taken,
    tick_of,
)

TIDY_MS = 60_000


def milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


class _Bucket:
    """`level` is what is inside, in ticks of tokens; `at` the tick of time when it was so."""

    __slots__ = ("at", "level", "scale", "tick", "window")

    def __init__(self, window: int, level: int, at: int) -> None:
        self.window, self.tick = window, tick_of(window)
        self.scale = window // self.tick
        self.level, self.at = level, at

    def fill(self, amount: int, ticks: int) -> None:
        """Lets in what has come until a tick. More than a window of time fills any bucket."""
        if ticks > self.at:
            self.level += amount * min(ticks - self.at, 2 * self.scale)
            self.at = ticks

    def seen(self, ask: Ask, now: int) -> int:
        """What is inside now, for who only looks: where two limits count in one bucket, the wider
        one must not fill it."""
        ticks = min(max(0, now // self.tick - self.at), 2 * self.scale)
        return min(self.level + ask.amount * ticks, ask.most * self.scale)


class _Settled(NamedTuple):
    """A hold whose record is not in the database yet: what it used, and what changes settled."""

    asks: Sequence[Ask]
    used: Sequence[int]
    changed: Sequence[Taken]

    def used_of(self, key: str) -> int:
        used = sum(
            actual
            for ask, actual in zip(self.asks, self.used, strict=True)
            if ask.key == key and ask.kind != SLOTS
        )
        return used + sum(taken.take for taken in self.changed if taken.key == key)


class MemoryCounters:
    """`clock` is in milliseconds and never goes back; `epoch` tells the seconds since the epoch.
    What is as if it had never been is forgotten every `tidy_ms`."""

    keeps_entries = False

    def __init__(
        self,
        clock: Callable[[], int] = milliseconds,
        epoch: Callable[[], float] = time.time,
        tidy_ms: int = TIDY_MS,
    ) -> None:
        self._clock = clock
        self._epoch = epoch
        self._tidy_ms = tidy_ms
        self._began = clock()
        self._buckets: dict[str, _Bucket] = {}
        self._slots: dict[str, list[int]] = {}
        """How many are taken."""
        self._purses: dict[str, list[int]] = {}
        """Settled, reserved, and when the period ends."""
        self._open: dict[str, list[Ask]] = {}
        self._settled: dict[str, _Settled] = {}
        self._changed: dict[str, list[Taken]] = {}
        """What changes have settled of holds that are open still."""
        self._tidied = self._began

    @property
    def problem(self) -> str:
        return ""

    async def start(self, *, insist: bool = False) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def sweep(self, settle: SettleOrphan) -> AsyncIterator[Sequence[Orphan]]:
        """Whoever held something here died with it: the journals tell of that."""
        nobody: Sequence[Sequence[Orphan]] = ()
        for orphans in nobody:
            yield orphans

    # ---- admitting

    async def admit(self, hold: Hold) -> Answer:
        answer = self._take(hold.asks)
        if type(answer) is Admitted:
            self._open[hold.record_id] = hold.asks
        return answer

    def _take(self, asks: Sequence[Ask]) -> Answer:
        now = self._clock()
        if now - self._tidied > self._tidy_ms:
            self._tidy(now)
        states, cold, short = self._look(asks, now)
        if cold:
            return Cold(cold)
        if short:
            return Refused(short)
        levels = []
        for ask, state in zip(asks, states, strict=True):
            if type(state) is _Bucket:
                state.level -= ask[2] * state.scale
                levels.append(state.level // state.scale)
            elif ask[0] == PURSE:
                state[1] += ask[2]
                levels.append(state[0] + state[1])
            else:
                state[0] += ask[2]
                levels.append(ask[3] - state[0])
        return Admitted(levels)

    def _look(self, asks: Sequence[Ask], now: int) -> tuple[list[Any], list[int], list[Short]]:
        """The counters, where none is cold; those that are; those that have too little. In one
        piece and by position, because every request passes here for each of its counters."""
        states: list[Any] = []
        cold: list[int] = []
        short: list[Short] = []
        for place, (kind, key, take, most, amount, window, _) in enumerate(asks):
            if kind == BUCKET:
                bucket = self._buckets.get(key)
                if bucket is None:
                    if now - self._began < window:
                        cold.append(place)
                        continue
                    bucket = self._new_bucket(asks[place], now)
                ticks = now // bucket.tick
                if ticks != bucket.at:
                    bucket.fill(amount, ticks)
                bucket.level = min(bucket.level, most * bucket.scale)
                lacking = take * bucket.scale - bucket.level
                if lacking > 0:
                    wait = -(-lacking // amount) * bucket.tick
                    short.append(Short(place, wait, bucket.level // bucket.scale))
                states.append(bucket)
            elif kind == PURSE:
                purse = self._purses.get(key)
                if purse is None:
                    cold.append(place)
                elif most != NO_LIMIT and purse[0] + purse[1] + take > most:
                    short.append(Short(place, -1, most - purse[0] - purse[1]))
                states.append(purse)
            else:
                slots = self._slots.get(key)
                if slots is None:
                    slots = self._slots[key] = [0]
                if slots[0] + take > most:
                    short.append(Short(place, -1, most - slots[0]))
                states.append(slots)
        return states, cold, short

    def _new_bucket(self, ask: Ask, now: int) -> _Bucket:
        """One that nobody has used for a window: it is full."""
        bucket = self._buckets[ask.key] = _Bucket(ask.window, 0, now // tick_of(ask.window))
        bucket.level = ask.most * bucket.scale
        return bucket

    async def change(self, hold: Hold, used: Sequence[tuple[Ask, int]], asks: list[Ask]) -> Answer:
        gone = {id(ask) for ask, _ in used}  # another of the hold's may be equal
        for ask, actual in used:
            self._settle(ask, actual)
        hold.asks[:] = [ask for ask in hold.asks if id(ask) not in gone]
        if used:
            parts = (Taken(ask.kind, ask.key, n) for ask, n in used if ask.kind != SLOTS)
            self._changed.setdefault(hold.record_id, []).extend(parts)
        answer = self._take(asks)
        if type(answer) is Admitted:
            hold.asks.extend(asks)
        return answer

    # ---- settling

    async def settle(self, hold: Hold, used: Sequence[int]) -> Sequence[int] | None:
        if self._open.pop(hold.record_id, None) is None:
            return None
        changed = self._changed.pop(hold.record_id, ()) if self._changed else ()
        self._settled[hold.record_id] = _Settled(hold.asks, used, changed)
        return [self._settle(ask, actual) for ask, actual in zip(hold.asks, used, strict=True)]

    def _settle(self, ask: Ask, actual: int) -> int:
        """What is settled in a purse now. A counter that was made cold meanwhile stays so: it will
        be rebuilt."""
        kind, key, take = ask[0], ask[1], ask[2]
        if kind == BUCKET:
            if take != actual and (bucket := self._buckets.get(key)) is not None:
                bucket.level += (take - actual) * bucket.scale
        elif kind == SLOTS:
            slots = self._slots.get(key)
            if slots is not None:
                slots[0] = max(slots[0] - take, 0)
        else:
            purse = self._purses.get(key)
            if purse is not None:
                purse[1] -= take
                purse[0] += actual
                settled: int = purse[0]
                return settled
        return 0

    async def release(self, hold: Hold) -> None:
        if self._open.pop(hold.record_id, None) is not None:
            for ask in hold.asks:
                self._settle(ask, 0)

    async def committed(self, record_ids: Collection[str], tags: Collection[str]) -> None:
        for record_id in record_ids:
            self._settled.pop(record_id, None)

    # ---- rebuilding

    async def held(self, tag: str) -> Collection[str]:
        return [*self._open, *self._settled]

    async def warm(self, ask: Ask, total: int, apart_from: Collection[str]) -> bool:
        if any(name not in self._open and name not in self._settled for name in apart_from):
            return False
        key = ask.key
        reserved = sum(a.take for asks in self._open.values() for a in asks if a.key == key)
        used = sum(hold.used_of(key) for hold in self._settled.values())
        used += sum(t.take for takes in self._changed.values() for t in takes if t.key == key)
        if ask.kind == PURSE:
            self._purses.setdefault(key, [total + used, reserved, ask.until])
        elif ask.kind == BUCKET and key not in self._buckets:
            bucket = self._new_bucket(ask, self._clock())
            bucket.level = max(0, ask.most - total - used) * bucket.scale - reserved * bucket.scale
        return True

    async def forget(self, keys: Collection[str]) -> None:
        for key in keys:
            self._purses.pop(key, None)

    # ---- people, and the passing of time

    async def read(self, asks: Sequence[Ask]) -> Sequence[State | None]:
        return [self._state(ask) for ask in asks]

    def _state(self, ask: Ask) -> State | None:
        if ask.kind == PURSE:
            purse = self._purses.get(ask.key)
            return State(purse[0], purse[1]) if purse else None
        if ask.kind == SLOTS:
            return State(self._slots.get(ask.key, [0])[0], 0)
        now, bucket = self._clock(), self._buckets.get(ask.key)
        if bucket is None:
            return None if now - self._began < ask.window else State(0, 0)
        return State(ask.most - bucket.seen(ask, now) // bucket.scale, 0)

    def _tidy(self, now: int) -> None:
        """Forgets what is as if it had never been: buckets unused for two windows, ended periods
        that nothing open counts in."""
        self._tidied = now
        idle = [
            key
            for key, bucket in self._buckets.items()
            if now // bucket.tick - bucket.at > 2 * bucket.scale and bucket.level >= 0
        ]
        for key in idle:
            del self._buckets[key]
        for key in [key for key, slots in self._slots.items() if not slots[0]]:
            del self._slots[key]
        over = self._epoch() - 3600
        for key in [k for k, purse in self._purses.items() if 0 < purse[2] < over and not purse[1]]:
            del self._purses[key]
