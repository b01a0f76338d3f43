"""Measure the gateway beside a bare pipe and its peers, and report."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import machine, report
from bench.figures import TARGETS, Results
from bench.gateway import Gateway
from bench.measures import MEASURES
from bench.peers import PEERS
from bench.run import Run
from bench.subjects import Direct, Pipe, Subject, fake_upstream
from bench.throughput import ADVICE, generator

RESULTS = Path(__file__).with_name("results")
STEPS = (*MEASURES, "soak")


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    option = parser.add_argument
    option("--seconds", type=float, default=4, help="length of one measurement (4)")
    option("--rounds", type=int, default=3, help="how often all are measured, in turn (3)")
    option("--mode", choices=["sqlite", "postgres", "both"], default="both", help="(both)")
    option("--only", nargs="+", choices=STEPS, default=STEPS, help="these measurements")
    option("--subjects", nargs="+", metavar="NAME", help="these subjects, such as pipe or litellm")
    option("--soak", type=int, default=100_000, metavar="N", help="requests to soak (100000)")
    option("--json", type=Path, default=RESULTS / "bench.json", metavar="FILE")
    option("--chart", type=Path, default=RESULTS / "bench.png", metavar="FILE")
    return parser.parse_args(arguments)


def participants(mode: str, names: Sequence[str] | None) -> list[Subject]:
    """The subjects in the order of their turns, whether they can be started or not."""
    modes = ["sqlite", "postgres"] if mode == "both" else [mode]
    subjects: list[Subject] = [Direct(), Pipe(), *map(Gateway, modes), *PEERS]
    known = {subject.name for subject in subjects}
    if unknown := set(names or ()) - known:
        sys.exit(f"unknown subject {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [subject for subject in subjects if names is None or subject.name in names]


def main() -> int:
    """0 when everything of ours could be measured, whatever the figures; 1 when something broke."""
    arguments = read_arguments()
    console = Console()
    if not console.is_terminal:
        console.width = 150  # a table in a log need not be squeezed
    subjects = participants(arguments.mode, arguments.subjects)
    about = machine.facts() | {"arguments": {k: str(v) for k, v in vars(arguments).items()}}
    for warning in machine.warnings() + ([ADVICE] if generator() != "wrk" else []):
        console.print(f"[yellow]{warning}[/]")
    machine.settle_on_load_core()
    results = measure(arguments, subjects, console)

    seen = {*results.rounds, *(subject for subject, _, _ in results.failures)}
    titles = {subject.name: subject.title for subject in subjects if subject.name in seen}
    gateways = [subject.name for subject in subjects if isinstance(subject, Gateway)]
    verdicts = [results.verdict(name, target) for name in gateways for target in TARGETS]
    report.show(console, results, titles, verdicts)
    report.write_json(arguments.json, results, titles, verdicts, about)
    report.draw(arguments.chart, results, titles)
    console.print(f"Written: {arguments.json} and {arguments.chart}", soft_wrap=True)
    peers = {peer.name for peer in PEERS}
    return int(any(subject not in peers for subject, _, _ in results.failures))


def measure(arguments: argparse.Namespace, subjects: list[Subject], console: Console) -> Results:
    """All rounds and soaks, around one fake upstream."""
    present = []
    for subject in subjects:
        if reason := subject.missing():
            console.print(f"{subject.title}: {reason}")
        else:
            present.append(subject)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with fake_upstream(folder) as upstream:
            run = Run(upstream, folder, arguments.seconds, console)
            run.rounds(present, arguments.rounds, arguments.only)
            if arguments.soak and "soak" in arguments.only:
                for subject in present:
                    if isinstance(subject, Gateway):
                        run.soak(subject, arguments.soak)
            return run.results


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)  # unwinds every `with`, so that no process is left behind


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
