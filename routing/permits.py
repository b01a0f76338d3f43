"""Leave to call a target, and what its end says about health."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from routing.circuit import HOLD_SECONDS, Circuit
from routing.snapshots import CredentialSnapshot, ModelSnapshot
from routing.subjects import BREAKS, Subject

if TYPE_CHECKING:
    from routing.health import Health


@dataclass(slots=True)
class Permit:
    """One call of one target that may go, to be ended: a probe that is never ended blocks its
    target. Content may come and the call fail all the same; only the first failure counts."""

    _health: "Health"
    _model: ModelSnapshot
    _credential: CredentialSnapshot | None
    probes: tuple[tuple[Subject, Circuit], ...] = ()
    """What this call is the probe of: no other worker's may be it at the same time."""
    _doubtful: tuple[Circuit, ...] = ()
    """Others that an answer closes: what is on trial, and a secret that was refused."""
    _ended: bool = False

    def succeeded(self, now: float) -> None:
        """The upstream answers, if only that the request is at fault."""
        doubtful = [one for one in self._doubtful if one.is_tried or one.reason == "auth"]
        for circuit in (*self._end_probes(), *doubtful):
            circuit.asked_at = now
            circuit.close(now)

    def failed(self, kind: str, now: float, *, retry_after: float | None = None) -> None:
        """By the error's kind; `retry_after` are the seconds that the provider named."""
        if kind == "slow":
            self.abandoned()
        elif kind not in BREAKS:
            self.succeeded(now)
        elif not self._ended:
            self._ended = True
            probes = self._end_probes()
            self._health.note_failure(self._model, self._credential, kind, now, retry_after, probes)

    def abandoned(self) -> None:
        """The caller left, and nobody knows what would have come."""
        self._ended = True
        self._end_probes()

    def forestalled(self, now: float) -> None:
        """Another worker was quicker to probe: nobody here tries for a moment."""
        for _, circuit in self.probes:
            circuit.held_until = now + HOLD_SECONDS
        self.abandoned()

    def _end_probes(self) -> tuple[Circuit, ...]:
        probes = tuple(circuit for _, circuit in self.probes)
        self.probes = self._doubtful = ()
        for circuit in probes:
            circuit.release()
        return probes
