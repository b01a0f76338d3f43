"""What the Redis engine has been through, for metrics."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    calls: int = 0
    batches: int = 0
    connections: int = 0
    failures: int = 0
    """Batches that were not answered, in time or at all."""
    refused_at_once: int = 0
    reloads: int = 0
    breaker_opened: int = 0
    epochs: int = 0
    """Begun by this worker."""
    registered: int = 0
    """Holds told again to a new epoch."""
    retried: int = 0
    """Deliveries that took more than one try."""
    dropped: int = 0
    """Deliveries given up, because too many waited."""
    swept: int = 0
