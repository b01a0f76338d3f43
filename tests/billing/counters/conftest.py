from collections.abc import AsyncIterator

import pytest

from tests.billing.counters.engines import Desk, memory_desk, redis_desk


@pytest.fixture(params=["memory", "redis", "cluster"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    if request.param == "memory":
        yield memory_desk()
        return
    name = {"redis": "redis_url", "cluster": "redis_cluster_url"}[request.param]
    async with redis_desk(request.getfixturevalue(name)) as desk:
        yield desk
