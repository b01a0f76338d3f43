"""The first words on a connection: who is there, and the scripts."""

import asyncio
import contextlib
from collections.abc import Callable

from redis.asyncio.connection import AbstractConnection

from billing.counters.batches import packed
from billing.counters.scripts import Scripts

SECONDS_TO_CONNECT = 1.0

Connect = Callable[[], AbstractConnection]


async def greeted(connect: Connect, scripts: Scripts) -> tuple[AbstractConnection, dict[str, str]]:
    """A connection on which all scripts are known, and what INFO says.

    Raises RedisError, OSError, TimeoutError.
    """
    connection = connect()
    try:
        async with asyncio.timeout(SECONDS_TO_CONNECT):
            await connection.connect()
            await connection.send_packed_command(packed(("INFO",)), check_health=False)
            info = await connection.read_response()
            await load_scripts(connection, scripts)
    except BaseException:
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)
        raise
    return connection, facts_of(info)


async def load_scripts(connection: AbstractConnection, scripts: Scripts) -> None:
    loads = [packed(("SCRIPT", "LOAD", source)) for source in scripts.sources]
    await connection.send_packed_command(loads, check_health=False)
    for _ in loads:
        await connection.read_response()


def facts_of(info: bytes) -> dict[str, str]:
    lines = info.decode(errors="replace").split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)
