"""Which server has a tag's counters: the only one, or a node of a Redis Cluster."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import MovedError

from billing.counters.asks import GATEWAY_TAG, TENANT_TAGS, CountersAway, numbered_tag
from billing.counters.calls import Line
from billing.counters.payloads import held_key
from billing.counters.scripts import Scripts
from billing.counters.tally import Tally

TAGS = (*(numbered_tag(number) for number in range(TENANT_TAGS)), GATEWAY_TAG)

_SLOTS = {tag: key_slot(tag[1:-1].encode()) for tag in TAGS}

Address = tuple[str, int]


class Nodes:
    def __init__(
        self,
        url: str,
        scripts: Scripts,
        *,
        deadline: float,
        tally: Tally,
        on_change: Callable[[Sequence[str]], None],
    ) -> None:
        """`on_change` is called with the tags whose server has been replaced."""
        self._scripts, self._deadline, self._tally = scripts, deadline, tally
        self._told = on_change
        pool = ConnectionPool.from_url(url)
        self._kind = pool.connection_class
        self._login = {
            **pool.connection_kwargs,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": None,
        }
        self._first = self._line()
        self._lines: dict[Address, Line] = {}
        self._of_tag: dict[str, Line] = {}
        self._mapping: asyncio.Task[None] | None = None
        self.is_cluster: bool | None = None
        """None until a server was reached."""

    def _line(self, address: Address | None = None) -> Line:
        login = dict(self._login)
        if address is not None:
            login["host"], login["port"] = address

        def connect() -> AbstractConnection:
            return self._kind(**login)

        return Line(
            connect,
            self._scripts,
            deadline=self._deadline,
            tally=self._tally,
            on_change=self._changed,
        )

    def _changed(self, line: Line) -> None:
        if self.is_cluster is None:
            self.is_cluster = line.facts.get("redis_mode") == "cluster"
        self._told([tag for tag in TAGS if self._of_tag.get(tag, self._first) is line])

    # ---- calling

    async def line(self, tag: str) -> Line:
        """The line of a tag; connects first, when nobody has yet."""
        if self.is_cluster is None:
            await self._first.call("PING")
        if self.is_cluster and tag not in self._of_tag:
            await self.map()
        return self._of_tag.get(tag, self._first)

    async def script(
        self, name: str, tags: Sequence[str], *arguments: Any, patient: bool = False
    ) -> Any:
        """Calls a script with the held hash of each tag, which must live together."""
        keys = tuple(map(held_key, tags))
        for _ in range(2):
            line = self._first if self.is_cluster is False else await self.line(tags[0])
            try:
                return await line.script(name, keys, *arguments, patient=patient)
            except MovedError:
                await self.map()
        raise CountersAway("the cluster's slots are moving")

    async def call(self, tag: str, *command: Any, patient: bool = False) -> Any:
        """A command on one key of a tag."""
        for _ in range(2):
            try:
                return await (await self.line(tag)).call(*command, patient=patient)
            except MovedError:
                await self.map()
        raise CountersAway("the cluster's slots are moving")

    async def each(
        self, tags: Sequence[str], command: str, key: Callable[[str], bytes]
    ) -> dict[str, Any]:
        """A command on one key of each tag, in one pipeline to each server."""
        calls = [(await self.line(tag)).call(command, key(tag)) for tag in tags]
        found = await asyncio.gather(*calls, return_exceptions=True)
        for reply in found:
            if isinstance(reply, MovedError):
                await self.map()
            elif isinstance(reply, BaseException) and not isinstance(reply, CountersAway):
                raise reply
        return {
            tag: reply
            for tag, reply in zip(tags, found, strict=True)
            if not isinstance(reply, BaseException)
        }

    # ---- a cluster

    async def map(self) -> None:
        """Asks the cluster who has which tag: once, for all who wait."""
        if self._mapping is None or self._mapping.done():
            self._mapping = asyncio.create_task(self._map())
        await asyncio.shield(self._mapping)

    async def _map(self) -> None:
        ranges = await self._ask_anyone()
        for tag in TAGS:
            for first, last, master, *_ in ranges:
                if first <= _SLOTS[tag] <= last:
                    self._assign(tag, (master[0].decode(), master[1]))

    async def _ask_anyone(self) -> list[Any]:
        """Any node knows the way, as long as it is there itself."""
        away: CountersAway | None = None
        for line in [self._first, *self._lines.values()]:
            try:
                return list(await line.call("CLUSTER", "SLOTS"))
            except CountersAway as error:
                away = error
        assert away is not None
        raise away

    def _assign(self, tag: str, address: Address) -> None:
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = self._line(address)
        if self._of_tag.get(tag) is not line:
            self._of_tag[tag] = line
            self._told([tag])

    def faults(self) -> list[str]:
        """What is wrong with the servers' settings, in words for an operator."""
        policies = {line.facts.get("maxmemory_policy", "noeviction") for line in self.lines}
        return [
            f"Redis' maxmemory-policy is {policy}: it may evict counters; set it to noeviction"
            for policy in sorted(policies - {"noeviction"})
        ]

    async def stop(self) -> None:
        if self._mapping is not None:
            self._mapping.cancel()
        for line in [self._first, *self._lines.values()]:
            await line.stop()

    @property
    def lines(self) -> list[Line]:
        return [self._first, *self._lines.values()]
