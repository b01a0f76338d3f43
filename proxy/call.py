"""One call of one target: the request that is sent, and which way its answer goes back."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import msgspec
import orjson

from proxy import meter, relay
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects import COUNTERS, EMBEDDERS, OUTBOUND
from proxy.dialects.capping import capped
from proxy.dialects.demo import outbound as demo
from proxy.dialects.faces import Outbound, Start
from proxy.dialects.openai import embeddings
from proxy.errors import InvalidRequest, UpstreamError
from proxy.exchange import Exchange
from proxy.paths import Kind
from proxy.reply import Reply
from proxy.upstream import TOTAL_TIMEOUT, Answer, Upstreams
from routing.choose import Target

ERROR_SECONDS = 10
"""How long an upstream may take to say what is wrong."""

_FIXED_HEADERS = (("content-type", "application/json"), ("accept-encoding", "identity"))
_PLACEHOLDER = re.compile(r"\{(tenant|project|user|key|tier|alias|model|request_id)\}")


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


def _total_at(exchange: Exchange, target: Target) -> float:
    now = asyncio.get_running_loop().time()
    return min(now + target.model.provider.timeouts.total, exchange.deadline or math.inf)


async def _open(
    exchange: Exchange,
    target: Target,
    upstreams: Upstreams,
    *,
    outbound: Outbound,
    path: str,
    body: bytes,
    total_at: float,
) -> Answer:
    """The answer to a request at a path of the provider. Raises UpstreamError, also for a status
    that is not 200."""
    provider = target.model.provider
    secret = target.credential.secret if target.credential else None
    answer = exchange.answer = await upstreams.post(
        provider.base_url + path,
        headers=[*_FIXED_HEADERS, *outbound.headers(secret), *_injected(exchange, target)],
        body=body,
        timeouts=provider.timeouts,
        total_at=total_at,
    )
    if answer.status == 200:
        return answer
    error_at = min(asyncio.get_running_loop().time() + ERROR_SECONDS, total_at)
    try:
        async with asyncio.timeout_at(error_at):
            said = await answer.read_all()
    except (TimeoutError, UpstreamError):
        said = b""
    raise outbound.read_error(answer.status, said, retry_after=answer.retry_after)


async def _chat(exchange: Exchange, target: Target, reply: Reply, upstreams: Upstreams) -> bytes:
    provider = target.model.provider
    if provider.dialect == "demo":
        start = Start(exchange.record_id, target.model.upstream, int(exchange.started_at))
        request = _asked(exchange, output_limit(exchange, target))
        events = demo.answer(request, start=start, options=provider.options)
        try:
            async with asyncio.timeout_at(_total_at(exchange, target)):
                return await relay.translate(exchange, events, reply)
        except TimeoutError:
            raise UpstreamError("timeout", TOTAL_TIMEOUT) from None
    outbound = OUTBOUND[provider.dialect]
    passes = provider.dialect == exchange.endpoint.dialect
    body, hides_usage = _chat_body(exchange, target, outbound, passes=passes)
    total_at = _total_at(exchange, target)
    path = outbound.path(target.model.upstream, stream=exchange.stream)
    answer = await _open(
        exchange, target, upstreams, outbound=outbound, path=path, body=body, total_at=total_at
    )
    streams = relay.is_stream(answer)
    if not passes or not _is_form_asked_for(exchange, streams=streams):
        if passes:
            _check_other_form(exchange)
        events = relay.read_batches(exchange, answer, outbound=outbound, total_at=total_at)
        return await relay.translate(exchange, events, reply)
    if streams:
        return await relay.pass_stream(
            exchange, answer, reply, outbound=outbound, hides_usage=hides_usage, total_at=total_at
        )
    return await relay.pass_body(exchange, answer, outbound=outbound, total_at=total_at)


def _is_form_asked_for(exchange: Exchange, *, streams: bool) -> bool:
    """Whether the answer has the form that its caller wants; an array (Gemini's) is one already."""
    return streams == exchange.stream or (exchange.endpoint.array and not streams)


def _check_other_form(exchange: Exchange) -> None:
    """A whole answer where a stream was asked for, or the other way round, is written anew. Raises
    UpstreamError where the request is one that only its own dialect can answer."""
    try:
        exchange.read_request()
    except InvalidRequest:
        raise UpstreamError(
            "server_error",
            "The upstream's answer is not in the form that was asked for.",
            upstream_status=200,
        ) from None


def _chat_body(
    exchange: Exchange, target: Target, outbound: Outbound, *, passes: bool
) -> tuple[bytes, bool]:
    """What is sent, and whether it asks for usage on our own account."""
    model, limit = target.model, output_limit(exchange, target)
    if passes:
        body, hides_usage = outbound.splice(exchange.raw, exchange.body, model.upstream)
        if limit is not None:
            dialect = model.provider.dialect
            body = capped(body, dialect=dialect, model=model.upstream, limit=limit)
        return body, hides_usage
    written = outbound.write_request(
        _asked(exchange, limit), model=model.upstream, output_limit=model.max_output_tokens
    )
    exchange.warnings = list(written.warnings)
    return written.body, False


def _asked(exchange: Exchange, limit: int | None) -> ChatRequest:
    """The canonical request as it goes out. Where the path asks for a stream (Gemini's), the body
    does not say so."""
    request, stream = exchange.read_request(), exchange.stream
    if request.stream == stream and limit in (None, request.max_output_tokens):
        return request
    most = request.max_output_tokens if limit is None else limit
    return msgspec.structs.replace(request, stream=stream, max_output_tokens=most)


def output_limit(exchange: Exchange, target: Target) -> int | None:
    """What each answer is held to; None: what the caller's body says. Where a hard budget has
    reserved for an answer, it must not grow beyond that."""
    limit, asked = exchange.output_limit, exchange.body.output_limit
    answers: int = exchange.body.answers
    if exchange.reserved is None:
        return limit
    output = exchange.exposures[target.model.identity].bound.output
    if output is None:
        return limit
    bound = output // answers
    if limit is not None:
        return min(limit, bound)
    if asked is not None and asked <= bound:
        return None
    if asked is not None:
        exchange.clamped_to = bound
    return bound


async def _embeddings(
    exchange: Exchange, target: Target, reply: Reply, upstreams: Upstreams
) -> bytes:
    provider, model = target.model.provider, target.model.upstream
    embedder = EMBEDDERS.get(provider.dialect)
    if embedder is None:
        raise InvalidRequest(f"The model {target.model.name!r} makes no embeddings.", param="model")
    request = embeddings.read_request(exchange.body)
    written = embedder.write_embeddings(request, model=model)
    exchange.warnings = list(written.warnings)
    total_at = _total_at(exchange, target)
    answer = await _open(
        exchange,
        target,
        upstreams,
        outbound=OUTBOUND[provider.dialect],
        path=embedder.embeddings_path(model),
        body=written.body,
        total_at=total_at,
    )
    made = embedder.read_embeddings(await relay.read_whole(exchange, answer, total_at))
    exchange.usage = made.usage
    return embeddings.write_body(made, request, exchange.start.model)


async def _count(exchange: Exchange, target: Target, reply: Reply, upstreams: Upstreams) -> bytes:
    """`count_tokens`: forwarded where the provider counts, else estimated and marked. It is free
    at every provider that has it, and so here."""
    exchange.is_free = True
    provider, model = target.model.provider, target.model.upstream
    counter = COUNTERS.get(provider.dialect)
    if counter is None:
        exchange.warnings = ["input_tokens is an estimate"]
        tokens = meter.count_request(exchange.read_request())
    else:
        written = counter.write_count(exchange.read_request(), model=model)
        total_at = _total_at(exchange, target)
        answer = await _open(
            exchange,
            target,
            upstreams,
            outbound=OUTBOUND[provider.dialect],
            path=counter.count_path(model),
            body=written.body,
            total_at=total_at,
        )
        tokens = counter.read_count(await relay.read_whole(exchange, answer, total_at))
    exchange.answered = time.perf_counter()
    exchange.usage = Usage()
    return orjson.dumps({"input_tokens": tokens})


Call = Callable[[Exchange, Target, Reply, Upstreams], Awaitable[bytes]]

CALLS: Mapping[Kind, Call] = {"chat": _chat, "embeddings": _embeddings, "count": _count}
"""Each sends everything but the last bytes, and returns those. Raises UpstreamError, or
InvalidRequest for content that the target cannot take."""
