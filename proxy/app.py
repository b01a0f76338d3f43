"""The ASGI callable of the data plane: paths to endpoints, lifespan, and the small GETs."""

import datetime
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson
import structlog
from django.conf import settings

from proxy import pipeline
from proxy.authenticate import Authenticator
from proxy.body import Receive
from proxy.errors import (
    AliasNotFound,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ScopeMissing,
    StoreUnavailable,
)
from proxy.exchange import Endpoint, Exchange, new_record_id
from proxy.pipeline import Worker
from proxy.reply import EXPOSED_HEADERS, Reply, Send, cors_headers
from proxy.request_head import request_id
from proxy.store import Store
from proxy.upstream import Upstreams

log = structlog.get_logger("gateway.app")

Scope = dict[str, Any]
Get = Callable[[Exchange, Worker, Scope, Reply], Awaitable[None]]

DATA_PLANE = ("/chat/", "/v1/", "/v1beta/", "/healthz", "/readyz", "/metrics")
_ALIAS = r"([^/]{1,200})"
_COMPLETIONS = Endpoint("chat", "openai")
_POSTS = {"/v1/chat/completions": _COMPLETIONS}
_CHAT_ALIAS = re.compile(rf"/chat/{_ALIAS}")
_MODEL = re.compile(rf"/v1/models/{_ALIAS}")
_READING = Endpoint("read", "openai")


def post_endpoint(path: str) -> Endpoint | None:
    """The endpoint behind a path that goes to an upstream."""
    fixed = _POSTS.get(path)
    if fixed is not None:
        return fixed
    match = _CHAT_ALIAS.fullmatch(path)
    return Endpoint("chat", "openai", alias=unquote(match[1])) if match else None


async def _send_json(exchange: Exchange, reply: Reply, body: bytes, status: int = 200) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", exchange.request_id.encode()),
        *cors_headers(exchange),
    ]
    await reply.whole(status, headers, body)


async def list_models(exchange: Exchange, worker: Worker, scope: Scope, reply: Reply) -> None:
    """`GET /v1/models`: the aliases that this key may use."""
    assert exchange.caller is not None
    aliases = [(name, a.description) for name, a in sorted(exchange.caller.aliases.items())]
    await _send_json(exchange, reply, exchange.inbound.write_models(aliases))


async def show_model(exchange: Exchange, worker: Worker, scope: Scope, reply: Reply) -> None:
    """`GET /v1/models/{alias}`."""
    assert exchange.caller is not None
    match = _MODEL.fullmatch(scope["path"])
    name = unquote(match[1]) if match else ""
    alias = exchange.caller.aliases.get(name)
    if alias is None:
        raise AliasNotFound(f"This key may use no alias {name[:64]!r}.", param="model")
    await _send_json(exchange, reply, exchange.inbound.write_model(name, alias.description))


def _moment(
    query: dict[str, list[str]], name: str, default: datetime.datetime
) -> datetime.datetime:
    if name not in query:
        return default
    try:
        moment = datetime.datetime.fromisoformat(query[name][0].replace(" ", "+"))
    except ValueError:
        raise InvalidRequest(f"{name} is a day or a time, in ISO 8601", param=name) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


_USAGE_BY = ("provider", "model", "alias", "project", "key", "user", "label")


async def show_usage(exchange: Exchange, worker: Worker, scope: Scope, reply: Reply) -> None:
    """`GET /v1/usage?from=&to=&by=`: the tenant's own."""
    caller = exchange.caller
    assert caller is not None
    if "usage:read" not in caller.scopes:
        raise ScopeMissing("This key lacks the scope usage:read.")
    query = parse_qs(scope["query_string"].decode("latin-1"))
    now = datetime.datetime.now(tz=datetime.UTC)
    start = _moment(query, "from", now - datetime.timedelta(days=1))
    end = _moment(query, "to", now + datetime.timedelta(seconds=1))
    by = query.get("by", ["alias"])[0]
    if by not in _USAGE_BY:
        raise InvalidRequest(f"by is one of {', '.join(_USAGE_BY)}", param="by")
    if start >= end:
        raise InvalidRequest("from must be before to", param="from")
    usage = await worker.store.usage(start=start, end=end, by=by, tenant=caller.tenant.name)
    await _send_json(exchange, reply, orjson.dumps(usage))


def get_endpoint(path: str) -> Get | None:
    """The small reads, which reach no upstream."""
    if path == "/v1/models":
        return list_models
    if path == "/v1/usage":
        return show_usage
    return show_model if _MODEL.fullmatch(path) else None


class Proxy:
    """One per process. Everything under DATA_PLANE, and the lifespan."""

    def __init__(self) -> None:
        self.worker = Worker(
            store=Store(spool=settings.SPOOL_DIR),
            upstreams=Upstreams(),
            authenticator=Authenticator(
                issuer=settings.ENVIRONMENT.issuer, audience=settings.ENVIRONMENT.audience
            ),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        reply = Reply(send)
        if path in ("/healthz", "/readyz"):
            await self._report_health(path, reply)
        elif scope["method"] == "OPTIONS":
            await self._preflight(dict(scope["headers"]), reply)
        else:
            await self._serve(scope, receive, reply)

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        path, method, headers = scope["path"], scope["method"], dict(scope["headers"])
        endpoint, get = post_endpoint(path), get_endpoint(path)
        now = time.time()
        try:
            snapshot = self.worker.store.snapshot
        except StoreUnavailable as error:
            await _bare_error(reply, error, headers)
            return
        exchange = Exchange(
            endpoint=endpoint or _READING,
            headers=headers,
            snapshot=snapshot,
            request_id=request_id(headers.get(b"x-request-id")),
            record_id=new_record_id(now),
            started_at=now,
        )
        if endpoint is not None and method == "POST":
            await pipeline.run(exchange, self.worker, scope["headers"], receive, reply)
            return
        try:
            if get is None or method != "GET":
                known = endpoint is not None or get is not None
                raise (
                    MethodNotAllowed(f"{method} is not for {path}")
                    if known
                    else NotFound(f"There is nothing at {path[:200]}.")
                )
            await pipeline.authenticate(exchange, self.worker, scope["headers"])
            await get(exchange, self.worker, scope, reply)
        except GatewayError as error:
            await pipeline.refuse(exchange, self.worker, error, reply)

    async def _report_health(self, path: str, reply: Reply) -> None:
        """Live: the loop turns. Ready: a snapshot is loaded, so the database answered once."""
        ready = path == "/healthz" or self.worker.store.is_ready
        reasons = [] if ready else [self.worker.store.problem]
        body = {"status": "ok"} if ready else {"status": "unready", "reasons": reasons}
        await reply.whole(
            200 if ready else 503, [(b"content-type", b"application/json")], orjson.dumps(body)
        )

    async def _preflight(self, headers: dict[bytes, bytes], reply: Reply) -> None:
        """A browser asks before it sends a credential: any tenant's origin may go on to ask."""
        origin = headers.get(b"origin", b"")
        answer = [(b"vary", b"Origin")]
        try:
            tenants = self.worker.store.snapshot.tenants.values()
        except StoreUnavailable:
            tenants = ()  # type: ignore[assignment]
        if any(origin.decode("latin-1") in tenant.cors_origins for tenant in tenants):
            answer += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
                (
                    b"access-control-allow-headers",
                    headers.get(b"access-control-request-headers", b"authorization, content-type"),
                ),
                (b"access-control-expose-headers", EXPOSED_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        await reply.start(204, answer)
        await reply.finish(b"")

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Starts and stops what the worker shares."""
        await receive()
        try:
            await self.worker.store.start()
        except Exception as error:
            log.exception("the gateway cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.worker.store.stop()
        self.worker.upstreams.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _bare_error(reply: Reply, error: GatewayError, headers: dict[bytes, bytes]) -> None:
    """An error before there is an exchange."""
    name = request_id(headers.get(b"x-request-id"))
    body = {
        "error": {
            "message": error.message,
            "type": "server_error",
            "code": error.code,
            "param": None,
            "request_id": name,
        }
    }
    await reply.whole(
        error.status,
        [
            (b"content-type", b"application/json"),
            (b"x-request-id", name.encode()),
            *pipeline.error_headers(error),
        ],
        orjson.dumps(body),
    )
