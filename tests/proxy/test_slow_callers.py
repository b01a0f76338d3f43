"""A caller reads slowly: the upstream waits, nothing piles up, and nobody is blamed for idling."""

import json
import socket
import time

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    Wire,
    answer_frames,
    chunk,
    completion,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.conftest import ask

BIG = chunk({"content": "x" * 60_000})
PILE = 12_000_000
"""More than every socket's buffer on the way together."""


def _connect(gateway: GatewayProcess) -> socket.socket:
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.settimeout(20)
    caller.connect(("127.0.0.1", gateway.port))
    return caller


def _ask(caller: socket.socket, key: IssuedKey, path: str, *, streaming: bool) -> None:
    body = json.dumps(ask(stream=streaming)).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key.token}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    caller.sendall(head.encode() + body)


def _read_all(caller: socket.socket) -> bytes:
    received = bytearray()
    while more := caller.recv(1_000_000):
        received += more
    return bytes(received)


def test_an_upstream_that_had_to_wait_for_the_caller_was_not_idle(
    gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> None:
    frames = [*[BIG] * 200, *answer_frames(2)]
    upstream.at("idle").answers(stream(frames))
    with _connect(gateway) as caller:
        _ask(caller, key, "/chat/idle", streaming=True)
        assert b" 200 " in caller.recv(100)
        time.sleep(1)  # the provider's idle time-out is 300 ms
        received = _read_all(caller)
    assert received.count(b'xxxx"}') >= 200
    assert b"upstream_timeout" not in received
    assert b"data: [DONE]" in received


def test_a_stream_does_not_pile_up_in_the_gateway(
    gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> None:
    def pouring(wire: Wire) -> None:
        wire.head(200, {"content-type": "text/event-stream"})
        while sum(len(data) for _, data in wire.sent) < 10 * PILE:
            wire.send(BIG)

    upstream.at("first").answers(pouring)
    with _connect(gateway) as caller:
        _ask(caller, key, "/chat/pro", streaming=True)
        assert b" 200 " in caller.recv(100)
        sent = eventually(lambda: _resting(upstream), within=15, what="the upstream's rest")
    assert sent < PILE
    # The others do not wait with it.
    eventually(lambda: upstream.received[0].connection.closed_at, within=5)


def _resting(upstream: FakeUpstream) -> int | None:
    """How much the upstream has sent, once it has been held up for a while."""
    if not upstream.wires or not upstream.wires[0].sent:
        return None
    moment, _ = upstream.wires[0].sent[-1]
    if time.monotonic() - moment < 0.7:
        return None
    return sum(len(data) for _, data in upstream.wires[0].sent)


def test_others_are_answered_meanwhile(
    gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> None:
    upstream.at("first").answers(whole(completion("y" * 20_000_000, usage=USAGE)))
    with _connect(gateway) as slow:
        _ask(slow, key, "/chat/pro", streaming=False)
        assert b" 200 " in slow.recv(100)
        for _ in range(5):
            with _connect(gateway) as other:
                began = time.monotonic()
                _ask(other, key, "/chat/pro", streaming=False)
                assert b"Hello there" in _read_all(other)
                assert time.monotonic() - began < 1
