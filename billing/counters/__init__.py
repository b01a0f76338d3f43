"""How much of each limit and budget is used: one interface (`asks.Counters`), two engines
(`memory.py`, `redis.py`)."""
