"""Targets one after another, until one answers."""

import asyncio
import re
import time

import structlog

from billing.records import AttemptRow
from proxy.call import CALLS
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.reply import Reply
from proxy.settle import moment
from proxy.store import Store
from proxy.upstream import Upstreams
from proxy.worker import Worker
from routing.choose import Target

log = structlog.get_logger("gateway.attempt")

_KEY_LIKE = re.compile(r"\b(?:sk|gsk|xai|key|AIza)[-_A-Za-z0-9*.]{8,}")
_ALSO_COVERS = {"overloaded": "server_error"}
"""A provider that is overloaded answers 5xx: who falls back on `server_error` means it too."""


def _falls_back(kind: str, on: frozenset[str]) -> bool:
    return kind in on or _ALSO_COVERS.get(kind) in on


def _redacted(error: UpstreamError, target: Target) -> UpstreamError:
    """The error without the credential that was used, or anything that looks like one."""
    error.message = _KEY_LIKE.sub("[redacted]", error.message)
    secret = target.credential.secret if target.credential else ""
    if secret:
        error.message = error.message.replace(secret, "[redacted]")
        if error.body is not None:
            error.body = error.body.replace(secret.encode(), b"[redacted]")
    status = error.upstream_status or 0
    if error.code == "upstream_error" and status >= 400 and str(status) not in error.message:
        error.message = f"The upstream answered {status}: {error.message}"
    error.message = error.message[:2000]
    return error


async def _try(
    exchange: Exchange, target: Target, role: str, reply: Reply, upstreams: Upstreams
) -> bytes:
    """One call, with its attempt noted whatever becomes of it."""
    started = time.perf_counter()
    attempt = AttemptRow(
        record_id=exchange.record_id,
        ordinal=len(exchange.attempts) + 1,
        started_at=moment(time.time()),
        role=role,
        provider=target.model.provider.name,
        model=target.model.name,
        credential=target.credential.name if target.credential else "",
    )
    exchange.target = target
    exchange.attempts.append(attempt)
    try:
        last = await CALLS[exchange.endpoint.kind](exchange, target, reply, upstreams)
        attempt.status = 200
        return last
    except UpstreamError as error:
        _redacted(error, target)
        attempt.status, attempt.error_kind = error.upstream_status, error.kind
        attempt.error = error.message[:500]
        raise
    except asyncio.CancelledError:
        attempt.error_kind = "cancelled"
        raise
    finally:
        attempt.latency_us = round((time.perf_counter() - started) * 1_000_000)


async def run(exchange: Exchange, reply: Reply, worker: Worker) -> bytes:
    """Everything but the last bytes is sent when this returns them.

    Falls back to the next target on the kinds that the alias names, as long as nothing was sent.
    Raises the last target's error.
    """
    choice, alias = exchange.choice, exchange.alias
    assert choice is not None and alias is not None
    exchange.called = time.perf_counter()
    failure: UpstreamError | None = None
    waiting = list(choice.targets)
    while waiting:
        target = waiting.pop(0)
        role = _role(failure)
        if failure is not None:
            if role != "retry" and not await worker.admission.move(exchange, target, worker.store):
                continue  # our own limit of that target is used up
            await _start_over(exchange, target, worker.store)
        try:
            return await _try(exchange, target, role, reply, worker.upstreams)
        except UpstreamError as error:
            exchange.answered = time.perf_counter()
            _count_rate_limits(error, exchange)
            if error.is_stale and role != "retry":
                waiting.insert(0, target)
            elif not _may_go_on(error, exchange, alias.fallback_on):
                raise
            log.info(
                "an attempt failed",
                request_id=exchange.request_id,
                provider=target.model.provider.name,
                model=target.model.name,
                kind=error.kind,
                status=error.upstream_status,
            )
            failure = error
    assert failure is not None
    raise failure


def _role(failure: UpstreamError | None) -> str:
    """What the next attempt is, after that failure."""
    if failure is None:
        return "first"
    return "retry" if failure.is_stale else "fallback"


def _may_go_on(error: UpstreamError, exchange: Exchange, on: frozenset[str]) -> bool:
    """Whether another target may be tried: nothing was sent, the alias falls back on this, and the
    caller still waits."""
    if exchange.head_sent or not _falls_back(error.kind, on):
        return False
    return exchange.deadline is None or exchange.deadline > asyncio.get_running_loop().time()


def _count_rate_limits(error: UpstreamError, exchange: Exchange) -> None:
    """A caller is told to slow down only where every attempt was."""
    if any(attempt.error_kind != "rate_limit" for attempt in exchange.attempts):
        error.stays_upstreams()


async def _start_over(exchange: Exchange, target: Target, store: Store) -> None:
    """Forgets what the failed attempt learned, and tells the journal who is asked next."""
    if exchange.answer is not None:
        exchange.answer.abort()
    exchange.answer = exchange.usage = exchange.delivered = None
    exchange.answered = 0.0
    assert exchange.record is not None and exchange.segment is not None
    exchange.target = target
    exchange.record.provider = target.model.provider.name
    exchange.record.model = target.model.name
    exchange.record.upstream_model = target.model.upstream
    store.amend(exchange.segment, exchange.record, exchange.attempts)
