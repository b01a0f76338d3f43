"""Any client speaks to any provider: every recording, read by the official SDK of every caller."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy import matrix, recorded
from tests.proxy.frozen import frozen_in
from tests.proxy.in_process import InProcess

# The mark has the database set up, which the fixture below reads once.
pytestmark = [
    pytest.mark.once,
    pytest.mark.usefixtures("recordings"),
    pytest.mark.django_db,
]

GOOD = ("identical", "pass", "emulated", "error")


@pytest.fixture(scope="module")
def gateway(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """A snapshot outlives the transaction that it was read in."""
    folder: Path = tmp_path_factory.mktemp("matrix")
    with django_db_blocker.unblock():
        process = frozen_in(matrix.document(), folder)
    yield process
    process.close()


def in_sevens(body: bytes) -> list[bytes]:
    """Cuts through events, lines and characters, and merges none."""
    return [body[index : index + 7] for index in range(0, len(body), 7)]


def in_thousands(body: bytes) -> list[bytes]:
    """Merges events, and cuts some."""
    return [body[index : index + 1000] for index in range(0, len(body), 1000)]


def failures(
    gateway: InProcess, clients: Callable[[int], list[str]], cut: Callable[[bytes], list[bytes]]
) -> list[str]:
    found = []
    for number, exchange in enumerate(matrix.exchanges().values()):
        for client in clients(number):
            verdict, why = matrix.judge(gateway, exchange, client, cut)
            if verdict not in GOOD:
                found.append(f"{exchange['id']} for {client}: {verdict}: {why}")
    return found


@pytest.mark.parametrize("client", matrix.CLIENTS)
def test_every_recording_reaches_every_sdk(gateway: InProcess, client: str) -> None:
    assert failures(gateway, lambda number: [client], recorded.whole) == []


@pytest.mark.parametrize("cut", [in_sevens, in_thousands], ids=lambda cut: cut.__name__)
def test_however_it_is_cut(gateway: InProcess, cut: Callable[[bytes], list[bytes]]) -> None:
    """Each recording for one of the clients in turn."""
    turns = matrix.CLIENTS
    assert failures(gateway, lambda number: [turns[number % len(turns)]], cut) == []


@pytest.mark.long
@pytest.mark.once
@pytest.mark.parametrize("client", matrix.CLIENTS)
def test_every_recording_byte_by_byte(gateway: InProcess, client: str) -> None:
    assert failures(gateway, lambda number: [client], recorded.byte_by_byte) == []
