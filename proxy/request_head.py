"""What a request's headers ask of the gateway, checked; each error names its header."""

import asyncio
import os
import re

from gateway_project.names import SLUG_PATTERN
from gateway_project.units import parse_duration
from proxy.errors import InvalidRequest
from proxy.exchange import Exchange

SAFE_TOKEN = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_SLUG = re.compile(SLUG_PATTERN)
_LABEL_VALUE = re.compile(r"[\w .:/+@-]{0,128}")
MOST_LABELS = 16
LONGEST_USER = 256


def request_id(given: bytes | None) -> str:
    """The caller's correlation id when it is a safe token, else a fresh one."""
    if given is not None and SAFE_TOKEN.fullmatch(given):
        return given.decode()
    return f"req_{os.urandom(12).hex()}"


def _labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.strip().partition("=")
        if not equals or not _SLUG.match(name) or not _LABEL_VALUE.fullmatch(value):
            raise InvalidRequest(
                f"x-gateway-labels: {pair.strip()[:80]!r} is no label; a list is like "
                "team=search,env=prod, with names of a-z, 0-9, '.', '_' and '-'",
                param="x-gateway-labels",
            )
        if name in labels:
            raise InvalidRequest(
                f"x-gateway-labels: {name!r} stands twice", param="x-gateway-labels"
            )
        labels[name] = value
    if len(labels) > MOST_LABELS:
        raise InvalidRequest(
            f"x-gateway-labels has more than {MOST_LABELS} labels", param="x-gateway-labels"
        )
    return labels


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise InvalidRequest(f"x-gateway-timeout: {error}", param="x-gateway-timeout") from None
    if seconds <= 0:
        raise InvalidRequest("x-gateway-timeout must be more than 0", param="x-gateway-timeout")
    return seconds


def read_head(exchange: Exchange) -> None:
    """Fills labels, project and deadline; an empty header says nothing. Raises InvalidRequest."""
    headers = exchange.headers
    assert exchange.caller is not None
    exchange.project = exchange.caller.project
    if labels := headers.get(b"x-gateway-labels"):
        exchange.labels = _labels(labels.decode(errors="replace"))
    if (project := headers.get(b"x-gateway-project")) and not exchange.project:
        exchange.project = project.decode("latin-1")
        if not _SLUG.match(exchange.project):
            raise InvalidRequest("x-gateway-project is a name", param="x-gateway-project")
    if timeout := headers.get(b"x-gateway-timeout"):
        seconds = _seconds(timeout.decode("latin-1"))
        exchange.deadline = asyncio.get_running_loop().time() + seconds


def end_user(fixed: str, named: str | None) -> str:
    """The key's own user, else the one that the body names; printable and bounded."""
    user = fixed or named or ""
    if user.isprintable():
        return user[:LONGEST_USER]
    return "".join(c for c in user if c.isprintable())[:LONGEST_USER]
