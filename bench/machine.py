"""Facts about the machine and the versions: without them a figure means nothing."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.process import PAGE, cores
from bench.throughput import generator

PACKAGES = ("aiohttp", "django", "httptools", "orjson", "uvicorn", "uvloop")


def settle_on_load_core() -> None:
    """Move this process, and what it starts from now on, to the core of load and upstream."""
    _, load_core = cores()
    if load_core is not None:
        os.sched_setaffinity(0, {load_core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def facts() -> dict[str, object]:
    subject_core, load_core = cores()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(PAGE * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.platform(),
        "load_average": round(os.getloadavg()[0], 2),
        "subject_core": subject_core,
        "load_core": load_core,
        "python": platform.python_version(),
        "node": _first_line("node", "--version"),
        "load_generator": generator(),
        "wrk": _first_line("wrk", "--version"),
        "packages": {name: version(name) for name in PACKAGES},
    }


def warnings() -> list[str]:
    """What makes this machine's figures worth less."""
    found = []
    if cores() == (None, None):
        found.append("Nothing is pinned: that takes two processors and `taskset` (util-linux).")
    if os.getloadavg()[0] > 0.5:
        found.append(f"The machine is busy (load average {os.getloadavg()[0]:.1f}): expect noise.")
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _first_line(*command: str) -> str | None:
    """The first line that a command prints; None when it is not there or says nothing."""
    if not shutil.which(command[0]):
        return None
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter(ran.stdout.splitlines()), None)
