"""How many answers per second, with `wrk` where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import Failure, load
from bench.calls import Call, Door

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("wrk.lua")
ADVICE = (
    "wrk is missing: `apt-get install wrk`. Until then the benchmark's own load generator is "
    "used; it shares its core with the upstream and reaches fewer requests a second."
)


@dataclass(frozen=True)
class Throughput:
    answers: int
    seconds: float
    bytes_each: float

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "bench.load"


def drive(door: Door, call: Call, seconds: float) -> Throughput:
    """Load the door for `seconds`; `Failure` when anything but 2xx came back."""
    if generator() == "wrk":
        return _wrk(door, call, seconds)
    answers = uvloop.run(load.flood(door, call, seconds, CONNECTIONS))
    size = sum(answer.size for answer in answers)
    return Throughput(len(answers), seconds, size / max(1, len(answers)))


def _wrk(door: Door, call: Call, seconds: float) -> Throughput:
    # a slow subject may take seconds to answer sixteen streams: that is a figure, not an error
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}", "--timeout", "60s"]
    for name, value in door.all_headers:
        command += ["-H", f"{name}: {value}"]
    ran = subprocess.run(
        [*command, "-s", str(SCRIPT), door.base + call.path],
        env={**os.environ, "BENCH_BODY": call.body.decode()},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise Failure(f"wrk failed: {ran.stderr or ran.stdout}")
    result = json.loads(ran.stdout.splitlines()[-1])
    if result["refused"] or result["broken"]:
        raise Failure(f"{result['refused']} answers not 2xx, {result['broken']} socket errors")
    answers = result["requests"]
    return Throughput(answers, result["microseconds"] / 1e6, result["bytes"] / max(1, answers))
