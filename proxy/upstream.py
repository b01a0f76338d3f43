"""The only outbound sockets of the hot path: pools of connections, and answers as they arrive.

Ours, because the client is where a Python gateway spends its time: per request httpx costs ten
times, aiohttp three times as much CPU (docs/decisions). Environment proxies are not read and
redirects not followed: only configuration says where a request goes.
"""

import asyncio
import math
import ssl
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import certifi

from proxy.errors import UpstreamError
from proxy.http1 import Connection
from routing.snapshots import Timeouts

MAX_BODY = 64_000_000
"""Bytes of a whole answer, and of an error's body."""
IDLE_SECONDS = 30
"""How long an unused connection is kept; providers close theirs after a minute or more."""
STALE_SECONDS = 0.05
"""A kept connection that ends this soon after a request was ended before it, not because of it."""
DRAIN_SECONDS = 0.2
"""How long a connection is given to end its answer so that it can be used again."""
TOTAL_TIMEOUT = "The answer took longer than it may in all (total)."

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads: what to connect to, and the first lines of a request."""

    host: str
    port: int
    tls: bool
    head: bytes


def place_of(url: str, method: str = "POST") -> Place:
    """Raises UpstreamError for a URL that leads nowhere."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UpstreamError("connection", "The provider's base URL is not an HTTP URL.")
    tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc.rpartition("@")[2]
    head = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n"
    return Place(parts.hostname, parts.port or (443 if tls else 80), tls, head.encode("ascii"))


class Answer:
    """An upstream's answer, its head read and its body still to come."""

    def __init__(self, connection: Connection, release: Callable[[Connection], None]) -> None:
        self._connection = connection
        self._release = release
        self.status = connection.status
        self._headers = connection.headers
        self._inflate = _decompressor(self._headers.get(b"content-encoding", b"identity"))

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def retry_after(self) -> float | None:
        """Seconds that the upstream asks to wait."""
        return read_retry_after(self.header(b"retry-after-ms"), self.header(b"retry-after"))

    async def read(self, late_at: float = math.inf) -> bytes | None:
        """What has arrived since the last call, None at the end. Raises UpstreamError, or
        TimeoutError at the loop's time `late_at`."""
        data = await self._connection.read(late_at)
        if data is None or self._inflate is None:
            return data
        try:
            inflated: bytes = self._inflate.decompress(data, MAX_BODY)
        except zlib.error:
            raise UpstreamError(
                "server_error", "The upstream's answer is not compressed as it says."
            ) from None
        return inflated

    async def read_all(self, idle: float = math.inf, total_at: float = math.inf) -> bytes:
        """The whole body. Raises UpstreamError when it is larger than MAX_BODY, and TimeoutError
        when nothing came for `idle` seconds, or at the loop's time `total_at`."""
        now = asyncio.get_running_loop().time
        pieces, size = [], 0
        while (piece := await self.read(min(now() + idle, total_at))) is not None:
            size += len(piece)
            if size > MAX_BODY:
                raise UpstreamError(
                    "server_error", f"The upstream's answer is larger than {MAX_BODY} bytes."
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Gives the connection back where the answer has ended, and ends it where it has not."""
        connection = self._connection
        if not connection.is_complete and connection.is_open:
            late_at = asyncio.get_running_loop().time() + DRAIN_SECONDS
            try:
                while await connection.read(late_at) is not None:
                    pass
            except (UpstreamError, TimeoutError):
                pass
        self._release(connection)

    def abort(self) -> None:
        """Ends the connection now."""
        self._connection.abort()


def _decompressor(encoding: bytes) -> Any:
    """We ask for `identity`; some send gzip all the same."""
    name = encoding.strip().lower()
    if name in (b"identity", b""):
        return None
    if name in (b"gzip", b"x-gzip", b"deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    told = name.decode("latin-1")[:40]
    raise UpstreamError(
        "server_error", f"The upstream's answer is encoded as {told!r}, which was not asked for."
    )


def read_retry_after(milliseconds: str | None, text: str | None) -> float | None:
    """Seconds, from a number or an HTTP date; None where neither can be read."""
    thousandths = _number(milliseconds)
    return _number(text, or_date=True) if thousandths is None else thousandths / 1000


def _number(text: str | None, *, or_date: bool = False) -> float | None:
    """What is left to wait; never less than nothing, never for ever."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return _until(text) if or_date else None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # Where a date says no zone it is meant in UTC (RFC 9110, section 5.6.7).
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _trusted() -> ssl.SSLContext:
    """The system's certificate authorities and the packaged ones: slim images have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Upstreams:
    """The connections of one worker, pooled by where they lead."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def post(
        self,
        url: str,
        *,
        headers: Iterable[Header],
        body: bytes,
        timeouts: Timeouts,
        total_at: float,
    ) -> Answer:
        """The answer once its head is there. Raises UpstreamError.

        `total_at` is the loop's time at which the whole answer is late. The error says when a kept
        connection turned out to be closed: the upstream has then most likely not heard of it.
        """
        place = self._places.get(url)
        if place is None:
            place = self._places[url] = place_of(url)
        request = _request(place, headers, body)
        connection = self._kept(place) or await self._connect(place, timeouts.connect, total_at)
        asked = time.monotonic()
        try:
            return await self._exchange(connection, place, request, timeouts, total_at)
        except UpstreamError as error:
            was_kept = connection.exchanges > 1 and not connection.heard
            error.is_stale = (
                was_kept and error.kind == "connection" and time.monotonic() - asked < STALE_SECONDS
            )
            raise

    async def get(
        self, url: str, *, headers: Iterable[Header], timeouts: Timeouts, total_at: float
    ) -> Answer:
        """As `post`, but without a body, on a connection of its own: that one can be made is part
        of what is asked."""
        place = place_of(url, "GET")
        connection = await self._connect(place, timeouts.connect, total_at)
        return await self._exchange(
            connection, place, _request(place, headers, b""), timeouts, total_at
        )

    async def _exchange(
        self,
        connection: Connection,
        place: Place,
        request: bytes,
        timeouts: Timeouts,
        total_at: float,
    ) -> Answer:
        first_byte_at = asyncio.get_running_loop().time() + timeouts.first_byte
        try:
            connection.send(request)
            await connection.read_head(min(first_byte_at, total_at))
            return Answer(connection, lambda held: self._keep(place, held))
        except TimeoutError:
            connection.abort()
            if total_at < first_byte_at:
                raise UpstreamError("timeout", TOTAL_TIMEOUT) from None
            raise UpstreamError(
                "timeout", f"The upstream sent nothing for {timeouts.first_byte:g} s (first byte)."
            ) from None
        except BaseException:
            connection.abort()
            raise

    def _kept(self, place: Place) -> Connection | None:
        """The connection used last, and so the least likely to have been closed."""
        idle = self._idle.get((place.host, place.port, place.tls))
        now = time.monotonic()
        while idle:
            connection = idle.pop()
            if connection.is_open and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    def _keep(self, place: Place, connection: Connection) -> None:
        if connection.is_open and connection.is_complete and connection.keeps_alive:
            connection.idle_since = time.monotonic()
            self._idle.setdefault((place.host, place.port, place.tls), []).append(connection)
        else:
            connection.abort()

    async def _connect(self, place: Place, seconds: float, total_at: float) -> Connection:
        if place.tls and self._tls is None:
            self._tls = _trusted()
        loop = asyncio.get_running_loop()
        late_at = loop.time() + seconds
        try:
            async with asyncio.timeout_at(min(late_at, total_at)):
                _, connection = await loop.create_connection(
                    Connection, place.host, place.port, ssl=self._tls if place.tls else None
                )
        except TimeoutError:
            if total_at < late_at:
                raise UpstreamError("timeout", TOTAL_TIMEOUT) from None
            raise UpstreamError(
                "timeout", f"The upstream could not be connected to within {seconds:g} s (connect)."
            ) from None
        except ssl.SSLError as error:
            raise UpstreamError(
                "connection", f"The TLS connection to the upstream failed: {error.reason}."
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UpstreamError(
                "connection", f"The upstream could not be connected to: {reason}."
            ) from None
        return connection

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


def _request(place: Place, headers: Iterable[Header], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if lines.count("\n") != lines.count("\r\n") or "\0" in lines:
        raise UpstreamError("connection", "A header for the upstream holds a line break.")
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (
        place.head,
        lines.encode("latin-1"),
        len(body),
        body,
    )
