"""One worker: what it knows is all that there is."""

from collections.abc import Sequence

from routing.circuits import Circuits
from routing.subjects import Subject


class Alone:
    is_shared = False
    problem = ""

    def __init__(self) -> None:
        self.circuits = Circuits()

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def exchange(self) -> None:
        return

    async def claim_probe(self, subjects: Sequence[Subject]) -> bool:
        return True

    async def claim_turn(self, name: str, seconds: float) -> bool:
        return True
