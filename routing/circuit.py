"""One breaker: closed, open, half-open with a single probe. Pure: the time is passed in, in seconds
since the epoch, so that workers can compare theirs.

    closed --- so many failures within the window ---> open --- cool-down over ---> half-open
    closed --- the provider named a time -----------> open --- that time comes ---> closed
    half-open --- the probe succeeds ---> closed;  the probe fails ---> open
    open --- the list of models is answered ---> closed, on trial --- one failure ---> open

A cool-down that the provider itself named ends by itself: it has said when it will answer again.
"""

from collections import deque
from dataclasses import dataclass, field

from routing.terms import Breaker

PROBE_SECONDS = 1.0
"""When to come back to what is being probed."""
HOLD_SECONDS = 0.25
"""How long a worker takes it that another one, who was quicker, still probes."""
LONGEST_COOLDOWN = 600.0
"""However long a provider asks us to stay away."""
MOST_FAILURES = 1_000
A_TICK = 0.001
"""Seconds by which a change is later than the one before, where a clock says that it was not."""


@dataclass(slots=True)
class Circuit:
    """`until` is 0 while closed. `since` is when it was opened or closed, `asked_at` when a probe
    was last answered or failed, each 0 for never. `spent_until` says until when nothing may be left
    of a limit: a reason to prefer others, not to refuse. `secret` is the fingerprint of a secret
    that was refused. `changed_at` orders what several workers have seen; `is_news` until they have
    been told.

    `on_trial` while closed: only a list of models spoke for it. While open: it failed on trial, so
    that list is not believed again before a request was answered.

    `by_lists` while open: only lists that failed spoke against it. While closed: a request was
    answered all the same, so that a list which fails is not believed before one was answered.

    `ahead` is by how many seconds the clock of the worker that told it is ahead of ours.
    """

    until: float = 0.0
    reason: str = ""
    needs_probe: bool = False
    on_trial: bool = False
    by_lists: bool = False
    ahead: float = 0.0
    since: float = 0.0
    asked_at: float = 0.0
    changed_at: float = 0.0
    secret: str = ""
    spent_until: float = 0.0
    probing: bool = False
    held_until: float = 0.0
    is_news: bool = False
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_FAILURES))

    def state(self, now: float) -> str:
        """`closed`, `open` or `half_open`."""
        now += self.ahead
        if not self.until or (now >= self.until and not self.needs_probe):
            return "closed"
        return "open" if now < self.until else "half_open"

    def wait(self, now: float) -> float:
        """Seconds until a request may go: 0 means now."""
        match self.state(now):
            case "open":
                return self.until - now - self.ahead
            case "half_open":
                return PROBE_SECONDS if self.probing else max(self.held_until - now, 0.0)
        return 0.0

    @property
    def is_tried(self) -> bool:
        """Closed, but the next failure opens it."""
        return self.on_trial and not self.until

    @property
    def heeds_lists(self) -> bool:
        """Whether a list of models that is answered may close it."""
        return bool(self.until) and self.needs_probe and not self.on_trial

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
        if not self.is_tried and len(self.failures) < min(breaker.failures, MOST_FAILURES):
            return False
        self.open(now, breaker.cooldown, reason)
        return True

    def open(self, now: float, seconds: float, reason: str, *, needs_probe: bool = True) -> None:
        """Opens, or stays open until the later of the two times."""
        until = now + min(max(seconds, 0.0), LONGEST_COOLDOWN)
        match self.state(now):
            case "open" if self.until - self.ahead >= until:
                return
            case "closed":
                self.since, self.on_trial = now, self.is_tried
            case "half_open":
                self.asked_at = now
        self.until, self.reason, self.needs_probe = until, reason, needs_probe
        self.by_lists = False
        self._changed(now)

    def close(self, now: float, *, on_trial: bool = False) -> None:
        self.until, self.reason, self.secret, self.since = 0.0, "", "", now
        self.needs_probe = self.probing = False
        self.on_trial = on_trial
        self.by_lists = self.by_lists and not on_trial
        self._changed(now)

    def doubt(self, now: float) -> None:
        """It was lists that failed, and nothing else."""
        self.by_lists = True
        self._changed(now)

    def trust_lists(self, now: float) -> None:
        """One was answered again."""
        if self.by_lists and not self.until:
            self.by_lists = False
            self._changed(now)

    def asked(self, now: float) -> None:
        """For what is never open: a provider's list of models, of which only this is told."""
        self.asked_at = now
        self._changed(now)

    def release(self) -> None:
        """The probe came back without an answer to the question."""
        self.probing = False

    def _changed(self, now: float) -> None:
        self.changed_at = max(now, self.changed_at + A_TICK)
        self.ahead, self.is_news = 0.0, True
        self.failures.clear()

    # ---- between workers

    def record(self) -> str:
        """For other workers: of two records of one circuit the greater text is the later one.
        `<changed at> <until> <since> <asked at> <flags> <fingerprint> <reason>`, the times as 16
        digits of microseconds."""
        times = (self.changed_at, self.until, self.since, self.asked_at)
        digits = " ".join(f"{round(time * 1_000_000):016d}" for time in times)
        said = (self.needs_probe, "p"), (self.on_trial, "t"), (self.by_lists, "l")
        flags = "".join(letter if holds else "-" for holds, letter in said)
        return f"{digits} {flags} {self.secret or '-'} {self.reason or '-'}"

    def hear(self, record: str, now: float) -> None:
        """Takes over what another worker knows, where that is later. Raises ValueError for what is
        no record."""
        *digits, flags, secret, reason = record.split(" ")
        changed_at, until, since, asked_at = (int(number) / 1_000_000 for number in digits)
        if record <= self.record():
            return
        self.changed_at, self.until, self.since = changed_at, until, since
        self.asked_at, self.held_until, self.is_news = asked_at, 0.0, False
        self.needs_probe, self.on_trial, self.by_lists = (letter in flags for letter in "ptl")
        self.ahead = max(changed_at - now, 0.0)
        self.secret, self.reason = secret.strip("-"), reason.strip("-")
        self.failures.clear()
