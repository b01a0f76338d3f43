"""The Lua scripts: each is what `records.lua` defines, and then a file of its own."""

import hashlib
from pathlib import Path

from billing.counters.scripts import Scripts

_FOLDER = Path(__file__).parent


def load() -> Scripts:
    shared = (_FOLDER / "records.lua").read_text()
    digests, sources = {}, []
    for name in ("share", "claim"):
        source = (shared + (_FOLDER / f"{name}.lua").read_text()).encode()
        digests[name] = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        sources.append(source)
    return Scripts(digests, sources)
