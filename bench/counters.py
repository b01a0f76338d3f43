"""What counting costs the gateway: CPU time of this process for admitting and settling one request.

.venv/bin/python -m bench.counters
"""

import asyncio
import time
from collections.abc import Sequence

import uvloop

from billing.counters.asks import BUCKET, NO_LIMIT, PURSE, SLOTS, Ask, Counters, Hold, tag_of
from billing.counters.memory import MemoryCounters
from billing.counters.redis import RedisCounters
from tests.private_services import RedisServer

CONCURRENT = 16
REQUESTS = 20_000
WARM_UP = 2_000
ENTRY = b'{"record":' + b"x" * 1_000 + b"}"
HOUR, MANY = 3_600_000, 1_000_000_000_000

ONE = [Ask(PURSE, "{t1}acme/month", 2_000_000, MANY)]
FIVE = [
    *ONE,
    Ask(BUCKET, "{t1}acme/requests", 1, 10_000_000, 10_000_000, 60_000),
    Ask(BUCKET, "{t1}acme/tokens", 900, 1_000_000_000, 1_000_000_000, HOUR),
    Ask(SLOTS, "{t1}acme/key/concurrent", 1, 1_000),
    Ask(PURSE, "{gw}provider/month", 1_500_000, NO_LIMIT),
]


async def _warm(counters: Counters, asks: Sequence[Ask]) -> None:
    for ask in asks:
        await counters.warm(ask, 0, await counters.held(tag_of(ask.key)))


async def _requests(counters: Counters, asks: Sequence[Ask], name: str, count: int) -> None:
    used = [ask.take - 1 for ask in asks]
    tags = {tag_of(ask.key) for ask in asks}
    done = []
    for number in range(count):
        hold = Hold(f"{name}-{number:028}", list(asks), ENTRY)
        await counters.admit(hold)
        await counters.settle(hold, used)
        done.append(hold.record_id)
        if len(done) == 100:  # as the writer of the database does
            await counters.committed(done, tags)
            done = []


async def measure(counters: Counters, asks: Sequence[Ask], requests: int = REQUESTS) -> float:
    """Microseconds of CPU time per request."""
    await _warm(counters, asks)
    share = requests // CONCURRENT

    async def all_of(label: str, count: int) -> None:
        names = [f"{label}{len(asks)}{n:02}" for n in range(CONCURRENT)]
        callers = (_requests(counters, asks, name, count) for name in names)
        await asyncio.gather(*callers)

    await all_of("w", WARM_UP // CONCURRENT)
    began = time.process_time()
    await all_of("m", share)
    return (time.process_time() - began) / (share * CONCURRENT) * 1e6


async def main(url: str) -> dict[str, float]:
    figures = {}
    for label, asks in (("1 scope", ONE), ("5 scopes", FIVE)):
        figures[f"in-process, {label}"] = await measure(MemoryCounters(), asks)
        counters = RedisCounters(url, deadline=2)  # the machine may be busy
        await counters.start()
        figures[f"Redis, {label}"] = await measure(counters, asks)
        await counters.stop()
    return figures


def run() -> None:
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # as in production
    with RedisServer() as server, loop:
        for name, figure in loop.run(main(server.url)).items():
            print(f"{name:24} {figure:6.1f} µs")


if __name__ == "__main__":
    run()
