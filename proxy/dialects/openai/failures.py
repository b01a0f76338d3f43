"""Errors of chat completions as error kinds (guide "Error codes")."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.errors import UpstreamError, kind_of_status

_KINDS_BY_CODE = {
    "context_length_exceeded": "context_window",
    "string_above_max_length": "context_window",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "rate_limit_exceeded": "rate_limit",
    "insufficient_quota": "rate_limit",
    "invalid_api_key": "auth",
    "model_not_found": "not_found",
    "server_error": "server_error",
}
_CONTEXT_WORDS = re.compile(r"maximum context length|context window|too many tokens", re.IGNORECASE)


def error_in_answer(error: Any) -> UpstreamError:
    """An error object inside a 200."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code = fields.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    kind = _KINDS_BY_CODE.get(str(code)) or _KINDS_BY_CODE.get(str(fields.get("type")))
    return UpstreamError(
        kind or (kind_of_status(status) if status else "server_error"),
        str(fields.get("message") or "The upstream reported an error in its answer."),
        upstream_status=status or 200,
    )


def _error_fields(body: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(fields, list) and fields:
        fields = fields[0]
    if not isinstance(fields, dict):
        return {}
    error = fields.get("error", fields)
    return error if isinstance(error, dict) else {"message": str(error)}


def read_error(status: int, body: bytes, *, retry_after: float | None) -> UpstreamError:
    """The error of a status that is not 2xx (guide "Error codes"); its body may be anything."""
    fields = _error_fields(body)
    message = fields.get("message") or fields.get("detail")
    message = message if isinstance(message, str) else f"The upstream answered {status}."
    kind = kind_of_status(status)
    if kind == "invalid_request":
        kind = _KINDS_BY_CODE.get(str(fields.get("code")), kind)
        if kind == "invalid_request" and _CONTEXT_WORDS.search(message):
            kind = "context_window"
    param = fields.get("param")
    return UpstreamError(
        kind,
        message,
        upstream_status=status,
        body=body if fields else None,
        param=param if isinstance(param, str) else None,
        retry_after=retry_after,
    )
