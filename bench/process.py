"""Processes under test: pinned, logged, measured from /proc, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import Failure

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STRAY = ("DATABASE_URL", "REDIS_URL", "GATEWAY_", "DJANGO_", "OTEL_", "OPENAI_", "LITELLM_")


def cores() -> tuple[int | None, int | None]:
    """The core for the subject and the core for load and upstream; None: not pinned."""
    if not shutil.which("taskset"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """Our environment without what would configure a subject by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STRAY)}
    return kept | extra


class Process:
    """A running command and everything it started."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen = popen
        self._log = log

    def wait_ready(self, url: str, seconds: float = 90) -> None:
        """Return once `url` answers 200; `Failure` with the end of the log otherwise."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._popen.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise Failure(f"{url} never answered 200; the log ends:\n{self.log_end()}")

    def log_end(self, lines: int = 12) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def memory(self) -> int:
        """Resident bytes of the whole tree; pages shared between its processes count twice."""
        return PAGE * sum(_resident_pages(pid) for pid in self._tree())

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree so far."""
        stats = (_stat(pid) for pid in self._tree())
        return sum(int(stat[11]) + int(stat[12]) for stat in stats if stat) / TICKS

    def _tree(self) -> list[int]:
        tree = [self._popen.pid]
        stats = {int(path.name): _stat(path.name) for path in Path("/proc").glob("[1-9]*")}
        for parent in tree:  # grows while it is walked
            tree += [pid for pid, stat in stats.items() if stat and int(stat[1]) == parent]
        return tree

    def stop(self) -> None:
        """SIGTERM to the group, ten seconds of patience, SIGKILL to what is left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._popen.pid, number)
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        self._popen.wait()


def _stat(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int | None,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run `command` on `core` and stop its whole process group at the end."""
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    if shutil.which("setpriv"):  # nothing outlives the benchmark, even if that is killed
        pin = ["setpriv", "--pdeathsig", "TERM", *pin]
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [*pin, *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env=env if env is not None else environment(),
            start_new_session=True,
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        process.stop()
