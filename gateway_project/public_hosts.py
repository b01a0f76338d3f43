"""Which hosts the gateway may call when a tenant names the URL: public ones, and those that
GATEWAY_ALLOWED_PRIVATE_HOSTS allows.

Whoever calls connects to the addresses that were checked, not to the name once more: a name may
lead elsewhere at its next look-up. An entry of the list is a host's name (`hooks.internal`), all
names below one (`.internal`, `*.internal`), an address, a network (`10.0.0.0/8`), or `*` for every
host; a port behind it allows that port alone.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings

_PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """A URL that may not be called; the message says why, and names no more than its host."""


def check(url: str) -> list[str]:
    """The addresses of a URL's host, in the order in which to try them. Looks the name up, which
    blocks. Raises AddressRefused when the host has none, or one of them may not be called."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise AddressRefused("this is no http:// or https:// URL") from None
    addresses = _resolved(host, port)
    if _name_is_allowed(host, port):
        return addresses
    for address in addresses:
        if not _is_public(address) and not _address_is_allowed(address, port):
            raise AddressRefused(
                f"{host} is at a private address that GATEWAY_ALLOWED_PRIVATE_HOSTS does not allow"
            )
    return addresses


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"{host or 'an empty host'} cannot be resolved") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_public(text: str) -> bool:
    """Whether an address is a host's of the public internet. An IPv6 address that stands for an
    IPv4 address is as public as that one; deprecated tunnels are not."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped
        if address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if carried is None:
            tunnel = address.sixtofour or address.teredo
            return address in _UNICAST and address.is_global and not tunnel
        address = carried
    return address.is_global and not address.is_multicast


def _allowed(port: int) -> Iterator[str]:
    """The entries of the list that hold for a port, without it."""
    for entry in settings.ENVIRONMENT.allowed_private_hosts:
        with_port = re.fullmatch(r"([^:]+):(\d+)", entry)
        if with_port is None:
            yield entry.lower().strip("[]")
        elif int(with_port[2]) == port:
            yield with_port[1].lower()


def _name_is_allowed(host: str, port: int) -> bool:
    host = host.lower().rstrip(".")
    for entry in _allowed(port):
        suffix = entry.removeprefix("*")
        if entry in ("*", host) or (suffix.startswith(".") and host.endswith(suffix)):
            return True
    return False


def _address_is_allowed(text: str, port: int) -> bool:
    address = ipaddress.ip_address(text)
    for entry in _allowed(port):
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue
        if address in network:
            return True
    return False
