"""The answer on its way to the caller: a head once, bytes, an end."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from gateway_project.units import from_nano
from proxy.refusals import left_headers

if TYPE_CHECKING:
    from proxy.exchange import Exchange

Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

EXPOSED_HEADERS = (
    b"x-request-id, x-gateway-record-id, x-gateway-alias, x-gateway-provider, x-gateway-model, "
    b"x-gateway-attempts, x-cache, x-gateway-charge, x-gateway-cost, x-gateway-warnings, "
    b"x-gateway-max-tokens-clamped, x-gateway-budget-remaining, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, server-timing, retry-after, "
    b"x-should-retry"
)


class Reframer(Protocol):
    """Puts the events of a stream into another framing."""

    content_type: str

    def take(self, passing: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Reply:
    """Wraps ASGI's `send`; after the head there is no second one. A stream may be framed anew on
    its way out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._reframed: Reframer | None = None
        self.started = False

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def start_stream(
        self, content_type: str, headers: Iterable[Header], reframer: "Reframer | None"
    ) -> None:
        """The head of a stream. With a reframer, what is written goes out as it says."""
        self._reframed = reframer
        kind = reframer.content_type if reframer else content_type
        await self.start(200, [(b"content-type", kind.encode()), *headers])

    async def write(self, data: bytes) -> None:
        if self._reframed is not None:
            data = self._reframed.take(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        if self._reframed is not None:
            data = self._reframed.take(data) + self._reframed.end()
        await self._send({"type": "http.response.body", "body": data})

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """A whole answer in one go."""
        headers.append((b"content-length", str(len(body)).encode()))
        await self.start(status, headers)
        await self.finish(body)


def cors_headers(exchange: "Exchange") -> list[Header]:
    """For an origin that the caller's tenant lists; nothing otherwise."""
    origin = exchange.headers.get(b"origin")
    if origin is None:
        return []
    # Who was refused has no tenant yet: the answer says nothing but that, to an origin of any.
    tenants = [exchange.caller.tenant] if exchange.caller else exchange.snapshot.tenants.values()
    if not any(origin.decode("latin-1") in tenant.cors_origins for tenant in tenants):
        return [(b"vary", b"Origin")]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED_HEADERS),
        (b"vary", b"Origin"),
    ]


def _timing(exchange: "Exchange", now: float) -> bytes:
    """Time spent waiting for upstreams, and all the rest, up to this head."""
    upstream = 0.0
    if exchange.called:
        upstream = (exchange.answered or exchange.first_token or now) - exchange.called
    gateway = now - exchange.started - upstream
    return b"upstream;dur=%.3f, gateway;dur=%.3f" % (
        max(upstream, 0.0) * 1000,
        max(gateway, 0.0) * 1000,
    )


def _plain(text: str) -> bytes:
    """Header text: printable ASCII, whatever the origin."""
    return "".join(c if " " <= c <= "~" else "?" for c in text).encode()[:1000]


def exchange_headers(exchange: "Exchange", *, now: float) -> list[Header]:
    """What every answer of a request says about it, once it was admitted."""
    headers: list[Header] = [(b"x-request-id", exchange.request_id.encode())]
    if exchange.record is not None:
        headers.append((b"x-gateway-record-id", exchange.record_id.encode()))
        headers.append((b"x-cache", b"BYPASS"))
        headers.append((b"server-timing", _timing(exchange, now)))
    if exchange.alias is not None:
        headers.append((b"x-gateway-alias", exchange.alias.name.encode()))
    if exchange.target is not None:
        headers.append((b"x-gateway-provider", exchange.target.model.provider.name.encode()))
        headers.append((b"x-gateway-model", exchange.target.model.name.encode()))
        headers.append((b"x-gateway-attempts", str(len(exchange.attempts)).encode()))
    if exchange.settled and exchange.charge is not None:
        headers.append((b"x-gateway-charge", from_nano(exchange.charge).encode()))
        if exchange.caller and "cost:read" in exchange.caller.scopes and exchange.cost is not None:
            headers.append((b"x-gateway-cost", from_nano(exchange.cost).encode()))
    if exchange.warnings:
        headers.append((b"x-gateway-warnings", _plain("; ".join(exchange.warnings))))
    if exchange.claims or exchange.clamped_to is not None:
        headers += left_headers(exchange)
    return headers + cors_headers(exchange)
