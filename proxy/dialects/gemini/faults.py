"""Errors of google.rpc.Status (cloud.google.com/apis/design/errors), read and written."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.chat.events import Failed
from proxy.errors import GatewayError, UpstreamError, kind_of_status

_HTTP_OF_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
_STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."
_KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})
_KEY_WORDS = re.compile(r"API key (not valid|expired|not found)", re.IGNORECASE)
_CONTEXT_WORDS = re.compile(
    r"input token count.{0,40}exceeds|exceeds the maximum number of tokens|too many tokens",
    re.IGNORECASE,
)
_RETRY_WORDS = re.compile(r"retry in (\d+(?:\.\d+)?)s")


def _fields_of(body: bytes) -> Mapping[str, Any]:
    """The error object of a body; empty where it has none. Streams of arrays hold it in one."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(fields, list) and fields:
        fields = fields[0]
    error = fields.get("error") if isinstance(fields, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}


def _details(fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = fields.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail


def _retry_after(fields: Mapping[str, Any], message: str) -> float | None:
    """Seconds, of a RetryInfo ("48.9s"), or as the message says them."""
    for detail in _details(fields):
        delay = str(detail.get("retryDelay") or "")
        if re.fullmatch(r"\d{1,9}(\.\d+)?s", delay):
            return float(delay[:-1])
    said = _RETRY_WORDS.search(message)
    return float(said[1]) if said else None


def _param(fields: Mapping[str, Any]) -> str | None:
    """The field that a BadRequest names."""
    for detail in _details(fields):
        violations = detail.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            field = violations[0].get("field")
            return field if isinstance(field, str) and field else None
    return None


def _kind(fields: Mapping[str, Any], status: int, message: str) -> str:
    """An invalid key answers 400, as does a place or a project that may not use the API
    (ai.google.dev/gemini-api/docs/troubleshooting)."""
    reasons = {detail.get("reason") for detail in _details(fields)}
    if reasons & _KEY_REASONS or _KEY_WORDS.search(message):
        return "auth"
    if fields.get("status") == "FAILED_PRECONDITION":
        return "auth"
    kind = kind_of_status(status)
    if kind == "invalid_request" and _CONTEXT_WORDS.search(message):
        return "context_window"
    return kind


def _status_in(fields: Mapping[str, Any]) -> int:
    code = fields.get("code")
    if isinstance(code, int) and 400 <= code < 600:
        return code
    return _HTTP_OF_STATUS.get(str(fields.get("status")), 500)


def error_in_answer(error: Any) -> UpstreamError:
    """An error object inside a 200."""
    fields = error if isinstance(error, dict) else {"message": error}
    status = _status_in(fields)
    message = str(fields.get("message") or "The upstream reported an error in its answer.")
    return UpstreamError(
        _kind(fields, status, message),
        message,
        upstream_status=status,
        retry_after=_retry_after(fields, message),
    )


def failed(error: Any) -> Failed:
    """The same as an event."""
    told = error_in_answer(error)
    return Failed(kind=told.kind, message=told.message, status=told.upstream_status)


def read_error(status: int, body: bytes, *, retry_after: float | None) -> UpstreamError:
    """The error of a status that is not 2xx; its body may be anything."""
    fields = _fields_of(body)
    message = fields.get("message")
    message = message if isinstance(message, str) else f"The upstream answered {status}."
    return UpstreamError(
        _kind(fields, status, message),
        message,
        upstream_status=status,
        body=body if fields else None,
        param=_param(fields),
        retry_after=retry_after if retry_after is not None else _retry_after(fields, message),
    )


def error_object(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The facts of an error as google.rpc.Status with details: ErrorInfo holds the code,
    BadRequest the field at fault, RetryInfo the time to wait, RequestInfo the request's id."""
    details: list[dict[str, Any]] = [
        {
            "@type": _TYPE + "ErrorInfo",
            "reason": error.code.upper(),
            "domain": "gateway",
            "metadata": {"code": error.code},
        },
        {"@type": _TYPE + "RequestInfo", "requestId": request_id},
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{error.retry_after:g}s"})
    status = _STATUS_OF_HTTP.get(error.status)
    if status is None:
        status = "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL"
    return {
        "error": {
            "code": error.status,
            "message": error.message,
            "status": status,
            "details": details,
        }
    }
