"""Does memory stay where it is? Many requests, half of them streams, with the memory sampled."""

from __future__ import annotations

from bench.calls import STREAM, WHOLE
from bench.measures import Bench, Figures, memory
from bench.throughput import drive

WARM_UP = 5_000
SLICE = 2
"""Seconds of load between two samples."""


def soak(bench: Bench, requests: int) -> Figures:
    """Memory after the warm-up and after at least `requests` more, and the drift in percent."""
    _send(bench, WARM_UP)
    start = memory(bench)
    samples = _send(bench, requests)
    return {
        "soak_start_mib": start,
        "soak_end_mib": samples[-1],
        "soak_peak_mib": max(start, *samples),
        "soak_drift_percent": 100 * (samples[-1] / start - 1),
    }


def _send(bench: Bench, requests: int) -> list[float]:
    """Send at least so many, alternating between whole answers and streams; the samples."""
    sent = 0
    samples: list[float] = []
    while sent < requests:
        for call in (WHOLE, STREAM):
            sent += drive(bench.subject.door, call, SLICE).answers
        samples.append(memory(bench))
    return samples
