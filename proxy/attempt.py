"""Targets one after another, until one answers."""

import asyncio
import re
import time

import structlog

from billing.records import AttemptRow
from proxy.call import CALLS
from proxy.errors import NoTargetAvailable, UpstreamError
from proxy.exchange import Exchange
from proxy.itinerary import Itinerary, Step
from proxy.patience import Patience
from proxy.reply import Reply
from proxy.settle import moment
from proxy.standing import Call
from proxy.store import Store
from proxy.worker import Worker
from routing.choose import Target

log = structlog.get_logger("gateway.attempt")

_KEY_LIKE = re.compile(r"\b(?:sk|gsk|xai|key|AIza)[-_A-Za-z0-9*.]{8,}")


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
    exchange: Exchange, step: Step, reply: Reply, worker: Worker, call: Call, patience: Patience
) -> bytes:
    """One call, with its attempt noted whatever becomes of it."""
    target, started = step.target, time.perf_counter()
    attempt = AttemptRow(
        record_id=exchange.record_id,
        ordinal=len(exchange.attempts) + 1,
        started_at=moment(time.time()),
        role=step.role,
        provider=target.model.provider.name,
        model=target.model.name,
        credential=target.credential.name if target.credential else "",
    )
    exchange.target = target
    exchange.attempts.append(attempt)
    exchange.on_content = call.content
    try:
        async with patience:
            call.waits(patience)
            last = await CALLS[exchange.endpoint.kind](exchange, target, reply, worker.upstreams)
        call.content()
        attempt.status = 200
        return last
    except UpstreamError as error:
        _redacted(error, target)
        attempt.status, attempt.error_kind = error.upstream_status, error.kind
        attempt.error = error.message[:500]
        call.failed(error, exchange)
        raise
    except asyncio.CancelledError:
        attempt.error_kind = "cancelled"
        raise
    finally:
        call.end(exchange, worker.store)
        attempt.latency_us = round((time.perf_counter() - started) * 1_000_000)


async def run(exchange: Exchange, reply: Reply, worker: Worker) -> bytes:
    """Everything but the last bytes is sent when this returns them.

    After a failure the same model may be asked with another credential or once more, and then the
    next target on the kinds that the alias names, as long as nothing was sent. Raises the last
    target's error.
    """
    exchange.called = time.perf_counter()
    failure: UpstreamError | None = None
    way = Itinerary(exchange, worker.standing)
    step = way.next_target("first")
    while step is not None:
        call = await _set_out(exchange, step, failure, worker)
        if call is None:
            step = way.fallback(failure) if failure else way.next_target("first")
            continue
        try:
            return await _try(exchange, step, reply, worker, call, _patience(exchange, way))
        except UpstreamError as error:
            exchange.answered = time.perf_counter()
            _count_rate_limits(error, exchange)
            failure = error
            _log(exchange, step.target, error)
            step = way.after(step.target, error, step.role) or way.fallback(error)
    raise failure or NoTargetAvailable("All targets have just been taken out.", retry_after=1)


async def _set_out(
    exchange: Exchange, step: Step, failure: UpstreamError | None, worker: Worker
) -> Call | None:
    """Leave for the next attempt, with our own limits and the target's health asked; None: not this
    one. Waits where the step says so."""
    if step.wait:
        await asyncio.sleep(step.wait)
    if step.moves and not await worker.admission.move(exchange, step.target, worker.store):
        return None  # our own limit of that target is used up
    call = worker.standing.begin(step.target)
    if call is not None and (step.moves or failure is not None):
        await _start_over(exchange, step.target, worker.store)
    return call


def _patience(exchange: Exchange, way: Itinerary) -> Patience:
    """How long the target may be silent; it matters only where another could answer instead."""
    alias = exchange.alias
    assert alias is not None
    if not way.has_elsewhere:
        return Patience(exchange, None)
    slow = alias.slow.first_byte if alias.slow and "slow" in alias.fallback_on else None
    return Patience(exchange, slow, may_leave="timeout" in alias.fallback_on)


def _log(exchange: Exchange, target: Target, error: UpstreamError) -> None:
    log.info(
        "an attempt failed",
        request_id=exchange.request_id,
        provider=target.model.provider.name,
        model=target.model.name,
        kind=error.kind,
        status=error.upstream_status,
    )


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
