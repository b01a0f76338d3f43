"""What the requests of one process share."""

import asyncio
from dataclasses import dataclass, field

from proxy.admit import Admission
from proxy.identify import Identifier
from proxy.standing import Standing
from proxy.store import Store
from proxy.upstream import Upstreams


@dataclass(slots=True)
class Worker:
    store: Store
    upstreams: Upstreams
    identifier: Identifier
    admission: Admission
    standing: Standing = field(default_factory=Standing)
    copies: set["asyncio.Task[None]"] = field(default_factory=set)
    """Of requests, on their way to candidates."""
