"""What can go wrong, drawn as a tree. Every error knows its answer.

GatewayError                       status  code
  InvalidRequest                   400     invalid_request
  ContentBlocked                   400     content_blocked
  Unauthenticated                  401     invalid_api_key
  Forbidden                        403
    AliasNotAllowed                        alias_not_allowed
    TenantSuspended                        tenant_suspended
    ScopeMissing                           scope_missing
  AliasNotFound                    404     alias_not_found
  NotFound                         404     not_found
  RequestTooLarge                  413     request_too_large
  UnsupportedMediaType             415     unsupported_media_type
  TooMany                          429
    RateLimitExceeded                      rate_limit_exceeded
    InsufficientQuota                      insufficient_quota
  Unavailable                      503
    Overloaded                             overloaded
    NoTargetAvailable                      no_target_available
    StoreUnavailable                       store_unavailable
    PriceUnknown                           price_unknown
  UpstreamError                    by its kind: upstream_error, upstream_timeout,
                                           rate_limit_exceeded or invalid_request
"""

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """An answer other than the one that was hoped for.

    `param` names the field at fault, `retry_after` is in seconds, `headers` go out with it.
    """

    status: int = 500
    code: str = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers = dict(headers or {})


class InvalidRequest(GatewayError):
    status, code = 400, "invalid_request"


class ContentBlocked(GatewayError):
    status, code = 400, "content_blocked"


class Unauthenticated(GatewayError):
    """One body for every reason, so that it tells an attacker nothing."""

    status, code = 401, "invalid_api_key"

    def __init__(self, reason: str, *, may_be_newer: bool = False) -> None:
        super().__init__("The API key is missing, unknown, expired or revoked.")
        self.reason = reason
        """For our log only."""
        self.may_be_newer = may_be_newer
        """The key looks like one of ours that this worker has not heard of."""


class Forbidden(GatewayError):
    status, code = 403, "forbidden"


class AliasNotAllowed(Forbidden):
    code = "alias_not_allowed"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"


class ScopeMissing(Forbidden):
    code = "scope_missing"


class NotFound(GatewayError):
    status, code = 404, "not_found"


class AliasNotFound(GatewayError):
    status, code = 404, "alias_not_found"


class MethodNotAllowed(GatewayError):
    status, code = 405, "method_not_allowed"


class RequestTooLarge(GatewayError):
    status, code = 413, "request_too_large"


class UnsupportedMediaType(GatewayError):
    status, code = 415, "unsupported_media_type"


class TooMany(GatewayError):
    status, code = 429, "too_many"


class RateLimitExceeded(TooMany):
    code = "rate_limit_exceeded"


class InsufficientQuota(TooMany):
    """A budget has no room: asking again before it resets is useless."""

    code = "insufficient_quota"

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, retry_after=retry_after, headers={"x-should-retry": "false"})


class Unavailable(GatewayError):
    status, code = 503, "unavailable"


class Overloaded(Unavailable):
    code = "overloaded"


class NoTargetAvailable(Unavailable):
    code = "no_target_available"


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


class PriceUnknown(Unavailable):
    code = "price_unknown"


class UpstreamError(GatewayError):
    """An attempt that failed. `kind` is what `fallback_on` names; the status and code that the
    caller sees follow from it.

    `upstream_status` is what the upstream answered, if it did; `body` its own error body, which a
    caller of the same dialect gets as it is when the request itself was at fault.
    """

    ANSWERS: ClassVar[Mapping[str, tuple[int, str]]] = {
        "invalid_request": (400, "invalid_request"),
        "context_window": (400, "invalid_request"),
        "content_filter": (400, "invalid_request"),
        "rate_limit": (429, "rate_limit_exceeded"),
        "timeout": (504, "upstream_timeout"),
        "slow": (504, "upstream_timeout"),
        "overloaded": (502, "upstream_error"),
        "server_error": (502, "upstream_error"),
        "connection": (502, "upstream_error"),
        "auth": (502, "upstream_error"),
        "not_found": (502, "upstream_error"),
    }

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        upstream_status: int | None = None,
        body: bytes | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.kind = kind
        self.is_stale = False
        """A kept connection had been closed; asking again on a fresh one asks once."""
        self.upstream_status = upstream_status
        self.body = body
        self.status, self.code = self.ANSWERS[kind]
        self.blames_request = self.status == 400
        """The upstream refused the request itself, in words that are worth passing on."""

    @property
    def is_impatience(self) -> bool:
        """It was the gateway that waited no longer."""
        return self.kind in ("timeout", "slow") and self.upstream_status is None

    def stays_upstreams(self) -> None:
        """Makes a rate limit an error like any other of the upstream's."""
        if self.kind == "rate_limit":
            self.status, self.code = self.ANSWERS["server_error"]


KIND_OF_STATUS: Mapping[int, str] = {
    400: "invalid_request",
    401: "auth",
    402: "auth",
    403: "auth",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    409: "server_error",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "server_error",
    529: "overloaded",
}


def kind_of_status(status: int) -> str:
    """The error kind that an upstream's status stands for, where its body says nothing more."""
    if status in KIND_OF_STATUS:
        return KIND_OF_STATUS[status]
    return "invalid_request" if 400 <= status < 500 else "server_error"
