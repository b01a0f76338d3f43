"""What a row of the table is, and what follows from its error kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.proxy.faults.scripts import Variant

Mode = Literal["whole", "streamed"]
Place = Literal["upstream", "nobody", "unreachable", "untrusted", "no TLS", "only TLS"]


class Kind(NamedTuple):
    """What follows from an error kind."""

    status: int
    code: str
    breaks: str
    """What the breaker counts it against; empty: nothing."""
    falls_back: Literal["always", "if named", "never"]


KINDS: Mapping[str, Kind] = {
    "connection": Kind(502, "upstream_error", "provider", "always"),
    "timeout": Kind(504, "upstream_timeout", "model", "always"),
    "server_error": Kind(502, "upstream_error", "model", "always"),
    "overloaded": Kind(502, "upstream_error", "model", "always"),
    "rate_limit": Kind(429, "rate_limit_exceeded", "credential", "always"),
    "auth": Kind(502, "upstream_error", "credential", "if named"),
    "context_window": Kind(400, "invalid_request", "", "if named"),
    "content_filter": Kind(400, "invalid_request", "", "if named"),
    "not_found": Kind(502, "upstream_error", "", "never"),
    "invalid_request": Kind(400, "invalid_request", "", "never"),
}
BLAMES_REQUEST = ("context_window", "content_filter", "invalid_request")
"""A caller of the provider's dialect gets its own words."""


ANY = -1
"""A status that differs between the ways to commit a fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is empty where the answer is one after all. `noted` is the status on the attempt,
    `says` a word of the message, `retry_after` the seconds that the caller is told."""

    name: str
    kind: str
    variants: tuple[Variant, ...]
    noted: int | None = None
    modes: tuple[Mode, ...] = ("whole", "streamed")
    after_content: bool = False
    place: Place = "upstream"
    timeouts: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    retry_after: range | None = None
    breaks: str | None = None
    """Where it is not what its kind breaks."""
    in_one_run: bool = False
    """It moves many megabytes: a caller of chat completions without a fallback is enough."""
