"""What one request has learned so far. Handed along the pipeline; each step fills its part."""

import copy
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from billing.pricing import Rate
from billing.records import AttemptRow, Record
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects import INBOUND
from proxy.dialects.faces import Inbound, Start
from proxy.dialects.gemini.stream import ArrayFrames
from proxy.dialects.openai import embeddings
from proxy.paths import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from billing.claims import Claim
    from billing.counters.asks import Hold
    from billing.journal import Segment
    from proxy.authenticate import Caller
    from proxy.bounds import Exposure
    from proxy.errors import GatewayError
    from proxy.meter import Delivered
    from proxy.snapshot import Snapshot
    from proxy.upstream import Answer
    from routing.choose import Choice, Target
    from routing.snapshots import AliasSnapshot


def _nobody_listens() -> None:
    pass


def new_record_id(now: float) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): milliseconds first, so that records sort by time."""
    raw = int(now * 1000).to_bytes(6, "big") + os.urandom(10)
    digits = (raw[:6] + bytes([0x70 | raw[6] & 0x0F, raw[7], 0x80 | raw[8] & 0x3F]) + raw[9:]).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_OF_AN_ATTEMPT = (
    "target",
    "answer",
    "answered",
    "first_token",
    "on_content",
    "head_sent",
    "usage",
    "usage_is_early",
    "delivered",
    "warnings",
    "clamped_to",
    "canonical",
)
"""The fields of an Exchange that one attempt fills."""


class Rates(NamedTuple):
    """What providers bill us for a model, and what we charge for it; None: no price is known."""

    cost: Rate | None
    charge: Rate | None


class Exchange(Struct):
    """Times: `started_at` in seconds since the epoch, the others on the monotonic clock."""

    endpoint: Endpoint
    headers: dict[bytes, bytes]
    snapshot: "Snapshot"
    request_id: str
    record_id: str
    started_at: float
    started: float = field(default_factory=time.perf_counter)
    query: bytes = b""

    # authenticate
    caller: "Caller | None" = None
    project: str = ""
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    deadline: float | None = None
    """Seconds that the caller is willing to wait in all (x-gateway-timeout)."""

    # the body
    raw: bytes = b""
    body_is_read: bool = False
    """Before its turn, because its signature is the credential."""
    body: Any = None
    stream: bool = False
    canonical: ChatRequest | None = None

    # choose
    alias: "AliasSnapshot | None" = None
    choice: "Choice | None" = None
    found_out: dict[str, object] = field(default_factory=dict)
    """The costly facts that routes asked for."""
    rates: "dict[tuple[str, str], Rates]" = field(default_factory=dict)
    """What each model may cost and be charged, by its identity, fixed when the request began."""
    warnings: list[str] = field(default_factory=list)

    # admit
    exposures: "dict[tuple[str, str], Exposure]" = field(default_factory=dict)
    """The most that each target may use and cost, by its model's identity."""
    output_limit: int | None = None
    """Output tokens that each answer is held to; None: as the caller's body says."""
    clamped_to: int | None = None
    """What the caller is told that each answer is held to, where that is less than it asked."""
    input_bytes: int = 0
    """Of the body, without media."""
    claims: "list[Claim]" = field(default_factory=list)
    hold: "Hold | None" = None
    levels: "Sequence[int]" = ()
    """What was left of each claim's counter when it was admitted."""
    reserved: int | None = None
    """The most that it may be charged, where a hard budget holds it to that."""
    may_hedge: bool = False
    """A second target may be asked beside the first: budgets have room for both."""
    record: Record | None = None
    """What the record is so far; final once `settled`."""
    segment: "Segment | None" = None

    # attempt
    target: "Target | None" = None
    answer: "Answer | None" = None
    attempts: list[AttemptRow] = field(default_factory=list)
    is_hedged: bool = False
    """More than one target may have billed it: what the losers cost stands with their attempts."""
    called: float = 0.0
    """When the first upstream was called."""
    answered: float = 0.0
    """When the last upstream had given all, or failed."""
    first_token: float = 0.0
    on_content: "Callable[[], None]" = _nobody_listens
    """Called when the first content of the attempt goes to the caller."""
    head_sent: bool = False

    # meter
    usage: Usage | None = None
    usage_is_early: bool = False
    """It was reported before the first content, and says little of it."""
    delivered: "Delivered | None" = None
    """What went out of a stream, to count from when no usage comes."""

    # settle
    status: int = 200
    outcome: str = "completed"
    ended_by: str = "upstream"
    error_code: str = ""
    failure: "GatewayError | None" = None
    caller_left: bool = False
    is_free: bool = False
    """Nobody bills this request, whatever it used."""
    charge: int | None = None
    cost: int | None = None
    settled: bool = False

    def fork(self) -> "Exchange":
        """The same request for an attempt beside others: what that learns stays its own, until one
        of them is taken over. The list of attempts is shared."""
        return copy.copy(self)

    def take_over(self, fork: "Exchange") -> None:
        """What an attempt beside others has learned is the request's from here on."""
        for name in _OF_AN_ATTEMPT:
            setattr(self, name, getattr(fork, name))

    @property
    def inbound(self) -> Inbound:
        """The caller's dialect."""
        return INBOUND[self.endpoint.dialect]

    @property
    def start(self) -> Start:
        """What the answer is called where its provider gives it no name."""
        alias = self.alias.name if self.alias else ""
        return Start(id=self.record_id, model=alias, created=int(self.started_at))

    def parse(self, fields: dict[str, Any]) -> Any:
        """The body, checked. Raises InvalidRequest."""
        if self.endpoint.alias is not None and not isinstance(fields.get("model"), str):
            fields.pop("model", None)  # the path decides, whatever stands there
        if self.endpoint.kind == "embeddings":
            return embeddings.parse(fields)
        return self.inbound.parse(fields)

    def reframer(self) -> ArrayFrames | None:
        """For a caller who wants the events of a stream as one array."""
        return ArrayFrames() if self.endpoint.array else None

    def read_request(self) -> ChatRequest:
        """The canonical request, read when it is first needed. Raises InvalidRequest."""
        if self.canonical is None:
            self.canonical = self.inbound.read_request(self.body)
        return self.canonical
