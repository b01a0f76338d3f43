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
_RETRY_WORDS = re.compile(
    r"try again in (?=\d)(?:(\d{1,4})h)?(?:(\d{1,4})m(?!s))?"
    r"(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_CONTEXT_WORDS = re.compile(r"context length|context window|too many tokens", re.IGNORECASE)


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


def _complaint(said: Any) -> tuple[str, str | None]:
    """A message, and the field at fault where it names one. Servers that check bodies by a schema
    (Mistral, vLLM) say a list of complaints, on its own or as the `detail` of the message."""
    if isinstance(said, dict):
        said = said.get("detail")
    if isinstance(said, str):
        return said, None
    found = [item for item in said if isinstance(item, dict)] if isinstance(said, list) else []
    if not found:
        return "", None
    places = []
    for item in found:
        place = item.get("loc")
        steps = place if isinstance(place, list) else []
        places.append(".".join(str(step) for step in steps if step != "body"))
    told = [f"{place}: {item.get('msg')}" for place, item in zip(places, found, strict=True)]
    return "; ".join(told), places[0] or None


def _retry_time(message: str) -> float | None:
    """Seconds of "Please try again in 1m30.5s", where no header says it."""
    found = _RETRY_WORDS.search(message)
    if found is None:
        return None
    hours, minutes, seconds, millis = (float(number or 0) for number in found.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def read_error(status: int, body: bytes, *, retry_after: float | None) -> UpstreamError:
    """The error of a status that is not 2xx (guide "Error codes"); its body may be anything."""
    fields = _error_fields(body)
    message, at = _complaint(fields.get("message") or fields.get("detail"))
    message = message or f"The upstream answered {status}."
    kind = kind_of_status(status)
    if kind == "invalid_request":
        kind = _KINDS_BY_CODE.get(str(fields.get("code")), kind)
        if kind == "invalid_request" and _CONTEXT_WORDS.search(message):
            kind = "context_window"
    if kind == "rate_limit" and retry_after is None:
        retry_after = _retry_time(message)
    param = fields.get("param")
    return UpstreamError(
        kind,
        message,
        upstream_status=status,
        body=body if fields else None,
        param=param if isinstance(param, str) else at,
        retry_after=retry_after,
    )
