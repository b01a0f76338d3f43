"""How much of each limit and budget is used: one interface (`asks.Counters`), two engines
(`memory.py`, `redis.py`)."""

from billing.counters.asks import Counters
from billing.counters.memory import MemoryCounters
from billing.counters.redis import RedisCounters

running: Counters | None = None
"""The engine of this process's worker, for `reading.py`; None where no worker runs."""


def new_counters(redis_url: str | None) -> Counters:
    """In this process, unless several share a Redis."""
    return RedisCounters(redis_url) if redis_url else MemoryCounters()
