"""Whether to ask the same target again, and when. Pure: times in seconds, the draw passed in.

A wait is drawn evenly between nothing and the backoff, which doubles with each retry ("full
jitter"), so that callers who failed together do not come back together; a provider that says when
to come back is taken at its word. Retries of a provider have a budget, so that one which is dying
is not asked twice as often as one which is well.
"""

from dataclasses import dataclass, field

from routing.terms import DEFAULT_RETRY_ON, Retries

DEFAULT_BACKOFF = 0.25
LONGEST_BACKOFF = 10.0
LONGEST_WAIT = 30.0
"""Who is told to come back later than this goes elsewhere."""

RETRY_SHARE = 0.2
"""Retries for each request of a provider."""
FLOOR_PER_SECOND = 0.5
"""Retries that a provider of little traffic may have all the same."""
MOST_SAVED = 20.0

ALSO_COVERS = {"overloaded": "server_error"}
"""A provider that is overloaded answers 5xx: who names `server_error` means it too."""


def covers(kinds: frozenset[str], kind: str) -> bool:
    """Whether a list of error kinds, as configured, names this one."""
    return kind in kinds or ALSO_COVERS.get(kind) in kinds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What is in force for one target: the alias's setting, else the provider's, else the usual.
    Nothing is retried that nobody asked to."""

    attempts: int
    retry_on: frozenset[str]
    backoff: float


def policy_of(alias: Retries, provider: Retries) -> RetryPolicy:
    """Field by field the alias's, else the provider's."""
    attempts = provider.attempts if alias.attempts is None else alias.attempts
    retry_on = provider.retry_on if alias.retry_on is None else alias.retry_on
    backoff = provider.backoff if alias.backoff is None else alias.backoff
    return RetryPolicy(
        attempts=attempts or 0,
        retry_on=DEFAULT_RETRY_ON if retry_on is None else retry_on,
        backoff=DEFAULT_BACKOFF if backoff is None else backoff,
    )


def wait_before_retry(
    policy: RetryPolicy,
    *,
    kind: str,
    retries: int,
    retry_after: float | None,
    time_left: float,
    draw: float,
) -> float | None:
    """Seconds to wait before the target is asked again, or None: ask no more.

    `retries` counts those that were made already, `time_left` are the caller's seconds, `draw` is
    from 0 to below 1.
    """
    if retries >= policy.attempts or not covers(policy.retry_on, kind):
        return None
    wait = draw * min(policy.backoff * 2.0**retries, LONGEST_BACKOFF)
    if retry_after is not None:
        wait = max(wait, retry_after)
    return wait if wait <= LONGEST_WAIT and wait < time_left else None


@dataclass(slots=True)
class RetryBudget:
    """A token bucket of one provider: in any time t, with n requests, at most
    MOST_SAVED + RETRY_SHARE * n + FLOOR_PER_SECOND * t retries."""

    saved: float = MOST_SAVED
    at: float = 0.0

    def request(self) -> None:
        """A first attempt at the provider."""
        self.saved = min(self.saved + RETRY_SHARE, MOST_SAVED)

    def spend(self, now: float) -> bool:
        """Takes one retry; false where there is none left."""
        self.saved = min(self.saved + max(now - self.at, 0.0) * FLOOR_PER_SECOND, MOST_SAVED)
        self.at = max(now, self.at)
        if self.saved < 1:
            return False
        self.saved -= 1
        return True


@dataclass(slots=True)
class RetryBudgets:
    """The budgets of a worker's providers, by (tenant, name)."""

    _of: dict[tuple[str, str], RetryBudget] = field(default_factory=dict)

    def of(self, tenant: str, provider: str) -> RetryBudget:
        budget = self._of.get((tenant, provider))
        if budget is None:
            budget = self._of[tenant, provider] = RetryBudget()
        return budget
