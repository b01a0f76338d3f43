"""One try at one target, noted on its row whatever becomes of it."""

import asyncio
import re
import time

from billing.records import AttemptRow
from proxy.call import CALLS
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.itinerary import Step
from proxy.patience import ENDLESS, Impatience, Patience
from proxy.reply import Reply
from proxy.settle import moment
from proxy.standing import Call
from proxy.worker import Worker
from routing.choose import Target

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


def new_attempt(exchange: Exchange, step: Step) -> AttemptRow:
    """Its row, as the last of the request's. From here on the target is the exchange's."""
    target = exchange.target = step.target
    attempt = AttemptRow(
        record_id=exchange.record_id,
        ordinal=len(exchange.attempts) + 1,
        started_at=moment(time.time()),
        role=step.role,
        provider=target.model.provider.name,
        model=target.model.name,
        credential=target.credential.name if target.credential else "",
    )
    exchange.attempts.append(attempt)
    return attempt


async def try_target(
    exchange: Exchange,
    attempt: AttemptRow,
    reply: Reply,
    worker: Worker,
    call: Call,
    impatience: Impatience = ENDLESS,
) -> bytes:
    """Calls the exchange's target; returns the last bytes, everything before them is sent. Raises
    UpstreamError."""
    target, started = exchange.target, time.perf_counter()
    assert target is not None
    exchange.on_content = call.content
    try:
        async with Patience(exchange, impatience) as patience:
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
        ended = time.perf_counter()
        attempt.latency_us = round((ended - started) * 1_000_000)
        if exchange.first_token:
            attempt.first_token_us = round((exchange.first_token - started) * 1_000_000)
