"""A count that a provider reports, and what is none."""

from typing import Any

_NUMBERS = (int, float)
MOST_TOKENS = 10**12
"""What one request cannot use. A count beyond it is none: no column would hold it."""


def count(report: Any, name: str) -> int:
    """The count of that name; 0 where there is none, or one that cannot be."""
    value = report.get(name) if isinstance(report, dict) else None
    return int(value) if isinstance(value, _NUMBERS) and 0 <= value <= MOST_TOKENS else 0
