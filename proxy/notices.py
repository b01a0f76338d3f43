"""What requests reveal that somebody should hear of: budgets that fill, limits that keep refusing,
usage beyond its bound.

Raised as often as it is seen, but for what this worker has told already; the outbox hears each once
(tenants/events.py).
"""

import datetime
import time
from collections.abc import Sequence

from billing.budgets import Budget, Purse
from billing.claims import Claim
from billing.limits import Limit
from gateway_project.units import from_nano
from proxy import metrics
from proxy.exchange import Exchange
from proxy.store import Store
from tenants import events
from tenants.events import BudgetState

SUSTAINED_SECONDS = 60.0
"""A limit that has refused for so long, and keeps refusing, is worth a word."""
SUSTAINED_GAP = 30.0
"""A pause of so long between two refusals ends that."""
REMEMBERED = 20_000


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _at(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _state(claim: Claim, budget: Budget, used: int, currency: str) -> BudgetState:
    purse, period = claim.rule, claim.period
    assert isinstance(purse, Purse) and period is not None
    in_tokens = purse.unit == "tokens"
    return BudgetState(
        budget=claim.scope.said,
        period=purse.period,
        period_start=_at(period.start),
        resets_at=_at(period.end) if period.end else None,
        amount=str(budget.amount) if in_tokens else from_nano(budget.amount),
        used=str(used) if in_tokens else from_nano(used),
        unit="tokens" if in_tokens else currency,
    )


def currency_of(exchange: Exchange, claim: Claim) -> str:
    """What a purse of money counts in."""
    rates = next(iter(exchange.rates.values()))
    rate = rates.cost if claim.rule.unit == "cost" else rates.charge
    return rate.currency if rate else ""


class Notices:
    """One per worker."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()
        self._runs: dict[str, tuple[float, float, int]] = {}
        """Of each limit that refuses: when that began, was seen last, and how often."""

    def settled(self, exchange: Exchange, purses: Sequence[int], store: Store) -> None:
        """`purses` is what each claim's purse has settled by now."""
        record = exchange.record
        assert record is not None
        for claim, used in zip(exchange.claims, purses, strict=False):
            purse = claim.rule
            if not isinstance(purse, Purse):
                continue
            currency = record.cost_currency if purse.unit == "cost" else record.charge_currency
            for budget in purse.budgets:
                self._thresholds(claim, budget, used, currency, store)
        if record.absorbed:
            self._absorbed(exchange, store)

    def _thresholds(
        self, claim: Claim, budget: Budget, used: int, currency: str, store: Store
    ) -> None:
        for amount, share in budget.alert_at:
            mark = (claim.ask.key, f"{budget.amount}/{share}")
            if used < amount or mark in self._told:
                continue
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told.add(mark)
            store.raise_alert(
                events.budget_threshold(
                    tenant=claim.rule.scope.owner,
                    state=_state(claim, budget, used, currency),
                    threshold=share,
                    now=_now(),
                )
            )

    def _absorbed(self, exchange: Exchange, store: Store) -> None:
        """The tenant hears of it, and who runs the gateway, whose loss it is."""
        record = exchange.record
        assert record is not None and record.absorbed is not None
        metrics.count_absorbed(record.provider, record.absorbed)
        for told in (record.tenant, ""):
            store.raise_alert(
                events.usage_absorbed(
                    tenant=told,
                    record_id=record.record_id,
                    provider=record.provider,
                    model=record.model,
                    amount=from_nano(record.absorbed),
                    unit=record.charge_currency,
                    now=_now(),
                )
            )

    def exhausted(self, exchange: Exchange, claim: Claim, room: int, store: Store) -> None:
        """A budget had no room for a request."""
        purse = claim.rule
        assert isinstance(purse, Purse)
        least = min((b for b in purse.budgets if b.hard), key=lambda budget: budget.amount)
        state = _state(claim, least, purse.most - room, currency_of(exchange, claim))
        owner = purse.scope.owner
        store.raise_alert(events.budget_exhausted(tenant=owner, state=state, now=_now()))

    def limited(self, claim: Claim, store: Store) -> None:
        """A limit refused a request: an event once that has gone on for SUSTAINED_SECONDS."""
        limit = claim.rule
        assert isinstance(limit, Limit)
        now, key = time.monotonic(), claim.ask.key
        began, last, refused = self._runs.get(key, (now, now, 0))
        if now - last > SUSTAINED_GAP:
            began, refused = now, 0
        if len(self._runs) >= REMEMBERED:
            self._runs.clear()
        self._runs[key] = (began, now, refused + 1)
        if now - began >= SUSTAINED_SECONDS:
            store.raise_alert(
                events.limit_sustained(
                    tenant=limit.scope.owner,
                    scope=claim.scope.said,
                    limit=limit.name,
                    amount=limit.amount,
                    refused=refused + 1,
                    now=_now(),
                )
            )
