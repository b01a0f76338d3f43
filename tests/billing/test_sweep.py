"""`manage.py sweep`: what dead workers have left is settled when no gateway runs."""

import functools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from billing.budgets import Period, read_purses
from billing.counters.asks import Ask, State
from billing.counters.blocking import BlockingCounters
from billing.limits import read_limits
from billing.management.commands import sweep as command
from billing.models import UsageRecord
from billing.rebuild import settled_in
from billing.records import Entry
from billing.scopes import Scope
from gateway_project.env import BASE_DIR
from tests.billing.counters.engines import flush
from tests.billing.rows import attempt, record

pytestmark = pytest.mark.django_db

LEASE = 0.6
WHOLE_TIME = Period("total", 0, 0)
(MONEY,) = read_purses(Scope("acme"), [{"amount": "1", "period": "total"}], timezone="UTC")
(COST,) = read_purses(Scope(""), [{"amount": "1", "period": "total"}], timezone="UTC")
(SLOTS,) = read_limits(Scope("acme"), {"concurrency": 5})
ASKS = [
    MONEY.ask(MONEY.scope, WHOLE_TIME, 800),
    COST.ask(COST.scope, WHOLE_TIME, 90),
    SLOTS.ask(SLOTS.scope),
]

WORKER = """
import asyncio, sys
from pathlib import Path
import msgspec
from billing.counters.asks import Ask, Cold, Hold
from billing.counters.redis import RedisCounters
from billing.journal import Journal, line_of
from billing.records import Entry

async def work(url, spool, lease, asks, entries):
    counters = RedisCounters(url, deadline=5.0, register_ms=0, lease=float(lease))
    await counters.start()
    await counters.ready()
    journal = Journal(Path(spool))
    asks = [Ask(*ask) for ask in msgspec.json.decode(asks)]
    for entry in msgspec.json.decode(entries, type=list[Entry]):
        record = entry.record
        line = line_of(Entry(False, record, entry.attempts))
        hold = Hold(record.record_id, list(asks), line)
        while isinstance(answer := await counters.admit(hold), Cold):
            for place in answer.places:
                await counters.warm(asks[place], 0, [])
        segment = journal.admit(record, entry.attempts)
        if entry.settled:
            journal.settle(segment, entry)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(work(*sys.argv[1:]))
"""


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    monkeypatch.setattr(settings, "SPOOL_DIR", path)
    return path


@pytest.fixture
def redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    flush(redis_url)
    with_redis = settings.ENVIRONMENT.model_copy(update={"redis_url": redis_url})
    monkeypatch.setattr(settings, "ENVIRONMENT", with_redis)
    hasty = functools.partial(BlockingCounters, lease=LEASE)
    monkeypatch.setattr(command, "BlockingCounters", hasty)
    return redis_url


@contextmanager
def working(redis: str, spool: Path, *entries: Entry) -> Iterator[subprocess.Popen[str]]:
    """A worker with these requests under way; of settled ones only the journal knows."""
    given = (msgspec.json.encode(ASKS), msgspec.json.encode(entries))
    words = [sys.executable, "-c", WORKER, redis, str(spool), str(LEASE)]
    process = subprocess.Popen(
        [*words, *(one.decode() for one in given)],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def sweep(capsys: pytest.CaptureFixture[str]) -> int:
    call_command("sweep")
    said = capsys.readouterr().out
    assert said.endswith(" requests of dead workers were settled.\n")
    return int(said.split()[0])


def swept(capsys: pytest.CaptureFixture[str], expected: int) -> int:
    """By as many sweeps as it takes: who has just stopped is suspected at first."""
    found, until = 0, time.monotonic() + 15
    while found < expected and time.monotonic() < until:
        found += sweep(capsys)
        time.sleep(LEASE / 4)
    return found


def states(redis: str, asks: list[Ask]) -> list[State | None]:
    with BlockingCounters(redis) as counters:
        return counters.read(asks)


def held(redis: str) -> set[str]:
    with BlockingCounters(redis) as counters:
        return {name for ask in ASKS for name in counters.held(ask.key[: ask.key.index("}") + 1])}


def dead(spool: Path, *entries: Entry) -> None:
    lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    (spool / "1-dead.journal").write_bytes(lines)


def facts_of(number: int) -> dict[str, Any]:
    columns = ("outcome", "charge", "cost", "charge_policy", "provider")
    row: dict[str, Any] = UsageRecord.objects.values(*columns).get(
        record_id=record(number).record_id
    )
    return row


INTERRUPTED = {"outcome": "interrupted", "provider": "openai", "charge_policy": "reserved"}
ADMITTED = Entry(False, record(1, **INTERRUPTED, charge=700, cost=80), [attempt(1)])
FINISHED = Entry(True, record(2, charge=42, cost=4, charge_policy="usage", provider="openai"))


# ---- without Redis


def test_a_dead_workers_journal_is_written(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead(spool, ADMITTED, FINISHED)
    assert sweep(capsys) == 2
    assert facts_of(1) == {**INTERRUPTED, "charge": 700, "cost": 80}
    assert facts_of(2)["outcome"] == "completed"
    assert list(spool.iterdir()) == []
    assert sweep(capsys) == 0


def test_nothing_left_is_nothing_settled(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(capsys) == 0


# ---- with Redis


def test_what_a_killed_worker_held_is_settled_and_recorded(
    redis: str, spool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One request as its admission says, because its journal is on another machine; the counters
    and the records agree to the last nano-unit."""
    elsewhere = tmp_path / "elsewhere"
    with working(redis, elsewhere, ADMITTED) as worker:
        assert states(redis, ASKS) == [(0, 800), (0, 90), (1, 0)]
        worker.kill()
    assert swept(capsys, 1) == 1
    assert facts_of(1) == {**INTERRUPTED, "charge": 700, "cost": 80}
    assert states(redis, ASKS) == [(700, 0), (80, 0), (0, 0)]
    for purse, ask in ((MONEY, ASKS[0]), (COST, ASKS[1])):
        (state,) = states(redis, [ask])
        assert state is not None
        recorded = settled_in(purse, purse.scope, WHOLE_TIME, key=ask.key, apart_from=())
        assert recorded == state.used
    assert held(redis) == set()
    assert sweep(capsys) == 0


def test_a_journal_at_hand_knows_how_a_request_ended(
    redis: str, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(redis, spool, ADMITTED, FINISHED) as worker:
        worker.kill()
    assert swept(capsys, 2) == 2
    assert [facts_of(1)["charge"], facts_of(2)["charge"]] == [700, 42]
    assert states(redis, ASKS) == [(700 + 42, 0), (80 + 4, 0), (0, 0)]
    sweep(capsys)  # the journal, whose requests nobody holds any more
    assert list(spool.iterdir()) == []
    assert UsageRecord.objects.count() == 2


def test_the_living_are_left_alone(
    redis: str, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(redis, spool, ADMITTED):
        until = time.monotonic() + 2 * LEASE
        while time.monotonic() < until:
            assert sweep(capsys) == 0
            time.sleep(LEASE / 4)
        assert states(redis, ASKS) == [(0, 800), (0, 90), (1, 0)]
        assert UsageRecord.objects.count() == 0


def test_without_its_redis_it_says_so(
    redis: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = settings.ENVIRONMENT.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENVIRONMENT", away)
    dead(spool, FINISHED)
    with pytest.raises(CommandError, match="Redis cannot be swept now"):
        call_command("sweep")
    assert UsageRecord.objects.count() == 0
    assert len(list(spool.iterdir())) == 1
