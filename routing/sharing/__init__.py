"""What the workers of one installation tell each other of the health of upstreams: one interface,
two engines. Alone there is nobody to tell; with Redis they are together."""

from collections.abc import Sequence
from typing import Protocol

from routing.circuits import Circuits
from routing.sharing.alone import Alone
from routing.sharing.together import Together
from routing.subjects import Subject


class Sharing(Protocol):
    circuits: Circuits
    """This worker's, which it tells of, and into which it hears."""
    is_shared: bool

    @property
    def problem(self) -> str:
        """Why others are not heard of now; empty while all is well."""

    async def start(self) -> None:
        """Learns what others know, and keeps up with it. Does not fail when Redis is away."""

    async def stop(self) -> None:
        """Tells the last news, if that is quick."""

    async def exchange(self) -> None:
        """Tells and hears now. Raises nothing."""

    async def claim_probe(self, subjects: Sequence[Subject]) -> bool:
        """Whether this worker may probe: all of them or none. It keeps them for as long as its own
        circuits say that it probes; what a dead worker claimed is free after a second. Where nobody
        can be asked, it may."""

    async def claim_turn(self, name: str, seconds: float) -> bool:
        """Whether this worker is the one who does `name` for so long. It may stay the one."""


def new_sharing(redis_url: str | None) -> Sharing:
    return Together(redis_url) if redis_url else Alone()


running: Sharing | None = None
"""That of this process's worker, for `reading.py`; None where no worker runs."""
