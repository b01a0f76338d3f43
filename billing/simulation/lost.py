"""What hedges that lost came to: a record's cost and charge hold it, its tokens do not."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from billing.models import Attempt
from billing.simulation.past import Past

_CLOCKS = timedelta(hours=1)
"""So far a clock may have been set back within a request. Older partitions are not searched."""


def pasts_of(page: Sequence[Any]) -> Iterator[Past]:
    """Rows of COLUMNS, in the order they started."""
    lost = _lost(page)
    for row in page:
        cost, charge = lost.get(row.record_id, (0, 0))
        yield Past._make((*row, cost, charge))


def _lost(page: Sequence[Any]) -> dict[UUID, tuple[int, int]]:
    """Nano-units by record. Whoever won, or failed, has no amount on its row; a mirror has one, of
    which its record knows nothing."""
    several = [row.record_id for row in page if row.attempts > 1]
    found: dict[UUID, tuple[int, int]] = defaultdict(lambda: (0, 0))
    if not several:
        return found
    since = page[0].started_at - _CLOCKS
    beside = Attempt.objects.filter(record_id__in=several, started_at__gte=since)
    beside = beside.exclude(role="mirror").exclude(cost=None, charge=None)
    for record_id, cost, charge in beside.values_list("record_id", "cost", "charge").order_by():
        had_cost, had_charge = found[record_id]
        found[record_id] = had_cost + (cost or 0), had_charge + (charge or 0)
    return found
