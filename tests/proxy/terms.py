"""An installation whose tenants have limits and budgets, one for each thing to see, and callers who
press on them."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.proxy.configuration import Document, alias, books, provider

INPUT, OUTPUT = 1_000, 10_000
"""Nano-units a token: prices of 1 and 10 per million tokens."""
USED = 20 * INPUT + 10 * INPUT + 8 * OUTPUT + 4 * OUTPUT
"""What the upstream's usual answer comes to (fake_upstream.USAGE): cached input costs as input,
reasoning as output."""


NAMES = ("first", "second", "narrow", "hurried")


def nano(amount: int) -> str:
    return f"{amount // 10**9}.{amount % 10**9:09d}"


def budget(amount: int, period: str = "month", **fields: Any) -> Document:
    return {"amount": nano(amount), "period": period, **fields}


def terms(upstream: FakeUpstream, tenants: Mapping[str, Document], **more: Any) -> Document:
    """Two providers that answer alike, and two that let requests wait; `both` falls back, `short`
    is capped, `strict` refuses."""
    names = NAMES[:2]
    return {
        "version": 1,
        "providers": {
            **{name: provider(upstream.url(name)) for name in names},
            "narrow": provider(
                upstream.url("narrow"),
                limits={"concurrency": 2},
                queue={"max_waiting": 20, "max_wait": "2s"},
            ),
            "hurried": provider(
                upstream.url("hurried"),
                limits={"concurrency": 1},
                queue={"max_waiting": 2, "max_wait": "100ms"},
            ),
        },
        "models": {
            **{
                f"{name}-model": {
                    "provider": name,
                    "upstream": f"gpt-{name}",
                    "max_output_tokens": 1000,
                }
                for name in NAMES
            },
            "boundless": {"provider": "first", "upstream": "gpt-boundless"},
        },
        "price_books": books(
            **{
                name: {"input": "1", "output": "10"}
                for name in (*(f"{name}-model" for name in NAMES), "boundless")
            }
        ),
        "aliases": {
            "pro": alias("first-model"),
            "both": alias("first-model", "second-model"),
            "short": alias("first-model", max_output_tokens=100),
            "strict": alias("first-model", on_short_budget="refuse"),
            "boundless": alias("boundless"),
            "narrow": alias("narrow-model"),
            "hurried": alias("hurried-model"),
        },
        "tenants": {
            name: {"price_book": "cost", "timezone": "UTC", **tenant}
            for name, tenant in tenants.items()
        },
        **more,
    }


def _client(gateway: GatewayProcess, key: IssuedKey, most: int) -> httpx.AsyncClient:
    """With `most` connections."""
    return httpx.AsyncClient(
        base_url=gateway.url,
        headers=key.headers,
        timeout=60,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_connections=most),
    )


async def _all(
    gateway: GatewayProcess, key: IssuedKey, path: str, bodies: Iterable[Document], at_once: int
) -> list[httpx.Response]:
    async with _client(gateway, key, at_once) as client:
        return await asyncio.gather(*(client.post(path, json=body) for body in bodies))


def all_at_once(
    gateway: GatewayProcess, key: IssuedKey, path: str, bodies: Iterable[Document], *, most: int
) -> list[httpx.Response]:
    """The answers to many requests, of which `most` are open at a time."""
    return asyncio.run(_all(gateway, key, path, bodies, most))


async def _press(
    gateway: GatewayProcess, key: IssuedKey, path: str, body: Document, callers: int, seconds: float
) -> tuple[int, float, float]:
    async with _client(gateway, key, callers) as client:
        began, good = time.monotonic(), 0
        first, last = 0.0, 0.0

        async def call() -> None:
            nonlocal good, first, last
            while time.monotonic() - began < seconds:
                sent = time.monotonic()
                answer = await client.post(path, json=body)
                first = first or time.monotonic()
                if answer.status_code == 200:
                    good += 1
                else:
                    last = max(last, sent)
                    await asyncio.sleep(0.005)

        await asyncio.gather(*(call() for _ in range(callers)))
        return good, last - first, time.monotonic() - began


def press(
    gateway: GatewayProcess,
    key: IssuedKey,
    path: str,
    body: Document,
    *,
    callers: int,
    seconds: float,
) -> tuple[int, float, float]:
    """Endless demand for a while: the requests that were let through; the seconds from the first
    answer to the last request that was refused, at which moment the limit was surely used up; and
    the seconds in all."""
    return asyncio.run(_press(gateway, key, path, body, callers, seconds))
