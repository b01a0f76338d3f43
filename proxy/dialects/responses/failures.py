"""Errors inside answers, and how a stream ends.

Source: API reference, "Streaming events", `error` and `response.failed`. The `error` event has been
seen with its facts at the top (as documented) and in an `error` object.
"""

from proxy.dialects.openai.failures import error_in_answer
from proxy.dialects.responses.shapes import Frame, Object, object_of
from proxy.errors import UpstreamError

_OWN_KINDS = {
    "invalid_prompt": "invalid_request",
    "bio_policy": "content_filter",
    "misalignment_policy_violation": "content_filter",
    "image_content_policy_violation": "content_filter",
    "vector_store_timeout": "timeout",
}
"""Codes of failed responses that chat completions does not have. Those of images that cannot be
read are the request's fault."""


def is_failure(response: Object) -> bool:
    """Whether a response ended without an answer."""
    if response.get("status") in ("failed", "cancelled"):
        return True
    return bool(response.get("error")) and response.get("status") != "completed"


def error_of(frame: Frame) -> UpstreamError:
    """The error of an `error` event, or of a response that failed."""
    response = object_of(frame.response)
    if frame.response is not None:
        fields = response.get("error") or {"message": f"The response is {response.get('status')}."}
    else:
        fields = frame.error or {"code": frame.code, "message": frame.message}
    error = error_in_answer(fields)
    code = str(object_of(fields).get("code"))
    kind = _OWN_KINDS.get(code) or ("invalid_request" if "image" in code else None)
    if kind:
        return UpstreamError(kind, error.message, upstream_status=error.upstream_status)
    return error
