"""May a URL that a tenant gave be reached? Only public addresses may, unless
GATEWAY_ALLOWED_PRIVATE_HOSTS lists them.

    addresses = await check("https://login.acme.example/jwks.json")      # or check_sync

Whoever then connects must connect to one of these addresses, not to the name: a second look-up may
answer something else (DNS rebinding). `public_client.py` does so for httpx.
"""

import asyncio
import fnmatch
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WITH_PORT = re.compile(r"([^:]+):(\d+)")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """A URL leads where a tenant's URL may not; the message is for operators."""


class AddressUnknown(AddressRefused):
    """The host does not resolve, now."""


async def check(url: str) -> list[str]:
    """The addresses of a URL's host, each of which may be reached. Raises AddressRefused."""
    host, port = _place(url)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressUnknown(f"{host} does not resolve: {error}") from None
    return _checked(host, port, found)


def check_sync(url: str) -> list[str]:
    """The same for threads."""
    host, port = _place(url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressUnknown(f"{host} does not resolve: {error}") from None
    return _checked(host, port, found)


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet's, whatever is wrapped into it."""
    return _is_public(ipaddress.ip_address(address.partition("%")[0]))


def _place(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise AddressRefused("this is no URL") from None
    if not host or not port:
        raise AddressRefused("this is no http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the URL carries a user or password")
    return host, port


def _checked(host: str, port: int, found: Iterable[tuple[Any, ...]]) -> list[str]:
    """All of them, or none: which one a client would take is nobody's choice."""
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise AddressUnknown(f"{host} has no address")
    for address in addresses:
        if not is_public(address) and not _is_allowed(host, port, address):
            raise AddressRefused(
                f"{host} is at {address}, which is not public; GATEWAY_ALLOWED_PRIVATE_HOSTS "
                "lists what may be reached all the same"
            )
    return addresses


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    if (inner := _wrapped(address)) is not None:
        return _is_public(inner)
    return address in _GLOBAL_UNICAST and address.is_global


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway on the way would unwrap: mapped, 6to4, Teredo or NAT64."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _is_allowed(host: str, port: int, address: str) -> bool:
    plain = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(plain, ipaddress.IPv6Address) and plain.ipv4_mapped is not None:
        plain = plain.ipv4_mapped
    name = host.lower().rstrip(".")
    listed: list[str] = settings.ENVIRONMENT.allowed_private_hosts
    return any(_names(entry.lower(), name, port, plain) for entry in listed)


def _names(entry: str, host: str, port: int, address: Address) -> bool:
    """Whether an entry of the list (a name, `*.name`, an address, a network, or one of the first
    three with a port) means this place."""
    if match := _WITH_PORT.fullmatch(entry):
        if int(match[2]) != port:
            return False
        entry = match[1]
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return fnmatch.fnmatchcase(host, entry.rstrip("."))
