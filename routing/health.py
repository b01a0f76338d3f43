"""Which credentials, models and providers may be asked: breakers and cool-downs. Pure: times are
passed in, in seconds since the epoch.

A failure counts for what it says something about: a rate limit for the account, a refused secret
for its credential, a connection for the provider, everything else for the model. What says that the
request was at fault says that the upstream lives.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from routing.circuit import Circuit
from routing.snapshots import CredentialSnapshot, ModelSnapshot, ProviderSnapshot
from routing.subjects import (
    BREAKS,
    Subject,
    fingerprint,
    of_account,
    of_credential,
    of_model,
    of_provider,
    subject_of,
    subjects_of,
)

AUTH_SECONDS = 300.0
"""How long a refused credential stays out, unless its secret changes."""
NAMES_A_TIME = frozenset({"rate_limit", "overloaded", "server_error"})
"""Kinds whose `Retry-After` is taken at its word."""
FORGET_SECONDS = 3_600.0
MOST_CIRCUITS = 10_000
MOST_CHANGES = 1_000


class Opened(NamedTuple):
    """Something of a provider's may not be asked any more; `until` in seconds since the epoch."""

    subject: Subject
    reason: str
    until: float
    provider: str

    @property
    def is_down(self) -> bool:
        """It failed, and did not only ask for a pause."""
        return self.reason != "rate_limit"


@dataclass(slots=True)
class Permit:
    """One call of one target that may go, to be ended: a probe that is never ended blocks its
    target. Content may come and the call fail all the same; only the first failure counts."""

    _health: "Health"
    _model: ModelSnapshot
    _credential: CredentialSnapshot | None
    _probes: tuple[Circuit, ...]
    _ended: bool = False

    def succeeded(self, now: float) -> None:
        """The upstream answers, if only that the request is at fault."""
        for circuit in self._take_probes():
            circuit.close(now)

    def failed(self, kind: str, now: float, *, retry_after: float | None = None) -> None:
        """By the error's kind; `retry_after` are the seconds that the provider named."""
        if kind == "slow":
            self.abandoned()
        elif kind not in BREAKS:
            self.succeeded(now)
        elif not self._ended:
            self._ended = True
            probes = self._take_probes()
            self._health.note_failure(self._model, self._credential, kind, now, retry_after, probes)

    def abandoned(self) -> None:
        """The caller left, and nobody knows what would have come."""
        self._ended = True
        self._take_probes()

    def _take_probes(self) -> tuple[Circuit, ...]:
        probes, self._probes = self._probes, ()
        for circuit in probes:
            circuit.release()
        return probes


@dataclass(slots=True)
class Health:
    """What one worker knows. A circuit exists only for what has failed: all else is well."""

    _circuits: dict[Subject, Circuit] = field(default_factory=dict)
    _opened: deque[Opened] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))

    # ---- what may be asked

    def wait(self, model: ModelSnapshot, now: float) -> float:
        """Seconds until the model may be asked, whatever the credential; 0 means now."""
        if not self._circuits:
            return 0.0
        return max(self._wait(of_model(model), now), self._wait(of_provider(model.provider), now))

    def credential_wait(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> float:
        """Seconds until the credential, and its account, may be used."""
        if not self._circuits:
            return 0.0
        self._forget_old_secret(provider, credential, now)
        own, account = of_credential(provider, credential), of_account(provider, credential)
        return max(self._wait(own, now), self._wait(account, now))

    def spent_for(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> float:
        """Seconds for which the provider says that nothing is left of a limit."""
        circuit = self._circuits.get(of_account(provider, credential))
        return max(circuit.spent_until - now, 0.0) if circuit else 0.0

    def is_only_refused(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> bool:
        """Whether the provider refused the credential, and nothing else is in its way."""
        own, account = of_credential(provider, credential), of_account(provider, credential)
        circuit = self._circuits.get(own)
        if circuit is None or circuit.reason != "auth":
            return False
        return own == account or not self._wait(account, now)

    def begin(
        self,
        model: ModelSnapshot,
        credential: CredentialSnapshot | None,
        now: float,
        *,
        is_last_resort: bool = False,
    ) -> Permit | None:
        """Leave to call now; None where somebody else was quicker to probe, or it just opened. As a
        last resort a refused credential may go, and closes its circuit where it is answered."""
        if not self._circuits:
            return Permit(self, model, credential, ())
        provider = model.provider
        lost = is_last_resort and self.is_only_refused(provider, credential, now)
        if self.wait(model, now) or (not lost and self.credential_wait(provider, credential, now)):
            return None
        subjects = subjects_of(model, credential)
        circuits = [self._circuits[name] for name in subjects if name in self._circuits]
        probes = [one for one in circuits if one.begin(now) or (lost and one.reason == "auth")]
        return Permit(self, model, credential, tuple(probes))

    # ---- what is learned

    def note_failure(
        self,
        model: ModelSnapshot,
        credential: CredentialSnapshot | None,
        kind: str,
        now: float,
        retry_after: float | None,
        probes: tuple[Circuit, ...],
    ) -> None:
        """Counts a failure for what it is a failure of. A failed probe opens at once."""
        breaker = model.provider.breaker
        subject = subject_of(kind, model, credential)
        if len(self._circuits) > MOST_CIRCUITS:
            self._forget(now)
        circuit = self._circuits.setdefault(subject, Circuit())
        was_open = circuit.state(now) == "open"
        if kind == "auth":
            circuit.open(now, AUTH_SECONDS, kind)
            circuit.secret = fingerprint(credential.secret) if credential else ""
        elif kind in NAMES_A_TIME and retry_after:
            circuit.open(now, retry_after, kind, needs_probe=False)
        elif any(circuit is probe for probe in probes):
            circuit.open(now, breaker.cooldown, kind)
        else:
            circuit.fail(now, breaker, kind)
        if circuit.state(now) == "open" and not was_open:
            self._opened.append(Opened(subject, kind, circuit.until, model.provider.name))

    def note_spent(
        self,
        provider: ProviderSnapshot,
        credential: CredentialSnapshot | None,
        seconds: float,
        now: float,
    ) -> None:
        """The provider's headers say that nothing is left for so long: others are preferred."""
        circuit = self._circuits.setdefault(of_account(provider, credential), Circuit())
        circuit.spent_until = max(circuit.spent_until, now + min(seconds, AUTH_SECONDS))

    def take_opened(self) -> list[Opened]:
        """What has opened since the last call, for alerts."""
        opened = list(self._opened)
        self._opened.clear()
        return opened

    # ---- what is told

    def state(self, now: float) -> list[dict[str, Any]]:
        """What is not closed, with its reason and the seconds that are left."""
        return [
            {
                "subject": ":".join((subject[0], "/".join(filter(None, subject[1:])))),
                "state": circuit.state(now),
                "reason": circuit.reason,
                "seconds_left": round(max(circuit.until - now, 0.0), 3),
            }
            for subject, circuit in sorted(self._circuits.items())
            if circuit.state(now) != "closed"
        ]

    def exported(self, now: float) -> dict[str, list[Any]]:
        """What has changed lately, for other workers: [changed at, until, needs a probe, reason,
        fingerprint] by subject. Forgets what is long past."""
        self._forget(now)
        return {
            "/".join(subject): [c.changed_at, c.until, c.needs_probe, c.reason, c.secret]
            for subject, c in self._circuits.items()
            if c.changed_at or c.until
        }

    def take_in(self, theirs: Mapping[str, list[Any]]) -> None:
        """Merges what another worker exported: of each subject the later change wins, and of two at
        the same moment the one that is open longer, so that all workers agree."""
        for name, (changed_at, until, needs_probe, reason, secret) in theirs.items():
            kind, tenant, *rest = name.split("/", 3)
            circuit = self._circuits.setdefault((kind, tenant, *rest), Circuit())
            if (changed_at, until, reason) > (circuit.changed_at, circuit.until, circuit.reason):
                circuit.changed_at, circuit.until, circuit.reason = changed_at, until, reason
                circuit.needs_probe, circuit.secret = needs_probe, secret
                circuit.failures.clear()

    # ---- within

    def _wait(self, subject: Subject, now: float) -> float:
        circuit = self._circuits.get(subject)
        return circuit.wait(now) if circuit else 0.0

    def _forget_old_secret(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> None:
        circuit = self._circuits.get(of_credential(provider, credential))
        if circuit is None or credential is None or not circuit.secret:
            return
        if circuit.secret != fingerprint(credential.secret):
            circuit.close(now)

    def _forget(self, now: float) -> None:
        long_ago = now - FORGET_SECONDS
        self._circuits = {
            subject: circuit
            for subject, circuit in self._circuits.items()
            if max(circuit.changed_at, circuit.until, circuit.spent_until, *circuit.failures, 0.0)
            > long_ago
            or circuit.state(now) != "closed"
        }
