"""Calls that go to Redis together, and what may become of them."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from billing.counters.asks import CountersAway

log = logging.getLogger(__name__)

_ELSEWHERE = (AskError, TryAgainError, ClusterDownError, ReadOnlyError)

Future = asyncio.Future[Any]


class Unanswered(CountersAway):
    """The call was sent: it may take effect yet."""


class OtherServer(CountersAway):
    """Another server answers than the one that the call was meant for. It was not sent."""


class Batch:
    """`patient` are those of its futures that the deadline does not concern."""

    __slots__ = ("calls", "futures", "late", "patient", "sent", "timer")

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.futures: list[Future] = []
        self.patient: set[Future] = set()
        self.sent = self.late = False
        self.timer: asyncio.TimerHandle | None = None

    def add(self, command: tuple[Any, ...], future: Future) -> None:
        self.calls.append(packed(command))
        self.futures.append(future)

    def finish(self, error: CountersAway | None = None) -> None:
        """No timer any more, and `error` for whoever waits still."""
        if self.timer is not None:
            self.timer.cancel()
        if error is not None:
            give_up(self.futures, error)


def packed(command: tuple[Any, ...]) -> bytes:
    words: bytes = hiredis.pack_command(command)
    return words


def give_up(futures: Iterable[Future], error: CountersAway) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def translated(error: ResponseError) -> Exception:
    """A cluster's redirections are for whoever knows the way; the rest is Redis being away."""
    if isinstance(error, MovedError):
        return error
    if not isinstance(error, _ELSEWHERE):
        log.error("Redis refuses a call: %s", error)
    return CountersAway(f"Redis: {error}")
