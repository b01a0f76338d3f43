"""The Lua scripts: each is what `clock.lua`, `counters.lua` and perhaps `taking.lua` define, and
then a file of its own."""

import hashlib
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent
_TAKES = {"admit", "change"}
_NAMES = (
    *("admit", "change", "settle", "cancel", "held", "warm", "committed", "forget", "read"),
    *("begin", "register", "open", "renew", "alive", "dead", "orphans", "lock"),
)


class Scripts(NamedTuple):
    """Digests by which scripts are called, and the sources they are loaded from."""

    digests: dict[str, bytes]
    sources: list[bytes]


def _file(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


def load(clock: str | None = None) -> Scripts:
    """`clock` is another definition of `microseconds()`, for tests."""
    shared = (_file("clock") if clock is None else clock) + _file("counters")
    digests, sources = {}, []
    for name in _NAMES:
        taking = _file("taking") if name in _TAKES else ""
        source = (shared + taking + _file(name)).encode()
        digests[name] = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        sources.append(source)
    return Scripts(digests, sources)
