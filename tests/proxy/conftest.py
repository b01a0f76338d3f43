"""One gateway and one upstream for all tests of a process; each test finds the upstream fresh."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cut_line import Line
from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.private_services import free_port
from tests.proxy.configuration import configuration, small_configuration

HELLO = {"role": "user", "content": "Say hello, please."}
Issue = Callable[..., IssuedKey]


def ask(**fields: Any) -> dict[str, Any]:
    """A small request."""
    return {"messages": [HELLO], **fields}


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@contextlib.contextmanager
def nobody_answers() -> Iterator[int]:
    """A port where a connection is neither accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(scope="session")
def gateway(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """The gateway that the tests of this folder share."""
    with nobody_answers() as silent_port:
        document = configuration(
            upstream_server,
            refused=f"http://127.0.0.1:{free_port()}/v1",
            unreachable=f"http://127.0.0.1:{silent_port}/v1",
        )
        folder: Path = tmp_path_factory.mktemp("gateway")
        with GatewayProcess(folder, configuration=document) as process:
            yield process


@pytest.fixture(scope="session")
def line() -> Iterator[Line]:
    """What lies between `mortal` and its database, where that is a server."""
    with Line() as line:
        yield line


@pytest.fixture(scope="session")
def mortal(
    upstream_server: FakeUpstream, line: Line, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway to be changed, stopped and killed. Each test leaves it running, configured as it
    was."""
    with GatewayProcess(
        tmp_path_factory.mktemp("mortal"),
        configuration=small_configuration(upstream_server),
        through=line.to,
    ) as process:
        yield process


@pytest.fixture
def upstream(upstream_server: FakeUpstream) -> Iterator[FakeUpstream]:
    """Nothing scripted, nothing received yet; a script that went wrong fails its test."""
    upstream_server.reset()
    yield upstream_server
    upstream_server.reset()


@pytest.fixture(scope="session")
def issue(gateway: GatewayProcess) -> Issue:
    """Issues a key, once for the same wishes."""

    @cache
    def issued(tenant: str, wishes: tuple[tuple[str, Any], ...]) -> IssuedKey:
        return gateway.issue_key(tenant, **{name: _listed(value) for name, value in wishes})

    def ask_for(tenant: str = "acme", **wishes: Any) -> IssuedKey:
        frozen = tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in sorted(wishes.items())
        )
        return issued(tenant, frozen)

    return ask_for


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture(scope="session")
def key(issue: Issue) -> IssuedKey:
    """A key of acme's that may ask for everything."""
    return issue("acme")


@pytest.fixture
def caller(gateway: GatewayProcess, key: IssuedKey) -> Iterator[httpx.Client]:
    """A client that holds `key`."""
    with calling(gateway, key) as client:
        yield client


@pytest.fixture
def forgiven(caller: httpx.Client, upstream: FakeUpstream) -> Iterator[None]:
    """For tests in which `first` refuses its secret: an answer afterwards lets it in again."""
    yield
    upstream.reset()
    assert caller.post("/chat/pro", json=ask()).status_code == 200


def calling(gateway: GatewayProcess, key: IssuedKey | None = None, **options: Any) -> httpx.Client:
    headers = {**(key.headers if key else {}), **options.pop("headers", {})}
    return httpx.Client(
        base_url=gateway.url, headers=headers, timeout=30, trust_env=False, **options
    )
