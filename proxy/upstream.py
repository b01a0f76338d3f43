"""The only outbound sockets of the hot path.

pyreqwest is called directly: through httpx's transport interface the same client costs more than
twice as much CPU (docs/decisions). Its exceptions end here, translated by table.
"""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    NetworkError,
    PyreqwestError,
    RequestTimeoutError,
)

from proxy.errors import UpstreamError
from routing.snapshots import Timeouts

MAX_BODY = 64_000_000
"""Bytes of a whole answer, and of an error's body."""
DRAIN_SECONDS = 0.2
"""How long a connection is given to end its answer so that it can be used again."""

TOTAL_TIMEOUT = "The answer took longer than it may in all (total)."

_CAUSES: Sequence[tuple[type[Exception], str, str]] = (
    (ConnectTimeoutError, "timeout", "The upstream could not be connected to in time (connect)."),
    (RequestTimeoutError, "timeout", "The upstream did not answer in time."),
    (NetworkError, "connection", "The connection to the upstream failed"),
    (DecodeError, "server_error", "The upstream's answer is not HTTP that can be read"),
    (PyreqwestError, "connection", "The request to the upstream failed"),
)


def _translated(error: Exception) -> UpstreamError:
    for foreign, kind, message in _CAUSES:
        if isinstance(error, foreign):
            causes = (getattr(error, "details", None) or {}).get("causes") or []
            last = str(causes[-1]["message"]) if causes else ""
            told = f"{message}: {last}." if last and kind != "timeout" else message
            return UpstreamError(kind, told)
    raise error


class Answer:
    """An upstream's answer, its head read and its body still to come."""

    def __init__(self, opened: Any, response: Any) -> None:
        self._opened = opened
        self._reader = response.body_reader
        self._response = response
        self.status: int = response.status
        self._finished = False
        encoding = (response.get_header("content-encoding") or "identity").strip().lower()
        self._inflate = _decompressor(encoding)

    def header(self, name: str) -> str | None:
        value: str | None = self._response.get_header(name)
        return value

    @property
    def retry_after(self) -> float | None:
        """Seconds that the upstream asks to wait, from `retry-after-ms` or `retry-after`."""
        return read_retry_after(self.header("retry-after-ms"), self.header("retry-after"))

    async def read(self) -> bytes | None:
        """The next bytes as they arrive, None at the end. Raises UpstreamError."""
        try:
            chunk = await self._reader.read_chunk()
        except PyreqwestError as error:
            self._finished = True
            raise _translated(error) from error
        if chunk is None:
            self._finished = True
            return None
        data = bytes(chunk)
        if self._inflate is None:
            return data
        try:
            return self._inflate.decompress(data)
        except zlib.error as error:
            raise UpstreamError(
                "server_error", "The upstream's answer is not compressed as it says."
            ) from error

    async def read_all(self, arrived: Callable[[], None] = lambda: None) -> bytes:
        """The whole body; `arrived` is called for each piece. Raises UpstreamError when it is
        larger than MAX_BODY."""
        pieces, size = [], 0
        while (piece := await self.read()) is not None:
            arrived()
            size += len(piece)
            if size > MAX_BODY:
                raise UpstreamError(
                    "server_error", f"The upstream's answer is larger than {MAX_BODY} bytes."
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def close(self) -> None:
        """Gives the connection back where the answer has ended, and ends it where it has not."""
        if not self._finished:
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._reader.read_chunk()
            except (PyreqwestError, TimeoutError):
                pass
        await self.abort()

    async def abort(self) -> None:
        """Ends the connection now."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(None, None, None)


def _decompressor(encoding: str) -> Any:
    """We ask for `identity`; some send gzip all the same."""
    if encoding in ("identity", ""):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32)
    raise UpstreamError(
        "server_error", f"The upstream's answer is encoded as {encoding!r}, which was not asked for."
    )


def read_retry_after(milliseconds: str | None, text: str | None) -> float | None:
    """Seconds, from a number or an HTTP date; None where neither can be read."""
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        if text is None:
            return None
        if text.strip().replace(".", "", 1).isdigit():
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


class Upstreams:
    """The connection pools of one worker: one client for each connect time-out."""

    def __init__(self) -> None:
        self._clients: dict[float, Client] = {}

    def _client(self, connect: float) -> Client:
        client = self._clients.get(connect)
        if client is None:
            client = self._clients[connect] = (
                ClientBuilder()
                .connect_timeout(timedelta(seconds=connect))
                .pool_idle_timeout(timedelta(seconds=30))
                .follow_redirects(False)
                .referer(False)
                .http1_only()
                .tcp_nodelay(True)
                .no_proxy()
                .gzip(False)
                .brotli(False)
                .zstd(False)
                .deflate(False)
                .build()
            )
        return client

    async def post(
        self,
        url: str,
        *,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        timeouts: Timeouts,
        total_at: float,
    ) -> Answer:
        """The answer once its head is there. Raises UpstreamError; redirects are not followed.

        `total_at` is the loop's time at which the whole answer is late.
        """
        first_byte_at = asyncio.get_running_loop().time() + timeouts.first_byte
        request = (
            self._client(timeouts.connect)
            .post(url)
            .headers(headers)
            .body_bytes(body)
            .streamed_read_buffer_limit(0)
            .build_streamed()
        )
        try:
            async with asyncio.timeout_at(min(first_byte_at, total_at)):
                response = await request.__aenter__()
        except TimeoutError as error:
            if isinstance(error, PyreqwestError):
                raise _translated(error) from error
            if total_at < first_byte_at:
                raise UpstreamError("timeout", TOTAL_TIMEOUT) from None
            raise UpstreamError(
                "timeout", f"The upstream sent nothing for {timeouts.first_byte:g} s (first byte)."
            ) from None
        except PyreqwestError as error:
            raise _translated(error) from error
        try:
            return Answer(request, response)
        except UpstreamError:
            await request.__aexit__(None, None, None)
            raise

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
