"""How much of each budget is used, as far as this worker has seen: routes may ask.

What a settlement answers is remembered. So it costs no look-up, and is as old as the last request
that this worker settled in that budget; of a budget that none has met yet nothing is known.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from billing.budgets import Purse
from billing.claims import Claim

REMEMBERED = 20_000


class BudgetShares:
    """Shares by the key of their counter, which names the period too."""

    def __init__(self) -> None:
        self._shares: OrderedDict[str, float] = OrderedDict()

    def note(self, claims: Sequence[Claim], levels: Sequence[int]) -> None:
        """What is settled in each claim's purse now."""
        for claim, level in zip(claims, levels, strict=False):
            rule = claim.rule
            if not isinstance(rule, Purse):
                continue
            self._shares[claim.ask.key] = level / rule.least if rule.least else 1.0
            self._shares.move_to_end(claim.ask.key)
        while len(self._shares) > REMEMBERED:
            self._shares.popitem(last=False)

    def tightest(self, claims: Iterable[Claim]) -> float | None:
        """The largest share of these, 0 to 1 and beyond; None where nothing is known."""
        known = [self._shares[c.ask.key] for c in claims if c.ask.key in self._shares]
        return max(known, default=None)
