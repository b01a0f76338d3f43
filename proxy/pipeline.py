"""The steps of a request, in order. Read this first.

    authenticate -> head and body -> choose -> admit -> attempt (upstream, relay, meter) -> settle

A request that is refused before `admit` leaves no record; it is logged and counted. One that was
admitted is settled in `finally`, whatever became of it, and before its last byte is sent.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from billing.counters.asks import CountersAway
from proxy import attempt, departure, metrics, mirror
from proxy.admit import finish
from proxy.body import CallerGone, Receive, check_head, parse_json, read_body
from proxy.choose import check_kind, choose_targets, find_alias
from proxy.errors import (
    AliasNotFound,
    GatewayError,
    InvalidRequest,
    StoreUnavailable,
    TenantSuspended,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)
from proxy.exchange import Exchange
from proxy.identify import read_credential
from proxy.reply import Reply, cors_headers, exchange_headers
from proxy.request_head import end_user, read_head
from proxy.settle import settle
from proxy.worker import Worker

log = structlog.get_logger("gateway.pipeline")

_OUR_FAULT = "The gateway failed; the request id finds it in its log."
CALLER_GONE = 499
"""The status on the record of a caller who left before there was one (nginx's custom)."""


async def run(
    exchange: Exchange, worker: Worker, scope: dict[str, Any], receive: Receive, reply: Reply
) -> None:
    """Answers one request that goes to an upstream."""
    credentials = scope["headers"]
    try:
        await authenticate(exchange, worker, credentials, receive)
        await read_request(exchange, receive)
        await choose(exchange, worker, credentials)
    except CallerGone:
        return
    except GatewayError as error:
        await refuse(exchange, worker, error, reply)
        return
    except Exception:
        log.exception("a request failed inside the gateway", request_id=exchange.request_id)
        await refuse(exchange, worker, GatewayError(_OUR_FAULT), reply)
        return
    stop_watching = departure.watch(scope, receive, _interrupter(exchange))
    try:
        if not await admit(exchange, worker, reply):
            return
        last = await _answer(exchange, worker, reply)
        stop_watching()
        if last is not None:
            await _send_last(exchange, reply, last)
            mirror.offer(exchange, worker)
    except asyncio.CancelledError:
        # The caller left between the last bytes and their end: all is settled, nobody is there.
        pass
    finally:
        stop_watching()
        if exchange.answer is not None:
            await exchange.answer.close()


async def authenticate(
    exchange: Exchange,
    worker: Worker,
    credentials: list[tuple[bytes, bytes]],
    receive: Receive | None = None,
) -> None:
    """Fills `caller`, also where it is then refused, so that the refusal is counted as its own. A
    credential that is unknown may be newer than the snapshot. The body of a signed request is read
    here; without `receive` there is none."""
    credential = read_credential(exchange.query, credentials)
    identify = worker.identifier.identify
    try:
        exchange.caller = await identify(credential, exchange, receive)
    except Unauthenticated:
        exchange.snapshot = await worker.store.catch_up()
        try:
            exchange.caller = await identify(credential, exchange, receive)
        except Unauthenticated as refusal:
            if refusal.may_be_newer and worker.store.problem:
                raise StoreUnavailable("Keys cannot be looked up now.", retry_after=5) from None
            raise
    if exchange.caller.tenant.suspended:
        raise TenantSuspended(f"The tenant {exchange.caller.tenant.name} is suspended.")


async def read_request(exchange: Exchange, receive: Receive) -> None:
    """Fills what headers and body say."""
    assert exchange.caller is not None
    read_head(exchange)
    limit = exchange.snapshot.routing.max_request_bytes
    check_head(exchange.headers, limit)
    if not exchange.body_is_read:
        exchange.raw = await read_body(receive, limit)
    exchange.body = exchange.parse(parse_json(exchange.raw))
    asked = exchange.endpoint.stream
    exchange.stream = exchange.body.wants_stream if asked is None else asked
    exchange.user = end_user(exchange.caller.user, exchange.body.end_user)


async def choose(
    exchange: Exchange, worker: Worker, credentials: list[tuple[bytes, bytes]]
) -> None:
    """Fills `alias`, `choice` and `rates`. An unknown alias may be newer than the snapshot, and so
    may the caller's leave to use it."""
    name = exchange.endpoint.alias or exchange.body.asked_model
    if not name:
        raise InvalidRequest("model is required: the alias to ask", param="model")
    try:
        exchange.alias = find_alias(exchange, name)
    except AliasNotFound:
        exchange.snapshot = await worker.store.catch_up()
        await authenticate(exchange, worker, credentials)
        exchange.alias = find_alias(exchange, name)
    check_kind(exchange)
    choose_targets(exchange, worker.standing, worker.admission.budget_used)


async def admit(exchange: Exchange, worker: Worker, reply: Reply) -> bool:
    """Whether limits and budgets let the request go on; the caller is told if they do not. One who
    leaves meanwhile holds nothing."""
    try:
        await worker.admission.admit(exchange, worker.store)
        return True
    except GatewayError as error:
        await refuse(exchange, worker, error, reply)
    except asyncio.CancelledError:
        await worker.admission.release(exchange)
        if not exchange.caller_left:
            raise
    except Exception:
        log.exception("a request failed inside the gateway", request_id=exchange.request_id)
        await worker.admission.release(exchange)
        await refuse(exchange, worker, GatewayError(_OUR_FAULT), reply)
    return False


async def refuse(exchange: Exchange, worker: Worker, error: GatewayError, reply: Reply) -> None:
    """Answers a request that goes no further, and counts it."""
    caller = exchange.caller
    tenant, key_id = (caller.tenant.name, caller.key_id) if caller else ("", "")
    worker.store.count_refusal(tenant=tenant, key_id=key_id, code=error.code)
    metrics.count_refusal(error.code)
    log.info(
        "refused",
        request_id=exchange.request_id,
        endpoint=exchange.endpoint.name,
        tenant=tenant,
        key_id=key_id,
        status=error.status,
        code=error.code,
        reason=getattr(error, "reason", None) or error.message[:300],
    )
    await _send_error(exchange, reply, error)


def _interrupter(exchange: Exchange) -> Callable[[], None]:
    """What cancels the work as soon as the caller has hung up."""
    working = asyncio.current_task()
    assert working is not None

    def departed() -> None:
        exchange.caller_left = True
        working.cancel()

    return departed


async def _answer(exchange: Exchange, worker: Worker, reply: Reply) -> bytes | None:
    """Tries the targets, and settles. Returns the last bytes; None when nobody is there to read."""
    try:
        return await attempt.run(exchange, reply, worker)
    except GatewayError as error:
        return _failed(exchange, error)
    except asyncio.CancelledError:
        if exchange.answer is not None:
            exchange.answer.abort()
        if not exchange.caller_left:  # the server stops, and has waited for long enough
            return _failed(exchange, Unavailable("The gateway is shutting down."))
        exchange.outcome, exchange.ended_by = "interrupted", "caller"
        exchange.answered = exchange.answered or time.perf_counter()
        if not exchange.head_sent:
            exchange.status = CALLER_GONE
        return None
    except Exception:
        log.exception("a request failed inside the gateway", request_id=exchange.request_id)
        return _failed(exchange, GatewayError(_OUR_FAULT))
    finally:
        await _settle(exchange, worker)


async def _settle(exchange: Exchange, worker: Worker) -> None:
    """Record, counters, and then the queue for the database: in this order, because a sweep that
    was quicker than the counters has written a record of its own, which stands."""
    entry = settle(exchange, worker.store)
    if entry is None:
        return
    assert exchange.segment is not None
    if exchange.hold is not None and not await _count(exchange, worker):
        worker.store.drop(exchange.segment)
        return
    worker.store.enqueue(exchange.segment, entry)


async def _count(exchange: Exchange, worker: Worker) -> bool:
    """Whether the request was this worker's to settle. A caller who leaves meanwhile does not
    interrupt it."""
    try:
        settling = worker.admission.settle(exchange, worker.store)
        return await (finish(settling) if worker.admission.counters.keeps_entries else settling)
    except CountersAway as error:
        log.warning("a request is counted later", record_id=exchange.record_id, error=str(error))
        return True
    except Exception:
        log.exception("a request could not be counted", record_id=exchange.record_id)
        return True


def _failed(exchange: Exchange, error: GatewayError) -> bytes:
    """Notes the failure; returns what tells the caller: an event in a stream, else a body."""
    exchange.answered = exchange.answered or time.perf_counter()
    exchange.error_code = error.code
    upstream = error if isinstance(error, UpstreamError) else None
    exchange.ended_by = "gateway" if upstream is None or upstream.is_impatience else "upstream"
    if exchange.head_sent:
        exchange.outcome = "interrupted"
        own = upstream.body if upstream and _same_dialect(exchange) else None
        event: bytes = own or exchange.inbound.write_stream_error(error, exchange.request_id)
        return event
    exchange.outcome, exchange.status, exchange.failure = "failed", error.status, error
    if upstream and upstream.blames_request and upstream.body and _same_dialect(exchange):
        return upstream.body
    body: bytes = exchange.inbound.write_error(error, exchange.request_id)
    return body


def _same_dialect(exchange: Exchange) -> bool:
    target = exchange.target
    return target is not None and target.model.provider.dialect == exchange.endpoint.dialect


async def _send_last(exchange: Exchange, reply: Reply, last: bytes) -> None:
    if exchange.head_sent:
        await reply.finish(last)
        return
    headers = [(b"content-type", b"application/json")]
    headers += exchange_headers(exchange, now=time.perf_counter())
    if exchange.failure is not None:
        headers += error_headers(exchange.failure)
    await reply.whole(exchange.status, headers, last)


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """What an error says beside its body."""
    headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after + 0.499))).encode()))
    return headers


async def _send_error(exchange: Exchange, reply: Reply, error: GatewayError) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", exchange.request_id.encode()),
        *cors_headers(exchange),
        *error_headers(error),
    ]
    await reply.whole(
        error.status, headers, exchange.inbound.write_error(error, exchange.request_id)
    )
