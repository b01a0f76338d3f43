"""Whatever happens in whatever order, engines do as a simple model of them does."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.counters.asks import (
    BUCKET,
    PURSE,
    SLOTS,
    Admitted,
    Ask,
    CountersAway,
    Hold,
    Refused,
    Short,
)
from billing.counters.payloads import epoch_key, held_key, read
from billing.counters.redis import RedisCounters
from billing.counters.sweeping import _Found, _sweep
from tests.billing.counters.engines import (
    Desk,
    flush,
    memory_desk,
    redis_desk,
    redis_engine,
)

WINDOW = 1_000
MOST = {PURSE: 100, SLOTS: 3, BUCKET: 20}
AMOUNT = 30
KINDS = {"purse": PURSE, "user": PURSE, "slots": SLOTS, "bucket": BUCKET, "gateway": PURSE}
_examples = itertools.count()

takes = st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers(0, 60), min_size=1, max_size=5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), takes),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 100)),
        st.tuples(st.just("change"), st.integers(0, 9), takes),
        st.tuples(st.just("join"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("expire"), st.integers(0, 9), st.integers(0, 100)),
        st.tuples(st.just("commit"), st.integers(0, 9)),
        st.tuples(st.just("forget"), st.sampled_from(["purse", "user", "gateway"])),
        st.tuples(st.just("pass"), st.integers(0, 2 * WINDOW)),
    ),
    max_size=40,
)


@dataclass
class Model:
    """Three kinds of counter, in exact arithmetic."""

    settled: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    """Reserved, or slots in use."""
    level: dict[str, Fraction] = field(default_factory=dict)
    uses: list[list[Any]] = field(default_factory=list)
    """When, in which bucket, how much."""
    now: int = 0

    def pass_(self, milliseconds: int) -> None:
        self.now += milliseconds
        for key, level in self.level.items():
            self.level[key] = min(
                Fraction(MOST[BUCKET]), level + Fraction(AMOUNT * milliseconds, WINDOW)
            )

    def short(self, index: int, ask: Ask) -> Short | None:
        if ask.kind == BUCKET:
            level = self.level.get(ask.key, Fraction(ask.most))
            lacking = ask.take - level
            wait = -((-lacking * WINDOW) // AMOUNT)
            return Short(index, int(wait), level // 1) if lacking > 0 else None
        free = ask.most - self.settled.get(ask.key, 0) - self.taken.get(ask.key, 0)
        return Short(index, -1, free) if ask.take > free else None

    def admit(self, asks: list[Ask]) -> list[Short]:
        short = [place for index, ask in enumerate(asks) if (place := self.short(index, ask))]
        for ask in asks if not short else ():
            if ask.kind == BUCKET:
                self.level[ask.key] = self.level.get(ask.key, Fraction(ask.most)) - ask.take
                self.uses.append([self.now, ask.key, ask.take])
            else:
                self.taken[ask.key] = self.taken.get(ask.key, 0) + ask.take
        return short

    def settle(self, ask: Ask, used: int) -> None:
        if ask.kind == BUCKET:
            level = self.level[ask.key] + ask.take - used
            self.level[ask.key] = min(Fraction(MOST[BUCKET]), level)
            use = next(use for use in self.uses if use[1] == ask.key and use[2] == ask.take)
            use[2] = used
            return
        self.taken[ask.key] -= ask.take
        if ask.kind == PURSE:
            self.settled[ask.key] = self.settled.get(ask.key, 0) + used

    def state(self, ask: Ask) -> tuple[int, int]:
        if ask.kind == BUCKET:
            level = min(self.level.get(ask.key, Fraction(ask.most)), Fraction(ask.most))
            return ask.most - int(level // 1), 0
        if ask.kind == SLOTS:
            return self.taken.get(ask.key, 0), 0
        return self.settled.get(ask.key, 0), self.taken.get(ask.key, 0)

    def check_windows(self) -> None:
        """In any stretch of time t no more than most + amount · t / window."""
        for first, last in itertools.combinations_with_replacement(range(len(self.uses)), 2):
            span = self.uses[last][0] - self.uses[first][0]
            for key in {use[1] for use in self.uses}:
                total = sum(use[2] for use in self.uses[first : last + 1] if use[1] == key)
                assert total <= MOST[BUCKET] + Fraction(AMOUNT * span, WINDOW)


class Play:
    """One example, on counters that no other example uses."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.model = desk, Model()
        self.name = f"example{next(_examples)}"
        self.open: list[Hold] = []
        self.settled: list[Hold] = []
        self.in_cluster = bool(getattr(getattr(desk.counters, "_nodes", None), "is_cluster", 0))

    def ask(self, name: str, take: int = 0) -> Ask:
        kind = KINDS[name]
        key = f"{'{gw}' if name == 'gateway' else '{t1}'}{self.name}/{name}"
        if kind == SLOTS:
            take = min(take, 2)
        amount, window = (AMOUNT, WINDOW) if kind == BUCKET else (0, 0)
        return Ask(kind, key, take, MOST[kind], amount, window)

    async def play(self, step: tuple[Any, ...]) -> None:
        action, *arguments = step
        await getattr(self, action if action != "pass" else "pass_")(*arguments)
        for name, kind in KINDS.items():
            (state,) = await self.desk.counters.read([self.ask(name)])
            expected = self.model.state(self.ask(name))
            assert state is None or tuple(state) == expected, name
            if kind != BUCKET:
                assert sum(expected) <= MOST[kind]
        self.model.check_windows()

    async def admit(self, takes: dict[str, int]) -> None:
        hold = self.desk.hold(*(self.ask(name, take) for name, take in takes.items()))
        asks = list(hold.asks)
        answer = await self.desk.admit_hold(hold)
        self.compare(answer, self.model.admit(asks))
        if isinstance(answer, Admitted):
            self.open.append(hold)

    def compare(self, answer: object, short: list[Short]) -> None:
        if not short:
            assert isinstance(answer, Admitted)
        elif self.in_cluster:  # which tells of one node's counters at a time
            assert isinstance(answer, Refused)
        else:
            assert answer == Refused(short)

    def picked(self, number: int, holds: list[Hold]) -> Hold | None:
        return holds.pop(number % len(holds)) if holds else None

    def used(self, hold: Hold, percent: int) -> list[int]:
        return [0 if ask.kind == SLOTS else ask.take * percent // 100 for ask in hold.asks]

    async def settle(self, number: int, percent: int) -> None:
        if hold := self.picked(number, self.open):
            used = self.used(hold, percent)
            for ask, amount in zip(hold.asks, used, strict=True):
                self.model.settle(ask, amount)
            levels = await self.desk.settle(hold, *used)
            assert levels is not None
            self.settled.append(hold)

    async def expire(self, number: int, percent: int) -> None:
        """Its worker died, and another settled it."""
        counters = self.desk.counters
        if not isinstance(counters, RedisCounters):
            return await self.settle(number, percent)
        if hold := self.picked(number, self.open):
            used = self.used(hold, percent)
            by_key = {ask.key: amount for ask, amount in zip(hold.asks, used, strict=True)}
            for ask in hold.asks:
                self.model.settle(ask, by_key[ask.key])
            own = counters._holds.get(hold.record_id)
            assert own is not None
            tag = own.parts.tags[0]
            stored = await counters._nodes.call(tag, "HGET", held_key(tag), hold.record_id)
            steps = _sweep(
                tag,
                await counters._nodes.call(tag, "GET", epoch_key(tag)),
                _Found(hold.record_id, read(stored)),
                lambda entry, takes: ([by_key[take.key] for take in takes], entry),
            )
            assert len(await counters._leases._drive(steps)) == 1
            self.desk.will_commit(hold, used)
            assert await counters.settle(hold, used) is None
            self.settled.append(hold)
        return None

    async def change(self, number: int, takes: dict[str, int]) -> None:
        """Another attempt: buckets and slots of the first are settled, others are taken."""
        hold = self.open[number % len(self.open)] if self.open else None
        if hold is None:
            return
        gone = [(ask, 0) for ask in hold.asks if ask.kind != PURSE]
        kept = {ask.key for ask in hold.asks if ask.kind == PURSE}
        asks = [self.ask(name, take) for name, take in takes.items()]
        asks = [ask for ask in asks if ask.key not in kept]
        for ask in asks:
            if ask.kind != SLOTS and (await self.desk.counters.read([ask]))[0] is None:
                await self.desk.warm(ask)
        for ask, used in gone:
            self.model.settle(ask, used)
        short = self.model.admit(asks)
        self.compare(await self.desk.counters.change(hold, gone, asks), short)

    async def join(self, number: int) -> None:
        """Another is asked beside the first, and takes as much of the same buckets and slots."""
        if self.open:
            hold = self.open[number % len(self.open)]
            asks = [Ask(*ask) for ask in dict.fromkeys(hold.asks) if ask.kind != PURSE]
            short = self.model.admit(asks)
            self.compare(await self.desk.counters.change(hold, [], asks), short)

    async def leave(self, number: int, first: bool) -> None:
        """One of those that take the same is given up, and no other."""
        if not self.open:
            return
        hold = self.open[number % len(self.open)]
        gone: dict[Ask, Ask] = {}
        for ask in hold.asks if first else reversed(hold.asks):
            if hold.asks.count(ask) > 1:
                gone.setdefault(ask, ask)
        left = [id(ask) for ask in hold.asks if gone.get(ask) is not ask]
        for ask in gone:
            self.model.settle(ask, 0)
        given = [(ask, 0) for ask in gone.values()]
        assert isinstance(await self.desk.counters.change(hold, given, []), Admitted)
        assert [id(ask) for ask in hold.asks] == left

    async def commit(self, number: int) -> None:
        if hold := self.picked(number, self.settled):
            await self.desk.commit(hold)

    async def forget(self, name: str) -> None:
        await self.desk.counters.forget([self.ask(name).key])

    async def pass_(self, milliseconds: int) -> None:
        self.desk.clock.advance(milliseconds)
        self.model.pass_(milliseconds)


@pytest.fixture(params=["memory", "redis", "cluster"], scope="module")
def playground(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, Desk]]:
    """An engine that stays for all examples, and the loop that it lives on."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        if request.param == "memory":
            desk = memory_desk()
        else:
            name = {"redis": "redis_url", "cluster": "redis_cluster_url"}[request.param]
            engine = redis_desk(request.getfixturevalue(name))
            desk = runner.run(engine.__aenter__())
            stack.callback(lambda: runner.run(engine.__aexit__(None, None, None)))
        desk.clock.advance(2 * WINDOW)  # unseen buckets are full from now on
        yield runner, desk


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_an_engine_does_as_the_model_does(
    playground: tuple[asyncio.Runner, Desk], steps: list[tuple[Any, ...]]
) -> None:
    runner, desk = playground

    async def example() -> None:
        play = Play(desk)
        for step in steps:
            await play.play(step)

    runner.run(example())


@pytest.mark.long
@settings(max_examples=3_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_an_engine_does_as_the_model_does_at_length(
    playground: tuple[asyncio.Runner, Desk], steps: list[tuple[Any, ...]]
) -> None:
    test_an_engine_does_as_the_model_does.hypothesis.inner_test(playground, steps)  # type: ignore[attr-defined]


# ---- many workers, all at once


class Crowd:
    """Requests of several workers, and samples of what they have taken together."""

    MOST = 2_000

    def __init__(self, desks: list[Desk]) -> None:
        self.desks = desks
        self.purse = Ask(PURSE, "{t1}crowd/purse", 0, self.MOST)
        self.gateway = Ask(PURSE, "{gw}crowd/purse", 0, 2 * self.MOST)
        self.slots = Ask(SLOTS, "{t1}crowd/slots", 1, 10)
        self.used = 0

    async def request(self, desk: Desk, take: int, used: int, gives_up: bool) -> None:
        asks = [self.purse._replace(take=take), self.slots, self.gateway._replace(take=take)]
        hold = desk.hold(*asks)
        asking = asyncio.create_task(desk.admit_hold(hold))
        if gives_up:
            await asyncio.sleep(0.001)
            asking.cancel()
        try:
            answer = await asking
        except (asyncio.CancelledError, CountersAway):
            return
        if isinstance(answer, Admitted):
            await asyncio.sleep(0.001 * (take % 5))
            self.used += used
            with contextlib.suppress(CountersAway):
                await desk.settle(hold, used, 0, used)
            await desk.commit(hold)

    async def sample(self) -> None:
        while True:
            with contextlib.suppress(CountersAway):
                asks = [self.purse, self.slots, self.gateway]
                for ask, state in zip(asks, await self.desks[0].counters.read(asks), strict=True):
                    assert state is None or sum(state) <= ask.most
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("url_of", ["redis_url", "redis_cluster_url"])
@pytest.mark.parametrize("flushed", [False, True])
async def test_a_crowd_of_workers_never_takes_too_much_even_when_all_is_lost(
    request: pytest.FixtureRequest, url_of: str, flushed: bool
) -> None:
    url = request.getfixturevalue(url_of)
    flush(url)
    async with (
        redis_engine(url, register_ms=600) as first,
        redis_engine(url, register_ms=600) as second,
    ):
        desks = [memory_desk(), memory_desk()]
        desks[0].counters, desks[1].counters = first, second
        desks[1].records = desks[0].records
        crowd = Crowd(desks)
        sampling = asyncio.create_task(crowd.sample())
        requests = [
            crowd.request(desks[n % 2], 20 + n % 37, n % 19, gives_up=n % 11 == 0)
            for n in range(400)
        ]
        running = [asyncio.create_task(steps) for steps in requests]
        if flushed:
            await asyncio.sleep(0.15)
            flush(url)
        await asyncio.gather(*running)
        assert not sampling.done(), sampling.exception()
        sampling.cancel()
        for _ in range(100):
            for ask in (crowd.purse, crowd.gateway):
                await desks[0].warm(ask)
            states = await first.read([crowd.purse, crowd.slots, crowd.gateway])
            if states == [(crowd.used, 0), (0, 0), (crowd.used, 0)]:
                break
            await asyncio.sleep(0.05)
        assert states == [(crowd.used, 0), (0, 0), (crowd.used, 0)]
        assert crowd.used > 0
