"""The ASGI callable of the data plane: what a path means, lifespan, health, preflights."""

import asyncio
import gc
import time
from typing import Any

import orjson
import structlog
from django.conf import settings

import billing.counters
import routing.sharing
from billing.counters import new_counters
from proxy import metrics, mirror, pipeline, reads
from proxy.admit import Admission
from proxy.authenticate import Authenticator
from proxy.body import Receive
from proxy.dialects import INBOUND
from proxy.errors import (
    GatewayError,
    MethodNotAllowed,
    NotFound,
    StoreUnavailable,
    Unauthenticated,
)
from proxy.exchange import Exchange, new_record_id
from proxy.identify import Identifier
from proxy.paths import Endpoint, find_endpoint, find_reading
from proxy.probing import Prober
from proxy.reply import EXPOSED_HEADERS, Reply, Send, cors_headers
from proxy.request_head import request_id
from proxy.standing import Standing
from proxy.store import Store
from proxy.upstream import Upstreams
from proxy.worker import Worker
from routing.sharing import new_sharing
from routing.taken_out import spelled, taken_out

log = structlog.get_logger("gateway.app")

COLLECT_AFTER = (20_000, 20, 20)
"""Allocations between collections, by generation."""

Scope = dict[str, Any]


class Proxy:
    """One per process. Everything under DATA_PLANE, and the lifespan."""

    def __init__(self) -> None:
        self._started = False
        self._starting = asyncio.Lock()
        redis_url = settings.ENVIRONMENT.redis_url
        counters = billing.counters.running = new_counters(redis_url)
        sharing = routing.sharing.running = new_sharing(redis_url)
        fails_open = settings.ENVIRONMENT.on_store_failure == "open"
        self.worker = Worker(
            store=Store(
                spool=settings.SPOOL_DIR,
                counters=counters,
                sharing=sharing,
                insists=not fails_open,
            ),
            upstreams=Upstreams(),
            identifier=Identifier(
                Authenticator(
                    issuer=settings.ENVIRONMENT.issuer, audience=settings.ENVIRONMENT.audience
                )
            ),
            admission=Admission(counters, fails_open=fails_open),
            standing=Standing(sharing),
        )
        self._prober = Prober(self.worker.store, self.worker.standing, self.worker.upstreams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._started:
            await self._start()
        path = scope["path"]
        reply = Reply(send)
        if path == "/metrics" or (path == "/readyz" and b"verbose" in scope["query_string"]):
            await self._report_inside(path, dict(scope["headers"]), reply)
        elif path in ("/healthz", "/readyz"):
            await self._report_health(path, reply)
        elif scope["method"] == "OPTIONS":
            await self._preflight(dict(scope["headers"]), reply)
        else:
            await self._serve(scope, receive, reply)

    async def _start(self) -> None:
        """At the lifespan's start, or at the first request of a server that has no lifespan
        (`runserver`)."""
        async with self._starting:
            if not self._started:
                await self.worker.store.start()
                _calm_collector()
                self._started = True

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        path, method, headers = scope["path"], scope["method"], dict(scope["headers"])
        endpoint = find_endpoint(path, scope["query_string"])
        asks_upstream = endpoint is not None and method == "POST"
        reading = None if asks_upstream else find_reading(path, headers)
        now = time.time()
        try:
            snapshot = self.worker.store.snapshot
        except StoreUnavailable as error:
            await _bare_error(reply, error, headers)
            return
        exchange = Exchange(
            endpoint=endpoint or Endpoint("read", reading.dialect if reading else "openai"),
            headers=headers,
            snapshot=snapshot,
            request_id=request_id(headers.get(b"x-request-id")),
            record_id=new_record_id(now),
            started_at=now,
            query=scope["query_string"],
        )
        if asks_upstream:
            await pipeline.run(exchange, self.worker, scope, receive, reply)
            return
        try:
            if reading is None and endpoint is None:
                raise NotFound(f"There is nothing at {path[:200]}.")
            if reading is None or method != "GET":
                raise MethodNotAllowed(f"{method} is not for {path[:200]}.")
            await pipeline.authenticate(exchange, self.worker, scope["headers"])
            query = scope["query_string"]
            body = await reads.read(exchange, reading, query, self.worker.store)
            await _send_json(exchange, reply, body)
        except GatewayError as error:
            await pipeline.refuse(exchange, self.worker, error, reply)

    async def _report_health(self, path: str, reply: Reply) -> None:
        """Live: the loop turns. Ready: a snapshot is loaded, so the database answered once."""
        ready = path == "/healthz" or self.worker.store.is_ready
        reasons = [] if ready else self.worker.store.state()["reasons"]
        body = {"status": "ok"} if ready else {"status": "unready", "reasons": reasons}
        await reply.whole(
            200 if ready else 503, [(b"content-type", b"application/json")], orjson.dumps(body)
        )

    async def _report_inside(self, path: str, headers: dict[bytes, bytes], reply: Reply) -> None:
        """What only operators see: the metrics, and readiness with its details."""
        store = self.worker.store
        token = settings.ENVIRONMENT.metrics_token
        wanted = token.get_secret_value() if token else None
        if not metrics.may_read(wanted, headers.get(b"authorization")):
            await _bare_error(reply, Unauthenticated("no metrics token"), headers)
        elif path == "/metrics":
            metrics.WAITING.set(store.waiting)
            self._show_taken_out()
            head = [(b"content-type", metrics.CONTENT_TYPE)]
            await reply.whole(200, head, metrics.exposition())
        else:
            body = {"status": "ok" if store.is_ready else "unready", **store.state()}
            sharing = self.worker.standing.sharing
            body["health"] = {"shared": sharing.is_shared, "problem": sharing.problem}
            body["taken_out"] = taken_out(sharing.circuits, time.time())
            head = [(b"content-type", b"application/json")]
            await reply.whole(200 if store.is_ready else 503, head, orjson.dumps(body))

    def _show_taken_out(self) -> None:
        now = time.time()
        for subject, circuit in self.worker.standing.health.circuits.items():
            if circuit.since:
                metrics.show_taken_out(subject[0], spelled(subject), circuit.state(now))

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
            await self._start()
        except Exception as error:
            log.exception("the gateway cannot start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._prober.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await mirror.stop(self.worker)
        await self._prober.stop()
        await self.worker.store.stop()
        self.worker.upstreams.close()
        await send({"type": "lifespan.shutdown.complete"})


def _calm_collector() -> None:
    """What is loaded stays, so the garbage collector need not walk it; and a stream makes hundreds
    of short-lived values, of which none is in a cycle, so it need not look so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _send_json(exchange: Exchange, reply: Reply, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", exchange.request_id.encode()),
        *cors_headers(exchange),
    ]
    await reply.whole(200, headers, body)


async def _bare_error(reply: Reply, error: GatewayError, headers: dict[bytes, bytes]) -> None:
    """An error before there is an exchange."""
    name = request_id(headers.get(b"x-request-id"))
    await reply.whole(
        error.status,
        [
            (b"content-type", b"application/json"),
            (b"x-request-id", name.encode()),
            *pipeline.error_headers(error),
        ],
        INBOUND["openai"].write_error(error, name),
    )
