"""Callers who ask at a steady rate, whatever becomes of their answers; or so many at a time."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.gateway_process import GatewayProcess, IssuedKey

LAST_BYTES = 200


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. `sent` is monotonic; a `status` of 0 means that none came."""

    sent: float
    seconds: float
    status: int
    headers: dict[str, str]
    end: bytes
    """The last bytes of its body."""

    @property
    def at(self) -> float:
        """When it had come."""
        return self.sent + self.seconds

    @property
    def is_whole(self) -> bool:
        """It was answered to the end: a stream with the mark of one."""
        streamed = self.headers.get("content-type", "").startswith("text/event-stream")
        ends = (b"data: [DONE]\n\n", b'"type":"message_stop"}\n\n') if streamed else (b"}",)
        return self.status == 200 and self.end.endswith(ends)

    @property
    def record_id(self) -> str:
        return self.headers["x-gateway-record-id"]


Body = Callable[[int], dict[str, Any]]
"""What the request of a number says."""


class _Callers:
    def __init__(self, gateway: GatewayProcess, key: IssuedKey, path: str, body: Body) -> None:
        self._gateway, self._key = gateway, key
        self._path, self._body = path, body
        self.heard: list[Heard] = []

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            self._gateway.url,
            headers=self._key.headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def ask(self, session: aiohttp.ClientSession, number: int) -> None:
        sent = time.monotonic()
        status, headers, body = 0, {}, b""
        try:
            async with session.post(self._path, json=self._body(number)) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                body = await answer.read()
                status = answer.status
        except aiohttp.ClientError as error:
            body = repr(error).encode()
        took = time.monotonic() - sent
        self.heard.append(Heard(sent, took, status, headers, body[-LAST_BYTES:]))


async def _so_many(callers: _Callers, count: int, at_once: int) -> None:
    numbers = iter(range(count))

    async def go_on(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            await callers.ask(session, number)

    async with callers.session() as session:
        await asyncio.gather(*(go_on(session) for _ in range(at_once)))


def so_many(
    gateway: GatewayProcess, key: IssuedKey, path: str, body: Body, *, count: int, at_once: int
) -> list[Heard]:
    """The answers to `count` requests, of which so many are open at a time."""
    callers = _Callers(gateway, key, path, body)
    asyncio.run(_so_many(callers, count, at_once))
    return callers.heard


class SteadyLoad(AbstractContextManager["SteadyLoad"]):
    """Requests at `rate` a second, from a thread of its own, until the context ends; then all of
    them have been answered."""

    def __init__(
        self, gateway: GatewayProcess, key: IssuedKey, path: str, body: Body, *, rate: float
    ) -> None:
        self._callers = _Callers(gateway, key, path, body)
        self._rate = rate
        self._stops = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self._thread.join()

    @property
    def heard(self) -> list[Heard]:
        return list(self._callers.heard)

    async def _run(self) -> None:
        began, number = time.monotonic(), 0
        async with self._callers.session() as session, asyncio.TaskGroup() as group:
            while not self._stops.is_set():
                group.create_task(self._callers.ask(session, number))
                number += 1
                await asyncio.sleep(max(began + number / self._rate - time.monotonic(), 0))
