"""One breaker: closed, open, half-open with a single probe. Pure: the time is passed in, in seconds
since the epoch, so that workers can compare theirs.

    closed --- so many failures within the window ---> open --- cool-down over ---> half-open
    closed --- the provider named a time -----------> open --- that time comes ---> closed
    half-open --- the probe succeeds ---> closed;  the probe fails ---> open

A cool-down that the provider itself named ends by itself: it has said when it will answer again.
"""

from collections import deque
from dataclasses import dataclass, field

from routing.terms import Breaker

PROBE_SECONDS = 1.0
"""When to come back to what is being probed."""
LONGEST_COOLDOWN = 600.0
"""However long a provider asks us to stay away."""
MOST_FAILURES = 1_000


@dataclass(slots=True)
class Circuit:
    """`until` is 0 while closed. `spent_until` says until when nothing may be left of a limit: a
    reason to prefer others, not to refuse. `secret` is the fingerprint of a secret that was
    refused; `changed_at` orders what several workers have seen."""

    until: float = 0.0
    reason: str = ""
    needs_probe: bool = False
    changed_at: float = 0.0
    secret: str = ""
    spent_until: float = 0.0
    probing: bool = False
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_FAILURES))

    def state(self, now: float) -> str:
        """`closed`, `open` or `half_open`."""
        if not self.until or (now >= self.until and not self.needs_probe):
            return "closed"
        return "open" if now < self.until else "half_open"

    def wait(self, now: float) -> float:
        """Seconds until a request may go: 0 means now."""
        match self.state(now):
            case "open":
                return self.until - now
            case "half_open":
                return PROBE_SECONDS if self.probing else 0.0
        return 0.0

    def begin(self, now: float) -> bool:
        """Takes the probe where one is due, and says so. Only after `wait` has given 0."""
        if self.state(now) != "half_open":
            return False
        self.probing = True
        return True

    def fail(self, now: float, breaker: Breaker, reason: str) -> bool:
        """Counts a failure; whether that opened the circuit. What fails while it is open was sent
        before, and says nothing new."""
        if self.state(now) != "closed":
            return False
        self.failures.append(now)
        while self.failures and self.failures[0] <= now - breaker.window:
            self.failures.popleft()
        if len(self.failures) < min(breaker.failures, MOST_FAILURES):
            return False
        self.open(now, breaker.cooldown, reason)
        return True

    def open(self, now: float, seconds: float, reason: str, *, needs_probe: bool = True) -> None:
        """Opens, or stays open until the later of the two times."""
        until = now + min(max(seconds, 0.0), LONGEST_COOLDOWN)
        if self.state(now) == "open" and self.until >= until:
            return
        self.until, self.reason, self.changed_at = until, reason, now
        self.needs_probe = needs_probe
        self.failures.clear()

    def close(self, now: float) -> None:
        self.until, self.reason, self.secret, self.changed_at = 0.0, "", "", now
        self.needs_probe = self.probing = False
        self.failures.clear()

    def release(self) -> None:
        """The probe came back without an answer to the question."""
        self.probing = False
