"""What this worker holds, kept in memory until the database has it: a server that lost its own copy
is told again."""

from dataclasses import dataclass, field

from billing.counters.parts import Split
from billing.counters.payloads import EPOCH_DIGITS, HEAD, OPEN, Part


@dataclass(slots=True)
class Own:
    """One hold. `bodies` are the packed bodies of its parts and `epochs` the epochs that have been
    told of them, by tag; the home comes first. `taken` is what changes have settled of it."""

    record_id: str
    parts: Split
    bodies: dict[str, bytes]
    epochs: dict[str, bytes] = field(default_factory=dict)
    state: bytes = OPEN
    taken: list[Part] = field(default_factory=list)
    in_doubt: bool = False
    """Whether a change may have taken effect or not."""
    delivered: bool = True
    """Whether Redis has its state."""
    in_database: bool = False


class Holds:
    def __init__(self, worker: bytes) -> None:
        self.worker = worker
        self._own: dict[str, Own] = {}

    def __len__(self) -> int:
        return len(self._own)

    def add(self, own: Own) -> None:
        self._own[own.record_id] = own

    def get(self, record_id: str) -> Own | None:
        return self._own.get(record_id)

    def drop(self, record_id: str) -> None:
        self._own.pop(record_id, None)

    def payload(self, own: Own, epoch: bytes, body: bytes) -> bytes:
        return own.state + self.worker + epoch[:EPOCH_DIGITS] + body

    def mark(self, state: bytes, epoch: bytes) -> bytes:
        """A payload without a body."""
        mark = state + self.worker + epoch[:EPOCH_DIGITS]
        assert len(mark) == HEAD
        return mark

    def untold(self, tag: str, epoch: bytes) -> list[Own]:
        """Those with a part in a tag that an epoch has not been told of."""
        return [
            own
            for own in self._own.values()
            if tag in own.bodies and own.epochs.get(tag) != epoch[:EPOCH_DIGITS]
        ]
