"""Which credentials, models and providers may be asked: breakers and cool-downs. Pure: times are
passed in, in seconds since the epoch.

A failure counts for what it says something about: a rate limit for the account, a refused secret
for its credential, a connection for the provider, everything else for the model. What says that the
request was at fault says that the upstream lives.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from routing.circuit import Circuit
from routing.circuits import Circuits
from routing.permits import Permit
from routing.secrets import fingerprint
from routing.snapshots import CredentialSnapshot, ModelSnapshot, ProviderSnapshot
from routing.subjects import (
    Subject,
    of_account,
    of_credential,
    of_list,
    of_model,
    of_provider,
    subject_of,
    subjects_of,
)

AUTH_SECONDS = 300.0
"""How long a refused credential stays out, unless its secret changes."""
NAMES_A_TIME = frozenset({"rate_limit", "overloaded", "server_error"})
"""Kinds whose `Retry-After` is taken at its word."""
MOST_CHANGES = 1_000


class Opened(NamedTuple):
    """Something of a provider's may not be asked any more, and since when, in seconds since the
    epoch."""

    subject: Subject
    reason: str
    since: float
    until: float
    provider: str

    @property
    def is_down(self) -> bool:
        """It failed, and did not only ask for a pause."""
        return self.reason != "rate_limit"


@dataclass(slots=True)
class Health:
    """What one worker knows. A circuit exists only for what has failed: all else is well."""

    circuits: Circuits = field(default_factory=Circuits)
    _opened: deque[Opened] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))

    # ---- what may be asked

    def wait(self, model: ModelSnapshot, now: float) -> float:
        """Seconds until the model may be asked, whatever the credential; 0 means now."""
        if not self.circuits:
            return 0.0
        return max(self._wait(of_model(model), now), self._wait(of_provider(model.provider), now))

    def credential_wait(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> float:
        """Seconds until the credential, and its account, may be used."""
        if not self.circuits:
            return 0.0
        self._forget_old_secret(provider, credential, now)
        own, account = of_credential(provider, credential), of_account(provider, credential)
        return max(self._wait(own, now), self._wait(account, now))

    def spent_for(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> float:
        """Seconds for which the provider says that nothing is left of a limit."""
        circuit = self.circuits.get(of_account(provider, credential))
        return max(circuit.spent_until - now, 0.0) if circuit else 0.0

    def is_only_refused(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> bool:
        """Whether the provider refused the credential, and nothing else is in its way."""
        own, account = of_credential(provider, credential), of_account(provider, credential)
        circuit = self.circuits.get(own)
        if circuit is None or circuit.reason != "auth":
            return False
        return own == account or not self._wait(account, now)

    def is_refused(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> bool:
        """Whether the credential is out because the provider refused its secret."""
        circuit = self.circuits.get(of_credential(provider, credential))
        return circuit is not None and circuit.reason == "auth" and circuit.state(now) != "closed"

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
        if not self.circuits:
            return Permit(self, model, credential)
        provider = model.provider
        lost = is_last_resort and self.is_only_refused(provider, credential, now)
        if self.wait(model, now) or (not lost and self.credential_wait(provider, credential, now)):
            return None
        subjects = subjects_of(model, credential)
        probes, doubtful = [], []
        for subject in subjects & self.circuits.keys():
            circuit = self.circuits[subject]
            if circuit.begin(now):
                probes.append((subject, circuit))
            elif circuit.is_tried or (lost and circuit.reason == "auth"):
                doubtful.append(circuit)
        return Permit(self, model, credential, tuple(probes), tuple(doubtful))

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
        provider, subject = model.provider, subject_of(kind, model, credential)
        circuit = self.circuits.of(subject, now)
        was_open = circuit.state(now) == "open"
        if kind == "auth":
            circuit.open(now, AUTH_SECONDS, kind)
            circuit.secret = fingerprint(credential.secret) if credential else ""
        elif kind in NAMES_A_TIME and retry_after:
            circuit.open(now, retry_after, kind, needs_probe=False)
        elif any(circuit is probe for probe in probes):
            circuit.open(now, provider.breaker.cooldown, kind)
        else:
            circuit.fail(now, provider.breaker, kind)
        if not was_open:
            self._note_opened(subject, provider, now)

    def list_answered(
        self,
        provider: ProviderSnapshot,
        credential: CredentialSnapshot | None,
        models: Iterable[ModelSnapshot],
        now: float,
        *,
        was_taken: bool,
    ) -> None:
        """The provider answered what was asked beside all requests, and so closes, on trial; where
        the credential `was_taken`, that does as well, and so do the provider's models."""
        self.circuits.of(of_list(provider), now).asked(now)
        subjects = [of_provider(provider)]
        if (own := self.circuits.get(subjects[0])) is not None:
            own.trust_lists(now)
        if was_taken:
            subjects += map(of_model, models)
            if self.is_refused(provider, credential, now):
                subjects.append(of_credential(provider, credential))
        for subject in subjects:
            circuit = self.circuits.get(subject)
            if circuit is not None and circuit.heeds_lists:
                circuit.asked_at = now
                circuit.close(now, on_trial=True)

    def waits_for_lists(self, provider: ProviderSnapshot, models: Iterable[ModelSnapshot]) -> bool:
        """Whether something of a provider's is out that a list of models may bring back."""
        subjects = [of_provider(provider), *map(of_model, models)]
        subjects += [of_credential(provider, credential) for credential in provider.credentials]
        found = (self.circuits.get(subject) for subject in subjects)
        return any(circuit is not None and circuit.heeds_lists for circuit in found)

    def list_failed(self, provider: ProviderSnapshot, kind: str, now: float) -> None:
        """The provider did not answer: a failure of it. What is out already is left to requests,
        one at a time: a list may fail where all else is well."""
        self.circuits.of(of_list(provider), now).asked(now)
        subject = of_provider(provider)
        circuit = self.circuits.of(subject, now)
        if circuit.state(now) != "closed" or circuit.by_lists:
            return
        if circuit.fail(now, provider.breaker, kind):
            circuit.on_trial = False  # lists agree with themselves
            circuit.doubt(now)
            self._note_opened(subject, provider, now)

    def note_spent(
        self,
        provider: ProviderSnapshot,
        credential: CredentialSnapshot | None,
        seconds: float,
        now: float,
    ) -> None:
        """The provider's headers say that nothing is left for so long: others are preferred."""
        circuit = self.circuits.of(of_account(provider, credential), now)
        circuit.spent_until = max(circuit.spent_until, now + min(seconds, AUTH_SECONDS))

    def take_opened(self) -> list[Opened]:
        """What has opened since the last call, for alerts."""
        opened = list(self._opened)
        self._opened.clear()
        return opened

    # ---- within

    def _wait(self, subject: Subject, now: float) -> float:
        circuit = self.circuits.get(subject)
        return circuit.wait(now) if circuit else 0.0

    def _forget_old_secret(
        self, provider: ProviderSnapshot, credential: CredentialSnapshot | None, now: float
    ) -> None:
        circuit = self.circuits.get(of_credential(provider, credential))
        if circuit is None or credential is None or not circuit.secret:
            return
        if circuit.secret != fingerprint(credential.secret):
            circuit.close(now)

    def _note_opened(self, subject: Subject, provider: ProviderSnapshot, now: float) -> None:
        circuit = self.circuits[subject]
        if circuit.state(now) == "open":
            opened = Opened(subject, circuit.reason, circuit.since, circuit.until, provider.name)
            self._opened.append(opened)
