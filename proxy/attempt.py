"""Targets one after another, until one answers."""

import asyncio
import math
import re
import time
from urllib.parse import quote

import structlog

from billing.records import AttemptRow
from proxy import relay
from proxy.dialects import OUTBOUND
from proxy.dialects.demo import outbound as demo
from proxy.dialects.faces import Outbound, Start
from proxy.errors import GatewayError, UpstreamError
from proxy.exchange import Exchange
from proxy.reply import Reply
from proxy.settle import moment
from proxy.store import Store
from proxy.upstream import Answer, Upstreams
from routing.choose import Target

log = structlog.get_logger("gateway.attempt")

ERROR_SECONDS = 10
"""How long an upstream may take to say what is wrong."""

_FIXED_HEADERS = (("content-type", "application/json"), ("accept-encoding", "identity"))
_KEY_LIKE = re.compile(r"\b(?:sk|gsk|xai|key|AIza)[-_A-Za-z0-9*.]{8,}")
_PLACEHOLDER = re.compile(r"\{(tenant|project|user|key|tier|alias|model|request_id)\}")
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
    error.message = error.message[:2000]
    return error


def _injected(exchange: Exchange, target: Target) -> list[tuple[str, str]]:
    """The headers that a provider wants to be told by; values are made safe for a header."""
    templates = target.model.provider.inject_headers
    if not templates:
        return []
    caller = exchange.caller
    assert caller is not None
    facts = {
        "tenant": caller.tenant.name,
        "project": exchange.project,
        "user": exchange.user,
        "key": caller.key,
        "tier": caller.tier,
        "alias": exchange.alias.name if exchange.alias else "",
        "model": target.model.name,
        "request_id": exchange.request_id,
    }

    def fill(placeholder: re.Match[str]) -> str:
        return quote(facts[placeholder[1]], safe=" !#$&'()*+,-./:;=?@[]_~|")

    # In one go: a user's name that looks like a placeholder is not one.
    return [(name, _PLACEHOLDER.sub(fill, template)) for name, template in templates.items()]


async def _call(exchange: Exchange, target: Target, reply: Reply, upstreams: Upstreams) -> bytes:
    """One try at one target. Returns the last bytes. Raises UpstreamError, or InvalidRequest for
    content that the target cannot take."""
    provider = target.model.provider
    if provider.dialect == "demo":
        events = demo.answer(
            exchange.read_request(),
            start=Start(exchange.record_id, target.model.upstream, int(exchange.started_at)),
            options=provider.options,
        )
        return await relay.translate(exchange, events, reply)
    outbound = OUTBOUND[provider.dialect]
    passes = provider.dialect == exchange.endpoint.dialect
    body, hides_usage = _body_for(exchange, target, outbound, passes=passes)
    loop = asyncio.get_running_loop()
    total_at = min(loop.time() + provider.timeouts.total, exchange.deadline or math.inf)
    secret = target.credential.secret if target.credential else None
    answer = exchange.answer = await upstreams.post(
        provider.base_url + outbound.path(target.model.upstream, stream=exchange.stream),
        headers=[*_FIXED_HEADERS, *outbound.headers(secret), *_injected(exchange, target)],
        body=body,
        timeouts=provider.timeouts,
        total_at=total_at,
    )
    if answer.status != 200:
        await _raise_error(answer, outbound, total_at)
    if not passes:
        events = relay.read_batches(exchange, answer, outbound=outbound, total_at=total_at)
        return await relay.translate(exchange, events, reply)
    if exchange.stream and relay.is_stream(answer):
        return await relay.pass_stream(
            exchange, answer, reply, outbound=outbound, hides_usage=hides_usage, total_at=total_at
        )
    return await relay.pass_body(exchange, answer, outbound=outbound, total_at=total_at)


def _body_for(
    exchange: Exchange, target: Target, outbound: Outbound, *, passes: bool
) -> tuple[bytes, bool]:
    """What is sent, and whether it asks for usage on our own account."""
    model = target.model
    if passes:
        return outbound.splice(exchange.raw, exchange.body, model.upstream)
    written = outbound.write_request(
        exchange.read_request(), model=model.upstream, output_limit=model.max_output_tokens
    )
    exchange.warnings = list(written.warnings)
    return written.body, False


async def _raise_error(answer: Answer, outbound: Outbound, total_at: float) -> None:
    error_at = min(asyncio.get_running_loop().time() + ERROR_SECONDS, total_at)
    try:
        async with asyncio.timeout_at(error_at):
            body = await answer.read_all()
    except (TimeoutError, UpstreamError):
        body = b""
    raise outbound.read_error(answer.status, body, retry_after=answer.retry_after)


async def _try(exchange: Exchange, target: Target, reply: Reply, upstreams: Upstreams) -> bytes:
    """`_call`, with its attempt noted whatever becomes of it."""
    started = time.perf_counter()
    attempt = AttemptRow(
        record_id=exchange.record_id,
        ordinal=len(exchange.attempts) + 1,
        started_at=moment(time.time()),
        role="fallback" if exchange.attempts else "first",
        provider=target.model.provider.name,
        model=target.model.name,
        credential=target.credential.name if target.credential else "",
    )
    exchange.target = target
    exchange.attempts.append(attempt)
    try:
        last = await _call(exchange, target, reply, upstreams)
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


async def run(exchange: Exchange, reply: Reply, upstreams: Upstreams, store: Store) -> bytes:
    """Everything but the last bytes is sent when this returns them.

    Falls back to the next target on the kinds that the alias names, as long as nothing was sent.
    Raises the last target's error.
    """
    choice, alias = exchange.choice, exchange.alias
    assert choice is not None and alias is not None
    exchange.called = time.perf_counter()
    failure: GatewayError | None = None
    for target in choice.targets:
        if failure is not None:
            await _start_over(exchange, target, store)
        try:
            return await _try(exchange, target, reply, upstreams)
        except UpstreamError as error:
            exchange.answered = time.perf_counter()
            if exchange.head_sent or not _falls_back(error.kind, alias.fallback_on):
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
