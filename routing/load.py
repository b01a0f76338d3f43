"""How busy and how quick each target is, as one worker sees it. Times are passed in, in seconds.

The latency is a peak EWMA of the time to the first token: a slower answer counts at once, a faster
one only as the older ones fade, so that a target in trouble is left quickly and trusted slowly.
What nobody tries fades too, and is tried again.
"""

import math
from dataclasses import dataclass, field

HALF_LIFE = 10.0
"""Seconds in which what was seen loses half its weight."""
FAILED_SECONDS = 5.0
"""What a failure counts as, at least: one that comes quickly is no quick answer."""
MOST_TARGETS = 10_000
FEWEST_TOKENS = 16
"""A shorter answer says little about how quickly its model speaks."""
PACE_SECONDS = 30.0
"""How long a pace is believed without a newer one: then the model is asked again."""

Key = tuple[str, ...]


@dataclass(slots=True)
class _Seen:
    in_flight: int = 0
    latency: float = 0.0
    at: float = 0.0
    pace: float = 0.0
    paced_at: float = -math.inf

    def faded(self, now: float) -> float:
        return self.latency * math.exp2(-max(now - self.at, 0.0) / HALF_LIFE)

    def observe(self, seconds: float, now: float) -> None:
        kept = math.exp2(-max(now - self.at, 0.0) / HALF_LIFE)
        mixed = self.latency * kept + seconds * (1 - kept)
        self.latency, self.at = max(seconds, mixed), max(now, self.at)


@dataclass(slots=True)
class InFlight:
    """One call of one target, from `begin` to `end`."""

    _seen: _Seen
    _began: float
    _observed: bool = False
    _ended: bool = False

    def first_token(self, now: float) -> None:
        """Content has come, or a whole answer. Counts once."""
        if not self._observed:
            self._observed = True
            self._seen.observe(max(now - self._began, 0.0), now)

    def end(self, now: float, *, failed: bool = False) -> None:
        """A failure before the first token counts as a slow answer; a caller who left as none."""
        if self._ended:
            return
        self._ended = True
        self._seen.in_flight -= 1
        if failed and not self._observed:
            self._observed = True
            self._seen.observe(max(now - self._began, FAILED_SECONDS), now)


@dataclass(slots=True)
class Load:
    """The targets of one worker, and whose turn it is."""

    _targets: dict[Key, _Seen] = field(default_factory=dict)
    _turns: dict[Key, int] = field(default_factory=dict)

    def begin(self, target: Key, now: float) -> InFlight:
        seen = self._targets.get(target)
        if seen is None:
            seen = self._targets[target] = _Seen(at=now)
            self._keep_in_bounds()
        seen.in_flight += 1
        return InFlight(seen, now)

    def in_flight(self, target: Key) -> int:
        seen = self._targets.get(target)
        return seen.in_flight if seen else 0

    def latency(self, target: Key, now: float) -> float:
        """Seconds to the first token; 0 where nothing is known (any more)."""
        seen = self._targets.get(target)
        return seen.faded(now) if seen else 0.0

    def note_pace(self, target: Key, tokens: int, seconds: float, now: float) -> None:
        """What an answer took to be spoken. The last ones count most."""
        seen = self._targets.get(target)
        if seen is None or tokens < FEWEST_TOKENS:
            return
        pace = tokens / max(seconds, 0.001)
        known = self.pace(target, now)
        seen.pace, seen.paced_at = pace if known is None else (known + pace) / 2, now

    def pace(self, target: Key, now: float) -> float | None:
        """Output tokens per second, as its last answers had them; None where nobody knows."""
        seen = self._targets.get(target)
        return seen.pace if seen and now - seen.paced_at < PACE_SECONDS else None

    def take_turn(self, route: Key) -> int:
        """0, 1, 2 … for the requests of one route."""
        turn = self._turns.get(route, 0)
        if turn == 0 and len(self._turns) >= MOST_TARGETS:
            self._turns.pop(next(iter(self._turns)))
        self._turns[route] = turn + 1
        return turn

    def _keep_in_bounds(self) -> None:
        """Targets that configuration knew once are forgotten, the oldest idle ones first."""
        if len(self._targets) <= MOST_TARGETS:
            return
        for key, seen in list(self._targets.items()):
            if not seen.in_flight:
                del self._targets[key]
                return
