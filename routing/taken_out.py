"""What is taken out, in words and figures for operators."""

import datetime
from typing import Any

from routing.circuits import Circuits
from routing.subjects import Subject
from tenants.events import moment


def spelled(subject: Subject) -> str:
    """`provider/model`, with the tenant that owns it in front."""
    return "/".join(filter(None, subject[1:]))


def taken_out(circuits: Circuits, now: float) -> list[dict[str, Any]]:
    """What is not closed, with its reason, the seconds that are left, since when, and when a probe
    last failed."""
    return [
        {
            "subject": f"{subject[0]}:{spelled(subject)}",
            "state": circuit.state(now),
            "reason": circuit.reason,
            "seconds_left": round(max(circuit.until - now, 0.0), 3),
            "since": written(circuit.since),
            "last_probe": written(circuit.asked_at),
        }
        for subject, circuit in sorted(circuits.items())
        if circuit.state(now) != "closed"
    ]


def written(at: float) -> str | None:
    """A moment; None for never."""
    return moment(datetime.datetime.fromtimestamp(at, datetime.UTC)) if at else None
