"""A hedge and the target that it runs beside, without a gateway around them: what sockets cannot
time."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from billing.records import AttemptRow
from proxy import moves, one_attempt
from proxy.exchange import Exchange, Rates
from proxy.itinerary import Itinerary
from proxy.patience import ENDLESS
from proxy.race import Race
from proxy.reply import Reply
from proxy.settle import settle
from proxy.standing import Call, Standing
from proxy.worker import Worker
from routing.choose import Choice, Target
from routing.snapshots import AliasSnapshot
from tests.billing.rows import attempt, record
from tests.proxy.asking import exchange, model, rate
from tests.proxy.in_process import Memory

AFTER = 0.05
ONE, TWO = Target(model("one"), None), Target(model("two"), None)
ALIAS = AliasSnapshot("pro", "", "", "chat", (), (), frozenset(), hedge=AFTER)


class _Caller(Reply):
    def __init__(self) -> None:
        pass

    async def start_stream(self, *_: object) -> None:
        pass


class _Upstream:
    """Of both targets, by the names of their models: each answers when it is told to."""

    def __init__(self) -> None:
        self.speaks = {"one": asyncio.Event(), "two": asyncio.Event()}
        self.asked: list[str] = []

    async def call(self, asked: Exchange, target: Target, reply: Reply, _: object) -> bytes:
        self.asked.append(target.model.name)
        await self.speaks[target.model.name].wait()
        asked.head_sent = True
        await reply.start_stream("text/event-stream", [], None)
        return b"data: [DONE]\n\n"


class _WokenUp(Standing):
    """The first target wakes up in the very turn in which its hedge is begun."""

    upstream: _Upstream

    async def begin(self, target: Target) -> Call | None:
        call = await super().begin(target)
        if target is TWO:
            self.upstream.speaks["one"].set()
        return call


def _asked() -> Exchange:
    asked = exchange("/chat/pro", {"messages": [{"role": "user", "content": "hi"}]}, stream=True)
    asked.alias, asked.choice = ALIAS, Choice(None, (ONE, TWO))
    asked.rates = {target.model.identity: Rates(rate(), rate()) for target in (ONE, TWO)}
    asked.target = ONE
    asked.record, asked.segment = record(), cast(Any, object())
    return asked


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> _Upstream:
    upstream = _Upstream()
    monkeypatch.setitem(one_attempt.CALLS, "chat", upstream.call)
    monkeypatch.setattr(moves, "_claims", lambda *_: [])  # nothing limits either
    return upstream


async def _race(asked: Exchange, standing: Standing) -> list[AttemptRow]:
    memory: Any = Memory(cast(Any, None))
    parts = SimpleNamespace(standing=standing, store=memory, upstreams=None, admission=None)
    way = Itinerary(asked, standing)
    step = way.next_target("first")
    assert step is not None
    call = await standing.begin(step.target)
    assert call is not None
    await Race(asked, _Caller(), cast(Worker, parts)).run(step, call, ENDLESS, way)
    return asked.attempts


async def test_a_hedge_that_lost_before_it_had_begun_ends_its_call_and_costs_nothing(
    upstream: _Upstream,
) -> None:
    standing = _WokenUp()
    standing.upstream = upstream
    won, lost = await _race(_asked(), standing)
    assert upstream.asked == ["one"]
    assert (won.error_kind, lost.error_kind) == ("", "lost")
    assert (lost.cost, lost.charge, lost.usage) == (None, None, None)
    assert standing.load.in_flight(ONE.model.identity) == 0
    assert standing.load.in_flight(TWO.model.identity) == 0


async def test_a_target_that_was_outrun_is_known_to_be_slow(upstream: _Upstream) -> None:
    standing = Standing()
    upstream.speaks["two"].set()
    lost, _ = await _race(_asked(), standing)
    assert (lost.error_kind, lost.cost is not None) == ("lost", True)
    assert standing.load.in_flight(ONE.model.identity) == 0
    now = time.perf_counter()
    assert standing.load.latency(ONE.model.identity, now) > 0.9 * AFTER
    assert standing.load.latency(TWO.model.identity, now) < AFTER


def test_of_a_request_that_failed_no_attempt_has_amounts() -> None:
    asked = _asked()
    asked.is_hedged, asked.outcome = True, "failed"
    asked.attempts = [attempt(1), attempt(1, 2, role="hedge", cost=5, charge=5, usage="{}")]
    entry = settle(asked, cast(Any, Memory(cast(Any, None))))
    assert entry is not None
    assert (entry.record.cost, entry.record.charge) == (0, 0)
    amounts = [(row.cost, row.charge, row.usage) for row in entry.attempts]
    assert amounts == [(None, None, None)] * 2
