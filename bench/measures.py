"""The measurements. Each takes a running subject and the upstream, and returns figures by name."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median, quantiles

import uvloop

from bench import Failure, load
from bench.calls import PACED, STREAM, TRANSLATED, TRICKLE, WHOLE, Call, Door, served
from bench.subjects import Running
from bench.throughput import drive

Figures = dict[str, float]

STALL = 0.100
"""An event that arrives later than this, in seconds, is a stall."""

MOST_PACED = 1024
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Bench:
    """What a measurement works with."""

    subject: Running
    upstream: Door
    seconds: float


def _driven(bench: Bench, call: Call) -> tuple[float, float]:
    """Answers per second and CPU microseconds per answer, checked in three ways.

    The generator counts answers that are not 2xx; the answers must be as long as one that was
    read in full; and the upstream must have seen as many requests as the caller got answers.
    """
    expected = uvloop.run(load.once(bench.subject.door, call))
    before, cpu_before = served(bench.upstream), bench.subject.process.cpu_seconds()
    result = drive(bench.subject.door, call, bench.seconds)
    cpu, reached = bench.subject.process.cpu_seconds() - cpu_before, served(bench.upstream) - before
    if not result.answers:
        raise Failure("no answer in time")
    if result.bytes_each < 0.9 * expected.size:
        raise Failure(f"{result.bytes_each:.0f} bytes an answer instead of {expected.size}")
    if reached < result.answers:
        raise Failure(f"{result.answers} answers, of which the upstream gave {reached}")
    return result.per_second, cpu / result.answers * 1e6


def whole(bench: Bench) -> Figures:
    rate, cpu = _driven(bench, WHOLE)
    return {"requests_per_second": rate, "cpu_us_per_request": cpu}


def streams(bench: Bench) -> Figures:
    rate, cpu = _driven(bench, STREAM)
    return {"streams_per_second": rate, "cpu_us_per_stream": cpu}


def translated(bench: Bench) -> Figures:
    """Whole answers and streams of the same upstream, for callers who speak another dialect."""
    figures: Figures = {}
    if not bench.subject.translates:
        return figures
    for dialect, (whole_call, stream_call) in TRANSLATED.items():
        rate, cpu = _driven(bench, whole_call)
        figures |= {f"{dialect}_requests_per_second": rate, f"{dialect}_cpu_us_per_request": cpu}
        rate, cpu = _driven(bench, stream_call)
        figures |= {f"{dialect}_streams_per_second": rate, f"{dialect}_cpu_us_per_stream": cpu}
    return figures


def _direct(bench: Bench) -> Door:
    """The upstream itself, asked by us: no subject has to account for that."""
    return replace(bench.upstream, headers=(("x-bench-direct", "1"),))


def latency(bench: Bench) -> Figures:
    """Whole answers at concurrency 1, in turn with direct calls to the upstream."""
    doors = [bench.subject.door, _direct(bench)]
    subject, direct = uvloop.run(load.in_turn(doors, WHOLE, bench.seconds))
    through = [1000 * (answer.ended - answer.sent) for answer in subject]
    around = [1000 * (answer.ended - answer.sent) for answer in direct]
    return {
        "added_p50_ms": median(through) - median(around),
        "added_p99_ms": quantiles(through, n=100)[98] - quantiles(around, n=100)[98],
    }


def first_token(bench: Bench) -> Figures:
    """Time to the first event of a stream that takes its time, likewise."""
    doors = [bench.subject.door, _direct(bench)]
    subject, direct = uvloop.run(load.in_turn(doors, TRICKLE, bench.seconds))
    through = median(answer.first - answer.sent for answer in subject)
    around = median(answer.first - answer.sent for answer in direct)
    return {"added_first_token_ms": 1000 * (through - around)}


def paced(bench: Bench) -> Figures:
    """The most streams of 64 events, 20 ms apart, that run at once without a stall."""
    gc.collect()
    gc.disable()  # a collection of ours must not pass for a stall of theirs
    try:
        return {"paced_streams": float(most(lambda number: _holds(bench, number), MOST_PACED))}
    finally:
        gc.enable()


def _holds(bench: Bench, streams: int) -> bool:
    try:
        uvloop.run(load.hold(bench.subject.door, PACED, streams, STALL))
    except Failure:
        return False
    finally:
        time.sleep(0.5)  # let the subject get rid of what was broken off
    return True


def most(holds: Callable[[int], bool], highest: int) -> int:
    """The largest number that holds, within 12 %, by quadrupling, then bisection; 0: not even 1."""
    low, high = 0, 16
    while holds(high):
        low, high = high, min(4 * high, highest)
        if low == highest:
            return low
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def memory(bench: Bench) -> float:
    """Resident memory of the subject's process tree, in MiB."""
    return bench.subject.process.memory() / MEBIBYTE


def warm_up(bench: Bench) -> None:
    """One checked answer of each kind, then a second of load."""
    for call in (WHOLE, STREAM, TRICKLE):
        uvloop.run(load.once(bench.subject.door, call))
    drive(bench.subject.door, WHOLE, 1)


MEASURES: dict[str, Callable[[Bench], Figures]] = {
    "whole": whole,
    "streams": streams,
    "translated": translated,
    "latency": latency,
    "first_token": first_token,
    "paced": paced,
}
