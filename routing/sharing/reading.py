"""What the running worker knows of upstreams, for who is not on its event loop: Django's views. As
in billing/counters/reading.py, what is called here runs on the loop that waits for the view."""

import time

from asgiref.sync import async_to_sync

from routing import sharing
from routing.circuit import Circuit
from routing.subjects import Subject


def standings() -> dict[Subject, Circuit] | None:
    """How everything stands that has failed lately, as all workers know it; None where no worker
    runs."""
    if sharing.running is None:
        return None
    return async_to_sync(_standings)(sharing.running)


def problem() -> str:
    return "" if sharing.running is None else sharing.running.problem


def close(subject: Subject) -> bool:
    """By hand, for every worker: the next request may go. False where nothing is in its way."""
    if sharing.running is None:
        return False
    return async_to_sync(_close)(sharing.running, subject)


async def _standings(running: sharing.Sharing) -> dict[Subject, Circuit]:
    await running.exchange()
    return dict(running.circuits)


async def _close(running: sharing.Sharing, subject: Subject) -> bool:
    await running.exchange()
    if not running.circuits.close(subject, time.time()):
        return False
    await running.exchange()
    return True
