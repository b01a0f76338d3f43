"""The figures by name, what they become over several rounds, and what they are held against."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from bench.calls import TRANSLATED
from bench.measures import Figures

YARDSTICK = "pipe"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    title: str
    digits: int
    more_is_better: bool
    held_against: str = ""
    """The figure of the bare pipe that its multiple is of, where that has another name."""


def _translated(kind: str, title: str, *, more_is_better: bool) -> tuple[Figure, ...]:
    """The same figure for each dialect that is translated. The pipe cannot do that: its own
    answers are the yardstick."""
    return tuple(
        Figure(f"{dialect}_{kind}", f"{title}, {dialect} translated", 0, more_is_better, kind)
        for dialect in TRANSLATED
    )


FIGURES = (
    Figure("requests_per_second", "requests/s, 16 connections", 0, True),
    Figure("streams_per_second", "streams/s of 64 events, 16 connections", 0, True),
    Figure("paced_streams", "paced streams held, 20 ms", 0, True),
    Figure("added_p50_ms", "added p50, ms, one at a time", 3, False),
    Figure("added_p99_ms", "added p99, ms, one at a time", 3, False),
    Figure("added_first_token_ms", "added time to first token, ms", 3, False),
    Figure("cpu_us_per_request", "CPU per request, µs", 0, False),
    Figure("cpu_us_per_stream", "CPU per stream, µs", 0, False),
    *_translated("requests_per_second", "requests/s", more_is_better=True),
    *_translated("streams_per_second", "streams/s", more_is_better=True),
    *_translated("cpu_us_per_request", "CPU per request, µs", more_is_better=False),
    *_translated("cpu_us_per_stream", "CPU per stream, µs", more_is_better=False),
    Figure("idle_mib", "resident memory idle, MiB", 0, False),
    Figure("loaded_mib", "resident memory after load, MiB", 0, False),
    Figure("soak_start_mib", "soak: memory after warm-up, MiB", 1, False),
    Figure("soak_end_mib", "soak: memory at the end, MiB", 1, False),
    Figure("soak_peak_mib", "soak: highest memory, MiB", 1, False),
    Figure("soak_drift_percent", "soak: drift, %", 1, False),
)
_HELD_AGAINST = {figure.name: figure.held_against or figure.name for figure in FIGURES}


@dataclass(frozen=True)
class Target:
    """What the gateway promises. `of_pipe`: the bound is a share of the bare pipe's figure."""

    figure: str
    promise: str
    low: float = float("-inf")
    high: float = float("inf")
    of_pipe: bool = False


TARGETS = (
    Target("requests_per_second", "requests/s ≥ 0.45 of the pipe's", low=0.45, of_pipe=True),
    Target("streams_per_second", "streams/s ≥ 0.5 of the pipe's", low=0.5, of_pipe=True),
    *(
        Target(
            f"{dialect}_{kind}", f"{title} of {dialect} ≥ {low} of the pipe's", low, of_pipe=True
        )
        for kind, title, low in (
            ("requests_per_second", "requests/s", 0.4),
            ("streams_per_second", "streams/s", 0.35),
        )
        for dialect in TRANSLATED
    ),
    Target("added_p50_ms", "added p50 ≤ 1 ms", high=1.0),
    Target("idle_mib", "idle memory ≤ 180 MB", high=180e6 / (1 << 20)),
    Target("soak_drift_percent", "memory flat within ±5 %", low=-5.0, high=5.0),
)


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured; `passed` is None when it was not."""

    subject: str
    promise: str
    measured: float | None
    passed: bool | None


@dataclass
class Results:
    """Everything that was measured, round by round, and everything that failed."""

    rounds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, subject: str, figures: Figures) -> None:
        for name, value in figures.items():
            self.rounds[subject][name].append(value)

    def fail(self, subject: str, measure: str, reason: str) -> None:
        self.failures.append((subject, measure, reason))

    def value(self, subject: str, figure: str) -> float | None:
        """The median over the rounds; None when there is none."""
        values = self.rounds.get(subject, {}).get(figure)
        return median(values) if values else None

    def yardstick(self, figure: str) -> float | None:
        """What the bare pipe has to show beside a figure."""
        return self.value(YARDSTICK, _HELD_AGAINST.get(figure, figure))

    def ratio(self, subject: str, figure: str) -> float | None:
        """The value as a multiple of the bare pipe's in the same run."""
        value, pipe = self.value(subject, figure), self.yardstick(figure)
        return value / pipe if value is not None and pipe is not None and pipe > 0 else None

    def verdict(self, subject: str, target: Target) -> Verdict:
        measure = self.ratio if target.of_pipe else self.value
        measured = measure(subject, target.figure)
        passed = None if measured is None else target.low <= measured <= target.high
        return Verdict(subject, target.promise, measured, passed)
