"""The whole decision of a request, as JSON: what happened, and who may see which part of it.

FIELDS and ATTEMPT_FIELDS are the table: a line says what a field is called, where it comes from and
who sees it. What somebody does not see is left out. Pure; billing/requests.py finds the record.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from billing import columns
from billing.models import Attempt, UsageRecord
from gateway_project.units import from_nano


class Reader(StrEnum):
    """Who is told. A tenant's key sees what providers bill us only with the scope `cost:read`."""

    TENANT = "tenant"
    TENANT_WITH_COST = "tenant with cost"
    SUPPORT = "support"
    FINANCE = "finance"
    ADMIN = "admin"


EVERYBODY = frozenset(Reader)
CHARGES = EVERYBODY - {Reader.SUPPORT}
"""Who sees what a tenant is charged."""
COSTS = CHARGES - {Reader.TENANT}
"""Who sees what providers bill us."""
STAFF = frozenset({Reader.SUPPORT, Reader.FINANCE, Reader.ADMIN})
"""Who sees what is the gateway's own: its credentials, accounts and budgets."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was settled, with its attempts in order; `others` are the ids of further
    records with the request id that was asked for."""

    record: UsageRecord
    attempts: Sequence[Attempt] = ()
    others: Sequence[str] = ()

    @property
    def decision(self) -> Mapping[str, Any]:
        return _mapping(self.record.decision)

    @property
    def route(self) -> Mapping[str, Any]:
        return _mapping(self.decision.get("route"))


Read = Callable[[Request, Reader], object]


@dataclass(frozen=True, slots=True)
class Field:
    """`name` has dots where it stands inside of others."""

    name: str
    read: Read
    seen_by: frozenset[Reader] = EVERYBODY


@dataclass(frozen=True, slots=True)
class AttemptField:
    name: str
    read: Callable[[Attempt, Reader], object]
    seen_by: frozenset[Reader] = EVERYBODY


def explain(request: Request, reader: Reader) -> dict[str, Any]:
    """What `reader` may know of it, ready for JSON. Amounts are decimal strings, times are
    milliseconds."""
    told: dict[str, Any] = {}
    for one in FIELDS:
        if reader in one.seen_by:
            *groups, name = one.name.split(".")
            place = told
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = one.read(request, reader)
    return told


# ---- where the fields come from


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _column(name: str) -> Read:
    return lambda request, reader: getattr(request.record, name)


def _as_exported(name: str) -> Read:
    """As a usage export has it in JSON."""
    column = next(one for one in columns.COLUMNS if one.name == name)
    return lambda request, reader: column.value(request.record)


def _amount(name: str) -> Read:
    column = columns.amount(name)
    return lambda request, reader: column.value(request.record)


def _pinned(name: str, default: object = None) -> Read:
    """What the record pins of the decision."""
    return lambda request, reader: request.decision.get(name, default)


def _of_route(name: str, default: object = None) -> Read:
    return lambda request, reader: request.route.get(name, default)


def _order(*, fallbacks: bool) -> Read:
    """In which order they were to be tried: the route's targets, or the fallbacks after them."""

    def read(request: Request, reader: Reader) -> list[str]:
        of_route = _mapping(request.route.get("targets"))
        order = request.decision.get("order", [])
        return [name for name in order if (name not in of_route) == fallbacks]

    return read


def _drawn(request: Request, reader: Reader) -> dict[str, Any] | None:
    """The target that came first, with its weight: the side of an experiment. None where all were
    passed over."""
    weights = _mapping(request.route.get("targets"))
    first = next((name for name in request.decision.get("order", []) if name in weights), None)
    return {"model": first, "weight": weights[first]} if first else None


def _facts(request: Request, reader: Reader) -> dict[str, Any]:
    """What routes asked for. How much of a budget is used may tell of a budget of the gateway's."""
    facts = dict(_mapping(request.decision.get("facts")))
    if reader not in STAFF:
        facts.pop("budget_used", None)
    return facts


def _margin(request: Request, reader: Reader) -> str | None:
    """What is left of the charge; None where there is none, or the currencies differ."""
    record = request.record
    if record.charge is None or record.cost is None:
        return None
    if record.charge_currency != record.cost_currency:
        return None
    return from_nano(record.charge - record.cost)


_PRICED = frozenset({"cost_price_version", "charge_price_version", "charge_factor"})
_ACCOUNT = re.compile(r"\b(?:org|proj|acct)[-_][A-Za-z0-9]{6,}")


def _error(attempt: Attempt, reader: Reader) -> str:
    """In the provider's words, its secrets removed; for tenants without the names of our accounts
    there."""
    return attempt.error if reader in STAFF else _ACCOUNT.sub("[redacted]", attempt.error)


def _use(attempt: Attempt, reader: Reader) -> dict[str, Any] | None:
    """Of a target that was asked beside another; its prices tell of our costs."""
    if attempt.usage is None:
        return None
    return {name: value for name, value in attempt.usage.items() if name not in _PRICED}


def _thousandth(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _money(nano: int | None) -> str | None:
    return None if nano is None else from_nano(nano)


def _of_attempt(name: str) -> Callable[[Attempt, Reader], object]:
    return lambda attempt, reader: getattr(attempt, name)


def _attempts(request: Request, reader: Reader) -> list[dict[str, Any]]:
    return [
        {one.name: one.read(row, reader) for one in ATTEMPT_FIELDS if reader in one.seen_by}
        for row in request.attempts
    ]


ATTEMPT_FIELDS = (
    AttemptField("ordinal", _of_attempt("ordinal")),
    AttemptField("role", _of_attempt("role")),
    AttemptField("provider", _of_attempt("provider")),
    AttemptField("model", _of_attempt("model")),
    AttemptField("credential", _of_attempt("credential"), STAFF),
    AttemptField("started_at", lambda row, _: columns.moment(row.started_at)),
    AttemptField("status", _of_attempt("status")),
    AttemptField("error_kind", _of_attempt("error_kind")),
    AttemptField("error", _error),
    AttemptField("latency_ms", lambda row, _: row.latency_us / 1000),
    AttemptField("first_token_ms", lambda row, _: _thousandth(row.first_token_us)),
    AttemptField("usage", _use),
    AttemptField("charge", lambda row, _: _money(row.charge), CHARGES),
    AttemptField("cost", lambda row, _: _money(row.cost), COSTS),
)

FIELDS = (
    Field("record_id", _as_exported("record_id")),
    Field("request_id", _column("request_id")),
    Field("others", lambda request, _: list(request.others)),
    Field("started_at", _as_exported("started_at")),
    Field("tenant", _column("tenant")),
    Field("project", _column("project")),
    Field("key_id", _column("key_id")),
    Field("key", _column("key")),
    Field("user", _column("user")),
    Field("tier", _pinned("tier", "")),
    Field("alias", _column("alias")),
    Field("endpoint", _column("endpoint")),
    Field("stream", _column("stream")),
    Field("labels", _column("labels")),
    Field("status", _column("status")),
    Field("outcome", _column("outcome")),
    Field("ended_by", _column("ended_by")),
    Field("error_code", _column("error_code")),
    Field("provider", _column("provider")),
    Field("model", _column("model")),
    Field("upstream_model", _column("upstream_model")),
    Field("route.position", _of_route("position")),
    Field("route.when", _of_route("when", {})),
    Field("route.facts", _facts),
    Field("route.strategy", _of_route("strategy")),
    Field("route.sticky", _of_route("sticky", "")),
    Field("route.drawn", _drawn),
    Field("route.targets", _order(fallbacks=False)),
    Field("route.fallbacks", _order(fallbacks=True)),
    Field("passed_over", _pinned("passed_over", [])),
    Field("attempts", _attempts),
    Field("cache", _column("cache")),
    Field("guards", _pinned("guards", [])),
    Field("usage.input_tokens", _column("input_tokens")),
    Field("usage.cached_input_tokens", _column("cached_input_tokens")),
    Field("usage.cache_write_tokens", _column("cache_write_tokens")),
    Field("usage.output_tokens", _column("output_tokens")),
    Field("usage.reasoning_tokens", _column("reasoning_tokens")),
    Field("usage.source", _column("usage_source")),
    Field("clamped_to", _pinned("clamped_to")),
    Field("reservation.reserved", _amount("reserved"), CHARGES),
    Field("reservation.absorbed", _amount("absorbed"), CHARGES),
    Field("prices.charge.currency", _column("charge_currency"), CHARGES),
    Field("prices.charge.version", _column("charge_price_version"), CHARGES),
    Field("prices.cost.currency", _column("cost_currency"), COSTS),
    Field("prices.cost.version", _column("cost_price_version"), COSTS),
    Field("charge", _amount("charge"), CHARGES),
    Field("cost", _amount("cost"), COSTS),
    Field("margin", _margin, COSTS),
    Field("charge_policy", _column("charge_policy")),
    Field("quarantined", _column("quarantined")),
    Field("warnings", _pinned("warnings", [])),
    Field("latency_ms", _as_exported("latency_ms")),
    Field("first_token_ms", _as_exported("first_token_ms")),
    Field("gateway_ms", _as_exported("gateway_ms")),
)
