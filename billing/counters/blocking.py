"""The counters in Redis for whoever has no event loop: the admin and commands. No requests."""

import secrets
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import redis
from redis.exceptions import NoScriptError, RedisError

from billing.counters.asks import GATEWAY_TAG, Ask, CountersAway, Orphan, SettleOrphan, State
from billing.counters.epochs import new_mark
from billing.counters.leases import SECONDS_OF_A_LEASE
from billing.counters.nodes import TAGS
from billing.counters.parts import OTHER_EPOCH
from billing.counters.payloads import epoch_key, held_key, home_of, is_live, pack, spelled
from billing.counters.rebuilding import by_tag, places_by_tag, states_of
from billing.counters.scripts import load
from billing.counters.sweeping import LOCK_MS, Command, sweep_tag

SECONDS = 5.0


class BlockingCounters(AbstractContextManager["BlockingCounters"]):
    """All calls may raise CountersAway, also while counters are being rebuilt."""

    def __init__(self, url: str, *, lease: float = SECONDS_OF_A_LEASE) -> None:
        self._scripts = load()
        self._lease_ms = int(lease * 1000)
        self._name = secrets.token_hex(6)
        self._client = _connected(url)

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def read(self, asks: Sequence[Ask]) -> list[State | None]:
        """Counters as they stand; None for a cold one."""
        states: dict[int, State | None] = {}
        for tag, places in places_by_tag(asks).items():
            epoch = self._epoch(tag)
            if epoch is None:  # nothing was ever counted here, or nobody knows it any more
                states.update(dict.fromkeys(places))
                continue
            packed = pack([spelled(asks[place]) for place in places])
            reply = self._in_epoch("read", tag, epoch, packed)
            states.update(zip(places, states_of(reply), strict=True))
        return [states[place] for place in range(len(asks))]

    def forget(self, keys: Collection[str]) -> None:
        """Makes counters cold."""
        for tag, mine in by_tag(keys).items():
            epoch = self._epoch(tag)
            if epoch is not None:
                self._in_epoch("forget", tag, epoch, new_mark(), *mine)

    def held(self, tag: str) -> list[str]:
        """The record ids of a tag's holds."""
        return [name.decode() for name in self._call("HKEYS", held_key(tag))]

    def committed(self, record_ids: Collection[str], tags: Collection[str]) -> None:
        """The database has these records, whose counters have these tags."""
        for record_id in record_ids:
            for tag in tags or [home_of(record_id, [])]:
                epoch = self._epoch(tag)
                if epoch is not None:
                    self._in_epoch("committed", tag, epoch, record_id)

    def sweep(self, settle: SettleOrphan) -> Iterator[list[Orphan]]:
        """As `RedisCounters.sweep` does. A worker that stopped renewing is a suspect at first:
        it is swept when it still has not renewed half a lease later."""
        for tag in TAGS:
            if not self._script("lock", [GATEWAY_TAG], self._name, LOCK_MS):
                return
            if orphans := self._drive(sweep_tag(tag, self._lease_ms, settle)):
                yield orphans
        self._script("lock", [GATEWAY_TAG], self._name, 0)

    # ---- calling

    def _drive(self, steps: Generator[Any, Any, list[Orphan]]) -> list[Orphan]:
        reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                orphans: list[Orphan] = end.value
                return orphans
            if isinstance(step, Command):
                reply = self._call(*step.words)
            else:
                reply = self._script(step.name, step.tags, *step.arguments)

    def _epoch(self, tag: str) -> bytes | None:
        epoch: bytes | None = self._call("GET", epoch_key(tag))
        if epoch is not None and not is_live(epoch):
            raise CountersAway("the counters are being rebuilt")
        return epoch

    def _in_epoch(self, name: str, tag: str, epoch: bytes, *arguments: Any) -> list[Any]:
        reply: list[Any] = self._script(name, [tag], epoch, *arguments)
        if reply[0] == OTHER_EPOCH:
            raise CountersAway("the counters are being rebuilt")
        return reply

    def _script(self, name: str, tags: Sequence[str], *arguments: Any) -> Any:
        keys = [held_key(tag) for tag in tags]
        digest = self._scripts.digests[name].decode()
        try:
            return self._call("EVALSHA", digest, len(keys), *keys, *arguments)
        except NoScriptError:
            source = self._scripts.sources[list(self._scripts.digests).index(name)]
            return self._call("EVAL", source, len(keys), *keys, *arguments)

    def _call(self, *command: Any) -> Any:
        try:
            return self._client.execute_command(*command)
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise CountersAway(f"Redis: {error}") from error


def _connected(url: str) -> Any:
    try:
        client = redis.Redis.from_url(url, socket_timeout=SECONDS)
        if client.info("server")["redis_mode"] == "cluster":
            client.close()
            return redis.RedisCluster.from_url(url, socket_timeout=SECONDS)
    except (RedisError, OSError) as error:
        raise CountersAway(f"Redis: {error}") from error
    return client
