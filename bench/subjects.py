"""Who takes part. A subject can be started in front of the fake upstream and is then called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.calls import CHAT, Door
from bench.process import Process, cores, environment, free_port, running


@dataclass(frozen=True)
class Running:
    """A subject that is ready for calls."""

    door: Door
    process: Process
    translates: bool = False
    """Whether its callers may speak other dialects than the upstream's."""


class Subject(Protocol):
    """What the benchmark needs to know of a participant."""

    name: str
    title: str

    def missing(self) -> str | None:
        """Why it cannot take part, or None."""

    def running(self, upstream: Running, folder: Path) -> AbstractContextManager[Running]:
        """Start it on the subject's core, with `folder` for its files; ready when entered."""


@contextmanager
def fake_upstream(folder: Path) -> Iterator[Running]:
    """The upstream that all subjects share, on the load generator's core."""
    door = Door(free_port())
    command = [sys.executable, "-m", "bench.upstream", "--port", str(door.port)]
    with running(command, core=cores()[1], log=folder / "upstream.log") as process:
        process.wait_ready(door.base + "/served")
        yield Running(door, process)


class Direct:
    """Nothing in between: the ceiling of this machine's load generator and upstream."""

    name = "direct"
    title = "upstream itself"

    def missing(self) -> str | None:
        return None

    @contextmanager
    def running(self, upstream: Running, folder: Path) -> Iterator[Running]:
        yield upstream


class Pipe:
    """`bench.pipe`: the yardstick."""

    name = "pipe"
    title = "bare pipe"

    def missing(self) -> str | None:
        return None

    @contextmanager
    def running(self, upstream: Running, folder: Path) -> Iterator[Running]:
        door = Door(free_port())
        command = [sys.executable, "-m", "uvicorn", "bench.pipe:app", "--port", str(door.port)]
        command += ["--loop", "uvloop", "--http", "httptools"]
        command += ["--no-access-log", "--log-level", "warning"]
        env = environment(BENCH_UPSTREAM=upstream.door.base + CHAT)
        with running(command, core=cores()[0], log=folder / "pipe.log", env=env) as process:
            process.wait_ready(door.base)
            yield Running(door, process)
