"""A simulation in a process of its own: it works hard, and must not hold up the requests of the
process that asks for it."""

import json
import subprocess
import sys
import threading
from typing import Any

from django.conf import settings

AT_MOST = "20s"
_PATIENCE = 90
"""Seconds for all of it, with the start of the process and the reading of the draft."""

_running = threading.Lock()


class NotSimulated(Exception):
    """The message says why."""


def simulate_apart(
    text: str, *, since: str, tenant: str, python: str = sys.executable
) -> dict[str, Any]:
    """What `simulate --prune --json` prints, of as many records as are replayed in AT_MOST. An
    empty tenant is all of them. One at a time. Raises NotSimulated."""
    asked = ["simulate", "-", "--prune", "--json", "--at-most", AT_MOST, "--since", since]
    if tenant:
        asked.append(f"--tenant={tenant}")
    if not _running.acquire(blocking=False):
        raise NotSimulated("Another simulation is running. Try again when it has ended.")
    try:
        done = subprocess.run(
            [python, str(settings.BASE_DIR / "manage.py"), *asked],
            input=text.encode(),
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotSimulated(f"It was not done within {_PATIENCE} seconds.") from None
    finally:
        _running.release()
    if done.returncode:
        raise NotSimulated(done.stderr.decode(errors="replace")[-2000:].strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found
