"""GATEWAY_EMAIL_URL: the server that takes the gateway's mail, in one line."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_TIMEOUT = 5
"""Seconds for each step of a conversation with the server."""


def mail_settings(url: str) -> dict[str, Any]:
    """Django's EMAIL_* and DEFAULT_FROM_EMAIL.

    `smtp://user:password@host:587?from=ai@acme.example` begins TLS by STARTTLS, unless it ends in
    `&tls=no`; `smtps://` (port 465 unless given) speaks TLS from the start. User and password may
    be left out; what is special in them is percent-encoded. Raises ValueError, whose message never
    quotes the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("is like smtp://user:password@host:587?from=ai@acme.example")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("has a port that is none") from None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if "@" not in (sender := options.pop("from", "")) or not sender.isprintable():
        raise ValueError("needs the sender's address: ?from=ai@acme.example")
    plain = options.pop("tls", "yes") == "no"
    if options:
        raise ValueError("knows no options but 'from' and 'tls'")
    implicit = parts.scheme == "smtps"
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or (465 if implicit else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": implicit,
        "EMAIL_USE_TLS": not implicit and not plain,
        "EMAIL_TIMEOUT": _TIMEOUT,
        "DEFAULT_FROM_EMAIL": sender,
    }
