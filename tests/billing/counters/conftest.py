from collections.abc import AsyncIterator, Iterator

import pytest

from tests.billing.counters.engines import Desk, memory_desk, redis_desk
from tests.conftest import _do_without
from tests.private_services import RedisCluster, ServiceUnavailable


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A Redis Cluster that a test may flush."""
    try:
        with RedisCluster() as cluster:
            yield cluster.url
    except ServiceUnavailable as reason:
        _do_without(reason)


@pytest.fixture(params=["memory", "redis", "cluster"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    if request.param == "memory":
        yield memory_desk()
        return
    name = {"redis": "redis_url", "cluster": "redis_cluster_url"}[request.param]
    async with redis_desk(request.getfixturevalue(name)) as desk:
        yield desk
