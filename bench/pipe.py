"""The bare pipe: the least that a Python process can do between a caller and an upstream.

A raw ASGI function that collects the request body, posts it with aiohttp and hands the bytes back.
No routing, no credentials, no accounting: the yardstick for what all of that costs.

    BENCH_UPSTREAM=http://127.0.0.1:9900/v1/chat/completions uvicorn bench.pipe:app
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9900/v1/chat/completions")
HEADERS = {"content-type": "application/json"}


class Pipe:
    """The ASGI application; its client session lives from start-up to shutdown."""

    session: aiohttp.ClientSession

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["method"] == "GET":
            await _answer(send, 200, b"text/plain")
            await send({"type": "http.response.body", "body": b"ready"})
        else:
            await self._forward(await _read(receive), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        self.session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, body: bytes, send: Send) -> None:
        async with self.session.post(UPSTREAM, data=body, headers=HEADERS) as answer:
            await _answer(send, answer.status, answer.headers["content-type"].encode())
            async for data in answer.content.iter_any():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body"})


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Send, status: int, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


app = Pipe()
