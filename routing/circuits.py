"""The circuits that one worker knows, by their subjects, and what it and others tell each other of
them. Nothing is sent from here.

Each circuit is a register of which the later record wins, and any two records of one circuit have
an order: so workers that have heard the same, in whichever order and however often, agree.
"""

from collections.abc import Collection, Iterable, Mapping

from routing.circuit import Circuit
from routing.subjects import Subject, name_of, named

FORGET_SECONDS = 3_600.0
MOST_CIRCUITS = 10_000


class Circuits(dict[Subject, Circuit]):
    """There is one only for what has failed: all else is well."""

    def of(self, subject: Subject, now: float) -> Circuit:
        """Makes it where there is none."""
        if len(self) > MOST_CIRCUITS:
            self.forget(now)
        return self.setdefault(subject, Circuit())

    def close(self, subject: Subject, now: float) -> bool:
        """By hand: the next request may go. False where nothing is in its way."""
        circuit = self.get(subject)
        if circuit is None or circuit.state(now) == "closed":
            return False
        circuit.close(now)
        return True

    def forget(self, now: float) -> None:
        """Leaves out what is long past."""
        long_ago = now - FORGET_SECONDS
        for subject, circuit in list(self.items()):
            lately = max(circuit.changed_at, circuit.until, circuit.spent_until, circuit.asked_at)
            if max(lately, *circuit.failures, 0.0) <= long_ago:
                del self[subject]

    def record(self, subject: Subject) -> str:
        """What other workers are told of it; empty where nothing ever failed."""
        circuit = self.get(subject)
        return circuit.record() if circuit else ""

    def take_news(self) -> dict[str, str]:
        """Records of what has changed here since the last call, by the subject's name."""
        news = {}
        for subject, circuit in self.items():
            if circuit.is_news:
                circuit.is_news = False
                news[name_of(subject)] = circuit.record()
        return news

    def put_back(self, names: Iterable[str]) -> None:
        """They were not told: these are news still."""
        for name in names:
            if circuit := self.get(named(name)):
                circuit.is_news = True

    def tell_again(self, known: Collection[str], now: float) -> None:
        """What is out and not among `known` names becomes news: whoever knew it has lost it."""
        for subject, circuit in self.items():
            if circuit.state(now) != "closed" and name_of(subject) not in known:
                circuit.is_news = True

    def hear(self, records: Mapping[str, str], now: float) -> list[str]:
        """Merges what other workers know. Returns the names of what is no record."""
        wrong = []
        for name, record in records.items():
            subject = named(name)
            circuit = self.get(subject) or Circuit()
            try:
                circuit.hear(record, now)
            except ValueError:
                wrong.append(name)
            else:
                self[subject] = circuit
        return wrong
