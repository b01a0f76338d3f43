"""What a simulation adds up to: before, by the records, and after, under the draft."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from billing.exports import pages_of
from billing.simulation.draft import Draft
from billing.simulation.lost import pasts_of
from billing.simulation.past import COLUMNS, Past
from billing.simulation.replay import Outcome, Refusal, Replay
from billing.usage import within

Amounts = Counter[str]
"""Nano-units by currency."""


@dataclass(slots=True)
class Side:
    """One side of the comparison."""

    requests: int = 0
    """That were answered, well or badly; not those refused."""
    unpriced: int = 0
    """Of those, the ones of which cost or charge is not known."""
    cost: Amounts = field(default_factory=Counter)
    charge: Amounts = field(default_factory=Counter)

    def add(
        self, cost: int | None, cost_currency: str, charge: int | None, charge_currency: str
    ) -> None:
        self.requests += 1
        if cost is not None:
            self.cost[cost_currency] += cost
        if charge is not None:
            self.charge[charge_currency] += charge
        if cost is None or charge is None:
            self.unpriced += 1

    def merge(self, other: "Side") -> None:
        self.requests += other.requests
        self.unpriced += other.unpriced
        self.cost.update(other.cost)
        self.charge.update(other.charge)


@dataclass(slots=True)
class Sums:
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    refused: int = 0
    moved: int = 0
    """Answered by another model than then."""

    def merge(self, other: "Sums") -> None:
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.refused += other.refused
        self.moved += other.moved


@dataclass
class Totals:
    """Rows by tenant and alias, answers by model, refusals by tenant."""

    rows: dict[tuple[str, str], Sums] = field(default_factory=dict)
    models_before: Counter[str] = field(default_factory=Counter)
    models_after: Counter[str] = field(default_factory=Counter)
    refusals: Counter[tuple[str, Refusal]] = field(default_factory=Counter)

    @property
    def whole(self) -> Sums:
        sums = Sums()
        for row in self.rows.values():
            sums.merge(row)
        return sums

    def add(self, past: Past, outcome: Outcome) -> None:
        name = (past.tenant, past.alias)
        sums = self.rows.get(name)
        if sums is None:
            sums = self.rows[name] = Sums()
        sums.before.add(past.cost, past.cost_currency, past.charge, past.charge_currency)
        self.models_before[past.model] += 1
        if outcome.refusal is not None:
            sums.refused += 1
            self.refusals[past.tenant, outcome.refusal] += 1
            return
        sums.after.add(outcome.cost, outcome.cost_currency, outcome.charge, outcome.charge_currency)
        self.models_after[outcome.model] += 1
        sums.moved += outcome.model != past.model


@dataclass(frozen=True)
class Simulation:
    """The records that started in [start, end), of one tenant or of all. `stopped_at` is how far
    they were replayed where the time for it ran out."""

    start: datetime
    end: datetime
    tenant: str | None
    changes: list[str]
    totals: Totals
    stopped_at: datetime | None = None


def simulate(
    draft: Draft,
    *,
    start: datetime,
    end: datetime,
    tenant: str | None = None,
    seconds: float | None = None,
    reached: Callable[[datetime], object] = lambda moment: None,
) -> Simulation:
    """Replays usage records under a draft, page after page, for at most so many seconds. `reached`
    is told when a page's last started. Memory does not grow with the number of records."""
    replay, totals, began = Replay(draft, start, tenant=tenant), Totals(), time.monotonic()
    records = within(start=start, end=end, tenant=tenant).values_list(*COLUMNS, named=True)
    stopped_at = None
    for page in pages_of(records):
        for past in pasts_of(page):
            totals.add(past, replay.replay(past))
        reached(page[-1].started_at)
        if seconds is not None and time.monotonic() - began >= seconds:
            stopped_at = page[-1].started_at
            break
    return Simulation(start, end, tenant, draft.changes, totals, stopped_at)
