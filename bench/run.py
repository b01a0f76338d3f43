"""The order of things: who is started when, and which measurement comes next."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bench import Failure
from bench.figures import Results
from bench.measures import MEASURES, Bench, Figures, memory, warm_up
from bench.soak import soak
from bench.subjects import Direct, Running, Subject

SETTLING = 1.0
"""Seconds between being ready and the first look at memory."""

CEILING = ("whole", "streams", "paced")
"""What can be asked of the upstream itself: the rest is measured against it."""


HELD_AGAINST = ("whole", "streams")
"""What has to be measured where translation is."""


@dataclass
class Run:
    """One run of the benchmark; `results` fills as it goes."""

    upstream: Running
    folder: Path
    seconds: float
    console: Console
    results: Results = field(default_factory=Results)

    def rounds(self, subjects: Sequence[Subject], count: int, only: Collection[str]) -> None:
        """Measure all subjects in turn, `count` times over; the ceiling once."""
        for number in range(1, count + 1):
            for subject in subjects:
                if not isinstance(subject, Direct):
                    self._with(subject, f"round {number} of {count}", _steps(only))
                elif number == 1:
                    ceiling = {name: MEASURES[name] for name in CEILING if name in only}
                    self._with(subject, "ceiling", ceiling)

    def soak(self, subject: Subject, requests: int) -> None:
        """Let `subject` answer `requests` and watch its memory."""
        self._with(subject, "soak", {"soak": lambda bench: soak(bench, requests)})

    def _with(
        self, subject: Subject, part: str, steps: dict[str, Callable[[Bench], Figures]]
    ) -> None:
        """Start the subject afresh and take the steps; what fails is noted, and the run goes on."""
        folder = self.folder / f"{subject.name} {part}".replace(" ", "-")
        folder.mkdir()
        self.console.print(f"[bold]{subject.title}[/], {part}")
        try:
            with subject.running(self.upstream, folder) as running:
                bench = Bench(running, self.upstream.door, self.seconds)
                for name, step in steps.items():
                    self._step(subject, f"{part}, {name}", step, bench)
        except Failure as failure:
            self._failed(subject, f"{part}, start or end", failure)

    def _step(
        self, subject: Subject, name: str, step: Callable[[Bench], Figures], bench: Bench
    ) -> None:
        try:
            figures = step(bench)
        except Failure as failure:
            if step is _warm:
                raise  # whoever cannot answer once is not worth measuring
            self._failed(subject, name, failure)
            return
        self.results.add(subject.name, figures)
        for figure, value in figures.items():
            self.console.print(f"  {figure} {value:,.3f}", highlight=False)

    def _failed(self, subject: Subject, name: str, failure: Failure) -> None:
        self.results.fail(subject.name, name, str(failure))
        self.console.print(f"  [bold red]FAILED[/] {name}: {escape(str(failure))}")


def _steps(only: Collection[str]) -> dict[str, Callable[[Bench], Figures]]:
    if "translated" in only:
        only = {*only, *HELD_AGAINST}
    chosen = {name: step for name, step in MEASURES.items() if name in only}
    return {"idle": _idle, "warm-up": _warm, **chosen, "loaded": _loaded} if chosen else {}


def _idle(bench: Bench) -> Figures:
    time.sleep(SETTLING)
    return {"idle_mib": memory(bench)}


def _warm(bench: Bench) -> Figures:
    warm_up(bench)
    return {}


def _loaded(bench: Bench) -> Figures:
    return {"loaded_mib": memory(bench)}
