"""The moment at which a caller hangs up."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from proxy.body import Receive

EXTENSION = "gateway.departure"
"""Of our own server (gateway_project/http_protocol.py): a function that takes whom to call."""


def watch(
    scope: dict[str, Any], receive: Receive, departed: Callable[[], None]
) -> Callable[[], Any]:
    """Calls `departed` when the caller hangs up, until what this returns is called. Only a server
    that does not tell costs a task that listens."""
    tell = scope.get("extensions", {}).get(EXTENSION)
    if tell is None:
        return asyncio.create_task(_listen(receive, departed)).cancel
    tell(departed)
    return partial(tell, None)


async def _listen(receive: Receive, departed: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    departed()
