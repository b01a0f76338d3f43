"""Budgets hold over several workers that share a Redis, and outlive those that are killed."""

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing.budgets import Period, period_at, read_purses
from billing.counters.asks import Ask, CountersAway, State
from billing.counters.blocking import BlockingCounters
from billing.scopes import Scope
from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    Wire,
    answer_frames,
    completion,
    failing,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.conftest import ask
from tests.proxy.terms import USED, budget, terms

WORKERS = 4
CALLERS = 200
WORTH = 40
AMOUNT = WORTH * USED
SWEPT_WITHIN = 40.0
"""A lease, half of one more to be sure, and a busy machine."""


@pytest.fixture(scope="module")
def gateway(
    upstream_server: FakeUpstream, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    names = ("crowd", "bereaved")
    tenants: dict[str, Any] = {name: {"budgets": [budget(AMOUNT, "total")]} for name in names}
    folder = tmp_path_factory.mktemp("shared")
    with GatewayProcess(
        folder,
        configuration=terms(upstream_server, tenants),
        workers=WORKERS,
        REDIS_URL=redis_url,
    ) as process:
        yield process


class Sampler(threading.Thread):
    """Looks at a purse again and again."""

    def __init__(self, redis_url: str, tenant: str) -> None:
        super().__init__(daemon=True)
        (purse,) = read_purses(Scope(tenant), [budget(AMOUNT, "total")], timezone="UTC")
        period: Period = period_at("total", "UTC", time.time())
        self._ask: Ask = purse.ask(purse.scope, period, 0)
        self._counters = BlockingCounters(redis_url)
        self._ended = threading.Event()
        self.samples: list[State] = []

    def run(self) -> None:
        while not self._ended.wait(0.01):
            state = self.state()
            if state is not None:
                self.samples.append(state)

    def state(self) -> State | None:
        try:
            return self._counters.read([self._ask])[0]
        except CountersAway:
            return None

    def end(self) -> None:
        self._ended.set()
        self.join()


def _mixed(wire: Wire) -> None:
    """Whole answers, failures and streams, some of which nobody reads to the end."""
    wire.wait(random.random() * 0.03)
    if wire.request.json().get("stream"):
        stream(answer_frames(8, usage=USAGE), pace=0.01)(wire)
    elif random.random() < 0.2:
        failing(500)(wire)
    else:
        whole(completion())(wire)


async def _crowd(gateway: GatewayProcess, key: IssuedKey, seconds: float) -> int:
    """Callers who never rest; a third of those who stream hang up. The answers that came whole."""
    good = 0
    ends = time.monotonic() + seconds
    async with httpx.AsyncClient(
        base_url=gateway.url,
        headers=key.headers,
        timeout=30,
        trust_env=False,
        verify=False,
        limits=httpx.Limits(max_connections=CALLERS),
    ) as client:

        async def call(number: int) -> None:
            nonlocal good
            while time.monotonic() < ends:
                body = ask(max_tokens=12, stream=bool(number % 2))
                try:
                    async with client.stream("POST", "/chat/both", json=body) as answer:
                        if answer.status_code != 200:
                            await asyncio.sleep(0.05)
                        elif number % 6 == 1:
                            await anext(answer.aiter_bytes())
                        else:
                            await answer.aread()
                            good += 1
                except httpx.TransportError:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(call(number) for number in range(CALLERS)))
    return good


def _workers(gateway: GatewayProcess) -> list[int]:
    """The processes that serve: the server's children that listen."""
    assert gateway._server is not None
    children = subprocess.run(
        ["pgrep", "-P", str(gateway._server.pid)], capture_output=True, text=True, check=False
    )
    pids = [int(line) for line in children.stdout.split()]
    return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _all_agrees(gateway: GatewayProcess, sampler: Sampler, tenant: str) -> bool | None:
    """Nothing is reserved any more, and the counter says what the records add up to."""
    state = sampler.state()
    if state is None or state.reserved:
        return None
    return sum(row["charge"] for row in gateway.records(tenant=tenant)) == state.used or None


def test_a_crowd_at_one_process_does_not_overshoot(
    upstream_server: FakeUpstream, upstream: FakeUpstream, tmp_path: Path
) -> None:
    for place in ("first", "second"):
        upstream.at(place).always_answers(_mixed)
    tenants = {"crowd": {"budgets": [budget(AMOUNT, "total")]}}
    with GatewayProcess(tmp_path, configuration=terms(upstream_server, tenants)) as alone:
        good = asyncio.run(_crowd(alone, alone.issue_key("crowd"), 3))
        time.sleep(1)  # a record is visible within it
        records = alone.records(tenant="crowd")
    assert good > 0
    assert sum(row["outcome"] == "completed" for row in records) >= good
    charged = sum(row["charge"] for row in records)
    assert AMOUNT - 3 * USED < charged <= AMOUNT


@pytest.mark.parametrize(("tenant", "kills"), [("crowd", False), ("bereaved", True)])
def test_a_crowd_over_several_workers_does_not_overshoot(
    gateway: GatewayProcess, upstream: FakeUpstream, redis_url: str, tenant: str, kills: bool
) -> None:
    for place in ("first", "second"):
        upstream.at(place).always_answers(_mixed)
    key = gateway.issue_key(tenant)
    sampler = Sampler(redis_url, tenant)
    sampler.start()
    if kills:
        victim = random.choice(_workers(gateway))
        threading.Timer(0.7, os.kill, [victim, signal.SIGKILL]).start()
    good = asyncio.run(_crowd(gateway, key, 4))
    eventually(
        lambda: _all_agrees(gateway, sampler, tenant),
        within=SWEPT_WITHIN if kills else 10,
        what="agreement of counter and records",
    )
    sampler.end()
    assert len(sampler.samples) > 20
    assert max(state.used + state.reserved for state in sampler.samples) <= AMOUNT
    assert good > 0
    records = gateway.records(tenant=tenant)
    assert sum(row["charge"] for row in records) <= AMOUNT
    assert sum(row["outcome"] == "completed" for row in records) >= good
