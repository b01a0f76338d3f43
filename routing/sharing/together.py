"""Several workers, which tell each other through Redis.

One hash has the latest record of each circuit, one short key each claim. Five times a second a
worker makes one call that tells its news, renews what it has claimed, and returns what it has not
heard. Requests ask Redis only to become a probe. While Redis is away each worker goes on with what
it knows, and a Redis that forgot everything is told again.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

import orjson
from redis.exceptions import MovedError

from billing.counters.asks import GATEWAY_TAG, CountersAway
from billing.counters.nodes import Nodes
from billing.counters.tally import Tally
from routing.circuits import FORGET_SECONDS, Circuits
from routing.sharing.scripts import load
from routing.subjects import Subject, name_of

log = logging.getLogger(__name__)

KEY = f"gateway:{GATEWAY_TAG}:health".encode()
SECONDS_BETWEEN = 0.2
TRIES_AT_START = 5
CLAIM_MS = 1_000
DEADLINE = 0.050
"""Seconds that a request may wait to hear whether it is the probe."""
MOST_RECORDS = 1_000
KEPT_MS = int(FORGET_SECONDS * 1_000)


class Together:
    is_shared = True

    def __init__(self, url: str, *, most: int = MOST_RECORDS) -> None:
        self.circuits = Circuits()
        self.problem = "Redis has not answered yet"
        self._most = most
        self._name = secrets.token_hex(6)
        self._nodes = Nodes(url, load(), deadline=DEADLINE, tally=Tally(), on_change=_nothing)
        self._heard = ""
        self._claimed: set[Subject] = set()
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        for _ in range(TRIES_AT_START):
            await self.exchange()
            if not self.problem:
                break
            await asyncio.sleep(SECONDS_BETWEEN)
        self._keeping = asyncio.create_task(self._keep(), name="share-health")

    async def stop(self) -> None:
        if self._keeping is not None:
            self._stopping.set()
            await self._keeping
            await self.exchange()
        await self._nodes.stop()

    async def _keep(self) -> None:
        forgot_at = time.monotonic()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), SECONDS_BETWEEN)
            await self.exchange()
            if time.monotonic() - forgot_at > FORGET_SECONDS / 60:
                self.circuits.forget(time.time())
                forgot_at = time.monotonic()

    async def exchange(self) -> None:
        async with self._turn:
            held = {one for one in self._claimed if _is_probing(self.circuits, one)}
            over, self._claimed = self._claimed - held, held
            news = self.circuits.take_news()
            said = {"news": list(news.items()), "held": _names(held), "over": _names(over)}
            was_told = False
            try:
                self.problem = await self._told(said)
                was_told = not self.problem
            finally:  # also where whoever waits for this leaves
                if not was_told:
                    self.circuits.put_back(news)

    async def _told(self, said: dict[str, Any]) -> str:
        """Empty once it was said and the answer heard, else why not."""
        try:
            reply = await self._share(said)
            self._hear(reply[0].decode(), [text.decode() for text in reply[1:]])
        except CountersAway:
            return "Redis is away: what other workers know of upstreams is not heard"
        except Exception:
            log.exception("the health of upstreams is not shared")
            return "what workers tell each other of upstreams cannot be read"
        return ""

    async def _share(self, said: dict[str, Any]) -> list[bytes]:
        words = (self._heard, self._name, CLAIM_MS, KEPT_MS, self._most, orjson.dumps(said))
        reply: list[bytes] = await self._call("share", *words, patient=True)
        return reply

    def _hear(self, version: str, texts: list[str]) -> None:
        if version == self._heard:
            return
        records = dict(zip(texts[::2], texts[1::2], strict=True))
        if wrong := self.circuits.hear(records, time.time()):
            log.error("what is told of the health of upstreams cannot be read: %s", wrong[:5])
        self.circuits.tell_again(records, time.time())
        self._heard = version

    # ---- claims

    async def claim_probe(self, subjects: Sequence[Subject]) -> bool:
        wanted = [(name_of(one), self.circuits.record(one)) for one in subjects]
        granted = await self._claim(wanted, CLAIM_MS)
        if granted:
            self._claimed.update(subjects)
        return granted

    async def claim_turn(self, name: str, seconds: float) -> bool:
        # No subject has such a name, and so no record is compared.
        return await self._claim([(f"turn/{name}", "")], int(seconds * 1_000))

    async def _claim(self, wanted: Sequence[tuple[str, str]], milliseconds: int) -> bool:
        try:
            return bool(await self._call("claim", self._name, milliseconds, orjson.dumps(wanted)))
        except CountersAway:
            return True

    async def _call(self, script: str, *words: Any, patient: bool = False) -> Any:
        for _ in range(2):
            line = await self._nodes.line(GATEWAY_TAG)
            try:
                return await line.script(script, (KEY,), *words, patient=patient)
            except MovedError:
                await self._nodes.map()
        raise CountersAway("the cluster's slots are moving")


def _nothing(_tags: Sequence[str]) -> None:
    """Another server answers: its version will tell."""


def _is_probing(circuits: Circuits, subject: Subject) -> bool:
    circuit = circuits.get(subject)
    return circuit is not None and circuit.probing


def _names(subjects: set[Subject]) -> list[str]:
    return [name_of(subject) for subject in subjects]
