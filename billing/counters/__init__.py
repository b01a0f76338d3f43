"""How much of each limit and budget is used: one interface (`asks.Counters`), two engines
(`memory.py`, `redis.py`)."""

from billing.counters.asks import Counters

running: Counters | None = None
"""The engine of this process's worker, for `reading.py`; None where no worker runs."""
