"""SIGTERM: no new requests, those under way end, everything is settled, and the exit code is 0."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    Wire,
    answer_frames,
    completion,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, eventually
from tests.proxy.conftest import ask, calling


@pytest.fixture
def stopping(mortal: GatewayProcess, upstream: FakeUpstream) -> Iterator[GatewayProcess]:
    yield mortal
    mortal.start()


def test_streams_end_whole_and_are_recorded(
    stopping: GatewayProcess, upstream: FakeUpstream
) -> None:
    go_on = threading.Event()
    frames = answer_frames(20, usage=USAGE)

    def waiting(wire: Wire) -> None:
        wire.head(200, {"content-type": "text/event-stream"})
        for piece in frames[:5]:
            wire.send(piece)
        wire.wait(go_on)
        for piece in frames[5:]:
            wire.send(piece)
            wire.wait(0.01)
        wire.end()

    upstream.at("first").answers(waiting, whole(completion(), after=go_on))
    key = stopping.issue_key("acme", "patient")
    with (
        ThreadPoolExecutor() as threads,
        calling(stopping, key) as caller,
        caller.stream("POST", "/chat/pro", json=ask(stream=True)) as answer,
    ):
        pending = threads.submit(_ask_whole, stopping, key.headers)
        eventually(lambda: len(upstream.received) == 2 or None, within=5)
        stopping.terminate()
        eventually(stopping.is_closed, within=5, what="the end of listening")
        go_on.set()
        body = b"".join(answer.iter_raw())
        also = pending.result(timeout=20)
    assert stopping.wait() == 0
    assert body == b"".join(answer_frames(20))
    assert also.status_code == 200
    for one in (answer, also):
        [record] = stopping.records(record_id=one.headers["x-gateway-record-id"])
        assert (record["outcome"], record["charge"]) == ("completed", 205_169)
    assert list(stopping.spool.glob("*.journal")) == []


def _ask_whole(gateway: GatewayProcess, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(
        gateway.url + "/chat/pro", json=ask(), headers=headers, timeout=20, trust_env=False
    )


def test_connections_that_rest_do_not_hold_it_up(
    stopping: GatewayProcess, upstream: FakeUpstream
) -> None:
    with calling(stopping, stopping.issue_key("acme", "idle")) as caller:
        upstream.at("first").answers(stream(answer_frames()), whole(completion()))
        caller.post("/chat/pro", json=ask(stream=True))
        caller.post("/chat/pro", json=ask())
        began = time.monotonic()
        stopping.terminate()
        assert stopping.wait() == 0
        assert time.monotonic() - began < 5
    assert list(stopping.spool.glob("*.journal")) == []
