"""An httpx client for URLs that tenants gave: each request connects to an address that was checked,
under the name that the URL has. No redirects, no proxies from the environment.

    async with await public_client(timeout=5) as client:
        answer = await client.get(url)                  # raises AddressRefused, httpx.HTTPError
"""

import asyncio
import functools
import ssl

import certifi
import httpx

from gateway_project.public_hosts import AddressRefused, check, is_public

_NO_KEPT_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)
"""Connections are pooled by address: a kept one may have been opened under another name."""


@functools.cache
def trusted() -> ssl.SSLContext:
    """The system's certificate authorities and the packaged ones: slim images have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class PublicTransport(httpx.AsyncBaseTransport):
    """Checks where a request leads, and connects there and nowhere else. With `tls_only` plain
    http:// is left to private hosts that are allowed."""

    def __init__(self, *, context: ssl.SSLContext, tls_only: bool = False) -> None:
        self._inner = httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, limits=_NO_KEPT_CONNECTIONS
        )
        self._tls_only = tls_only

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await check(str(request.url))
        is_plain = request.url.scheme != "https"
        if self._tls_only and is_plain and any(is_public(address) for address in addresses):
            raise AddressRefused(f"{request.url.host} is public, and must be asked by https://")
        last = addresses.pop()
        for address in addresses:
            try:
                return await self._inner.handle_async_request(_pinned(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pinned(request, last))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    """The same request, to an address. Its `host` header and the name that its certificate must
    have stay the URL's."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


async def public_client(*, timeout: float, tls_only: bool = False) -> httpx.AsyncClient:  # noqa: ASYNC109
    """`timeout` is in seconds, for each step; who wants one for the whole puts its own around."""
    context = await asyncio.to_thread(trusted)  # reading the authorities takes a while, once
    transport = PublicTransport(context=context, tls_only=tls_only)
    return httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False)
