"""Who is asked next after a failure: the same model with another credential, the same again after a
while, or the next target. Nothing is sent from here."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.standing import Standing
from routing.choose import Target
from routing.retries import RetryPolicy, covers, policy_of, wait_before_retry

ONE_MOMENT = 1.0
"""Seconds to wait for the same target where another one could be asked at once."""
MARGIN = 0.005
"""Seconds: two clocks may disagree on when a cool-down is over."""

_OF_THE_CREDENTIAL = frozenset({"rate_limit", "auth"})


@dataclass(frozen=True, slots=True)
class Step:
    """The next attempt, and the seconds to wait before it. What `moves` meets the limits of its
    target anew: all but what was admitted, and a call that never reached the upstream."""

    target: Target
    role: str
    wait: float = 0.0
    moves: bool = False


@dataclass(slots=True)
class Itinerary:
    """The targets of one request, as far as they have not been asked."""

    exchange: Exchange
    standing: Standing
    waiting: list[Target] = field(init=False)
    retries: int = field(init=False, default=0)
    """Of the target that was asked last."""
    draw: Callable[[], float] = random.random
    _asked_nobody: bool = True

    def __post_init__(self) -> None:
        assert self.exchange.choice is not None
        self.waiting = list(self.exchange.choice.targets)

    @property
    def has_elsewhere(self) -> bool:
        return bool(self.waiting)

    def next_target(self, role: str) -> Step | None:
        """The next one in order, whatever became of the last."""
        if not self.waiting:
            return None
        if role != "hedge":  # the first goes on beside it
            self.retries = 0
        target = self.waiting.pop(0)
        provider = target.model.provider
        self.standing.budgets.of(provider.tenant, provider.name).request()
        is_first = self._asked_nobody
        self._asked_nobody = False
        return Step(target, role, moves=not is_first)

    def give_back(self, step: Step) -> None:
        """It was not asked after all."""
        self.waiting.insert(0, step.target)

    def after(self, target: Target, error: UpstreamError, role: str) -> Step | None:
        """What to do about a failure; None: tell the caller. Nobody else is asked once something
        was sent, or the caller's time is over."""
        if self.exchange.head_sent or self._time_left() <= 0:
            return None
        if error.is_stale and role != "retry":
            return Step(target, "retry")
        return self._other_credential(target, error) or self._again(target, error)

    def fallback(self, error: UpstreamError) -> Step | None:
        """The next target, where the alias falls back on this and there is still time."""
        alias = self.exchange.alias
        assert alias is not None
        if self.exchange.head_sent or self._time_left() <= 0:
            return None
        return self.next_target("fallback") if covers(alias.fallback_on, error.kind) else None

    def _time_left(self) -> float:
        deadline = self.exchange.deadline
        return float("inf") if deadline is None else deadline - asyncio.get_running_loop().time()

    def _other_credential(self, target: Target, error: UpstreamError) -> Step | None:
        """What is a credential's trouble may not be another's: that is what a pool is for."""
        if error.kind not in _OF_THE_CREDENTIAL:
            return None
        following = target.with_next_credential(of_other_account=error.kind == "rate_limit")
        while following is not None:
            health, provider = self.standing.health, target.model.provider
            if not health.credential_wait(provider, following.credential, time.time()):
                return Step(following, "retry", moves=True)
            following = following.with_next_credential()
        return None

    def _again(self, target: Target, error: UpstreamError) -> Step | None:
        """The same once more, where that was asked for, is within the provider's budget, and what
        failed is not taken out for longer."""
        wait = wait_before_retry(
            self._policy(target),
            kind=error.kind,
            retries=self.retries,
            retry_after=error.retry_after,
            time_left=self._time_left(),
            draw=self.draw(),
        )
        if wait is None or (self.waiting and wait > ONE_MOMENT):
            return None
        health, model, now = self.standing.health, target.model, time.time()
        provider = model.provider
        out = max(health.wait(model, now), health.credential_wait(provider, target.credential, now))
        if out > wait:
            return None
        if not self.standing.budgets.of(provider.tenant, provider.name).spend(now):
            return None
        self.retries += 1
        return Step(target, "retry", wait + MARGIN if out else wait, moves=True)

    def _policy(self, target: Target) -> RetryPolicy:
        alias = self.exchange.alias
        assert alias is not None
        return policy_of(alias.retries, target.model.provider.retries)
