"""A usage record on its way to the table: its columns, in the table's order."""

import msgspec

MIRROR = "mirror:"
"""Begins the name of what the counters hold for the copy of a request."""


class Record(msgspec.Struct, array_like=True, kw_only=True):
    """One row of billing.UsageRecord; the fields are its columns, in its order (a test holds them
    together). Amounts are nano-units, times microseconds; `started_at` is ISO-8601 in UTC;
    `labels` and `decision` are JSON text.
    """

    record_id: str
    request_id: str
    started_at: str
    tenant: str
    project: str = ""
    key_id: str = ""
    key: str = ""
    user: str = ""
    alias: str
    endpoint: str
    provider: str = ""
    model: str = ""
    upstream_model: str = ""
    status: int
    outcome: str
    ended_by: str
    error_code: str = ""
    stream: bool
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    usage_source: str = "estimated"
    cost: int | None = None
    cost_currency: str = ""
    cost_price_version: str = ""
    charge: int | None = None
    charge_currency: str = ""
    charge_price_version: str = ""
    charge_policy: str = ""
    quarantined: bool = False
    latency_us: int = 0
    first_token_us: int | None = None
    gateway_us: int = 0
    attempts: int = 0
    cache: str = ""
    labels: str = "{}"
    decision: str = "{}"
    reserved: int | None = None
    absorbed: int | None = None


class AttemptRow(msgspec.Struct, array_like=True, kw_only=True):
    """One row of billing.Attempt. `usage` is JSON text, see `AttemptUse`; it, `cost` and `charge`
    are only of a target that was asked beside another."""

    record_id: str
    ordinal: int
    started_at: str
    role: str
    provider: str
    model: str
    credential: str = ""
    status: int | None = None
    error_kind: str = ""
    error: str = ""
    latency_us: int = 0
    first_token_us: int | None = None
    cost: int | None = None
    charge: int | None = None
    usage: str | None = None


class AttemptUse(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What an attempt beside another used, in tokens by bucket, and the prices that its amounts
    come from."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    usage_source: str
    cost_price_version: str = ""
    charge_price_version: str = ""
    charge_factor: str = "0"
    """The share of the price that the tenant pays for it."""


_decode_use = msgspec.json.Decoder(AttemptUse).decode


class Entry(msgspec.Struct, array_like=True):
    """A line of a journal: a record as it stands, final or not, with its attempts.

    The line written at admission describes what the record would be if the worker died now; the
    line written at settlement replaces it.
    """

    settled: bool
    record: Record
    attempts: list[AttemptRow] = []

    @property
    def mirror(self) -> AttemptRow | None:
        """The copy that was sent to a candidate, where that is what the entry tells of: its request
        had been settled before."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.role == "mirror" else None

    @property
    def billed(self) -> Record:
        """The record as the counters of its hold count it: a copy by what it used itself."""
        mirror = self.mirror
        if mirror is None:
            return self.record
        use = _decode_use(mirror.usage) if mirror.usage else AttemptUse(usage_source="estimated")
        return msgspec.structs.replace(
            self.record,
            cost=mirror.cost,
            charge=mirror.charge,
            input_tokens=use.input_tokens,
            cached_input_tokens=use.cached_input_tokens,
            cache_write_tokens=use.cache_write_tokens,
            output_tokens=use.output_tokens,
            reasoning_tokens=use.reasoning_tokens,
        )

    @property
    def hold_id(self) -> str:
        """The name of what the counters hold for it."""
        record_id = self.record.record_id
        return MIRROR + record_id if self.mirror else record_id
