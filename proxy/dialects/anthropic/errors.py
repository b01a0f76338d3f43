"""Errors of the messages API, in both directions (docs, "Errors")."""

import re
from typing import Any

import orjson

from proxy.errors import GatewayError, UpstreamError, kind_of_status

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_KINDS_BY_WORDS = (
    (
        "context_window",
        re.compile(
            r"prompt is too long|exceed(s|ed)? (the )?context|context window", re.IGNORECASE
        ),
    ),
    ("content_filter", re.compile(r"content filtering policy", re.IGNORECASE)),
    ("auth", re.compile(r"credit balance is too low", re.IGNORECASE)),
)
"""What the provider says only in words: all of these are `invalid_request_error`, 400."""


def _kind(status: int, message: str) -> str:
    kind = kind_of_status(status)
    if kind == "invalid_request":
        for said, words in _KINDS_BY_WORDS:
            if words.search(message):
                return said
    return kind


def _fields(body: bytes) -> dict[str, Any] | None:
    """The error object of a body, if it is JSON at all."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(fields, list) and fields:  # Vertex AI wraps errors in a list
        fields = fields[0]
    if not isinstance(fields, dict):
        return None
    error = fields.get("error", fields)
    return error if isinstance(error, dict) else {"message": str(error)}


def read_error(status: int, body: bytes, *, retry_after: float | None) -> UpstreamError:
    """The error of a status other than 200; its body may be anything."""
    fields = _fields(body)
    message = (fields or {}).get("message")
    message = message if isinstance(message, str) else f"The upstream answered {status}."
    return UpstreamError(
        _kind(status, message),
        message,
        upstream_status=status,
        body=body if fields is not None else None,
        retry_after=retry_after,
    )


def error_in_answer(error: Any) -> UpstreamError:
    """An error object inside a 200."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    status = _STATUSES.get(str(fields.get("type")))
    message = str(fields.get("message") or "The upstream reported an error in its answer.")
    kind = _kind(status, message) if status else "server_error"
    return UpstreamError(kind, message, upstream_status=status or 200)


def write_error(error: GatewayError, request_id: str) -> bytes:
    """The same facts as in every dialect, under this one's type names."""
    kind = _TYPES.get(error.status)
    if kind is None:
        kind = "invalid_request_error" if error.status < 500 else "api_error"
    said = {"type": kind, "message": error.message, "code": error.code, "param": error.param}
    return orjson.dumps({"type": "error", "error": said, "request_id": request_id})


def write_stream_error(error: GatewayError, request_id: str) -> bytes:
    """The event that ends a stream which failed; no `message_stop` follows it."""
    return b"event: error\ndata: " + write_error(error, request_id) + b"\n\n"
