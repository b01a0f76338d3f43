"""What tenants and operators can hear of. Pure: a function for each event says what it carries and
how often it may be heard.

Amounts are decimals as text, moments ISO 8601 in UTC. Raise an event whenever it holds: of those
with one `key` only the first is heard, whichever worker raised it.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

BUDGET_THRESHOLD = "budget.threshold"
BUDGET_EXHAUSTED = "budget.exhausted"
LIMIT_SUSTAINED = "limit.sustained"
KEY_EXPIRING = "key.expiring"
PROVIDER_DOWN = "provider.down"
USAGE_ABSORBED = "usage.absorbed"
WEBHOOK_TEST = "webhook.test"
"""Sent by an admin, to one webhook, whatever that asked for."""

NAMES = (
    BUDGET_THRESHOLD,
    BUDGET_EXHAUSTED,
    LIMIT_SUSTAINED,
    KEY_EXPIRING,
    PROVIDER_DOWN,
    USAGE_ABSORBED,
    WEBHOOK_TEST,
)

LONGEST_KEY = 300

Data = Mapping[str, str | int | None]
"""What JSON can hold, flat, without secrets."""


@dataclass(frozen=True, slots=True)
class Event:
    """`tenant` is empty for the gateway's own."""

    name: str
    tenant: str
    key: str
    happened_at: datetime.datetime
    data: Data = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.tenant, self.name, self.key[:LONGEST_KEY]


def moment(at: datetime.datetime) -> str:
    """`2026-10-15T12:00:00Z`."""
    return at.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """How far a budget is used. `budget` names it among its tenant's (`tenant`, `project/search`,
    `key/frontend`); `unit` is a currency or `tokens`; `resets_at` is None for the period `total`.
    """

    budget: str
    period: str
    period_start: datetime.datetime
    resets_at: datetime.datetime | None
    amount: str
    used: str
    unit: str

    def data(self) -> Data:
        return {
            "budget": self.budget,
            "period": self.period,
            "period_start": moment(self.period_start),
            "resets_at": moment(self.resets_at) if self.resets_at else None,
            "amount": self.amount,
            "used": self.used,
            "unit": self.unit,
        }

    def key(self) -> str:
        of = f"{self.budget}:{self.amount} {self.unit}"
        return f"{of}:{self.period}:{moment(self.period_start)}"


def budget_threshold(
    *, tenant: str, state: BudgetState, threshold: str, now: datetime.datetime
) -> Event:
    """A share (`80%`) of a budget is used: once a period."""
    key = f"{state.key()}:{threshold}"
    return Event(BUDGET_THRESHOLD, tenant, key, now, {**state.data(), "threshold": threshold})


def budget_exhausted(*, tenant: str, state: BudgetState, now: datetime.datetime) -> Event:
    """A budget has no room for a request any more: once a period."""
    return Event(BUDGET_EXHAUSTED, tenant, state.key(), now, state.data())


def limit_sustained(
    *, tenant: str, scope: str, limit: str, amount: int, refused: int, now: datetime.datetime
) -> Event:
    """A limit has kept refusing requests: once an hour. `limit` is its name in the configuration
    (`requests_per_minute`), `refused` how many requests it refused lately."""
    key = f"{scope}:{limit}:{_hour(now)}"
    data: Data = {"scope": scope, "limit": limit, "amount": amount, "refused": refused}
    return Event(LIMIT_SUSTAINED, tenant, key, now, data)


def key_expiring(
    *,
    tenant: str,
    key_id: str,
    name: str,
    project: str,
    expires_at: datetime.datetime,
    within: str,
    now: datetime.datetime,
) -> Event:
    """A key expires `within` `7d` or `1d`: once each."""
    data = {
        "key_id": key_id,
        "key": name,
        "project": project,
        "expires_at": moment(expires_at),
        "within": within,
    }
    return Event(KEY_EXPIRING, tenant, f"{key_id}:{within}", now, data)


def provider_down(
    *, tenant: str, provider: str, reason: str, since: datetime.datetime, now: datetime.datetime
) -> Event:
    """A provider is not tried any more, for a `reason` such as `timeout`: once for all that began
    in the same hour, and once more for each hour that it lasts. `tenant` is whose provider it is,
    or who is told about the gateway's."""
    lasts = (now - since) // datetime.timedelta(hours=1)
    data = {"provider": provider, "reason": reason, "since": moment(since)}
    return Event(
        PROVIDER_DOWN,
        tenant,
        f"{provider}:{_hour(since + datetime.timedelta(hours=lasts))}",
        now,
        data,
    )


def usage_absorbed(
    *,
    tenant: str,
    record_id: str,
    provider: str,
    model: str,
    amount: str,
    unit: str,
    now: datetime.datetime,
) -> Event:
    """A provider reported more than was reserved; `amount` is what nobody is charged for."""
    data = {
        "record_id": record_id,
        "provider": provider,
        "model": model,
        "amount": amount,
        "unit": unit,
    }
    return Event(USAGE_ABSORBED, tenant, record_id, now, data)


def _hour(now: datetime.datetime) -> str:
    return moment(now.replace(minute=0, second=0, microsecond=0))
