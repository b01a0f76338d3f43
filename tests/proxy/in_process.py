"""The pipeline in this process, without sockets or database: its upstream is a list of chunks.

For what sockets cannot promise: that an answer arrives cut exactly so. Everything between the ASGI
call and the upstream's bytes is the real thing; the store keeps in memory what it is told.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing.records import AttemptRow, Entry, Record
from proxy.app import Proxy
from proxy.snapshot import Snapshot
from proxy.standing import Standing


@dataclass(frozen=True, slots=True)
class Script:
    """An upstream's answer: its head, and its body as it arrives."""

    status: int
    headers: Mapping[str, str]
    chunks: Sequence[bytes]


class Arriving:
    """Stands in for proxy.upstream.Answer."""

    def __init__(self, script: Script) -> None:
        self.status = script.status
        self._headers = {name.lower().encode(): value for name, value in script.headers.items()}
        self._chunks = iter(script.chunks)

    def header(self, name: bytes) -> str | None:
        return self._headers.get(name)

    @property
    def retry_after(self) -> float | None:
        return None

    async def read(self, late_at: float = math.inf) -> bytes | None:
        return next(self._chunks, None)

    async def read_all(self, idle: float = math.inf, total_at: float = math.inf) -> bytes:
        return b"".join(self._chunks)

    async def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@dataclass(slots=True)
class Upstream:
    """Stands in for proxy.upstream.Upstreams: answers in turn, and keeps what it was sent."""

    scripts: list[Script] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def post(self, url: str, *, body: bytes, **_: Any) -> Arriving:
        self.bodies.append(body)
        return Arriving(self.scripts.pop(0))


class Memory:
    """Stands in for proxy.store.Store."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.settled: list[Entry] = []

    async def start(self) -> None:
        pass

    async def catch_up(self) -> Snapshot:
        return self.snapshot

    def admit(self, record: Record, attempts: list[AttemptRow]) -> object:
        return self

    def amend(self, segment: object, record: Record, attempts: list[AttemptRow]) -> None:
        pass

    def settle(self, segment: object, entry: Entry) -> bytes:
        return b""

    def enqueue(self, segment: object, entry: Entry) -> None:
        self.settled.append(entry)

    def raise_alert(self, event: object) -> None:
        pass

    async def used(self, *_: object, **__: object) -> int:
        return 0

    def count_refusal(self, **_: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the caller got, what the upstream was sent, and what was recorded, if anything was."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: Sequence[bytes]
    record: Record | None


class InProcess:
    """One proxy over a frozen configuration."""

    def __init__(self, snapshot: Snapshot, token: str) -> None:
        self._token = token
        self._proxy = Proxy()
        self._store = self._proxy.worker.store = Memory(snapshot)  # type: ignore[assignment]
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def ask(self, path: str, body: bytes, scripts: Iterable[Script]) -> Outcome:
        """One request of a caller who sends and reads without delay."""
        upstream = Upstream(list(scripts))
        self._proxy.worker.upstreams = upstream  # type: ignore[assignment]
        self._proxy.worker.standing = Standing()  # what fails in one request is forgotten
        self._store.settled.clear()
        messages = self._loop.run_until_complete(self._call(path, body))
        start, *rest = messages
        settled = self._store.settled
        assert len(settled) <= 1
        return Outcome(
            status=start["status"],
            headers={name.decode(): value.decode() for name, value in start["headers"]},
            body=b"".join(message["body"] for message in rest),
            sent=upstream.bodies,
            record=settled[0].record if settled else None,
        )

    async def _call(self, path: str, body: bytes) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [
                (b"authorization", f"Bearer {self._token}".encode()),
                (b"content-type", b"application/json"),
            ],
        }
        await self._proxy(scope, receive, send)
        return sent
