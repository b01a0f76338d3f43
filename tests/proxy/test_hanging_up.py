"""The caller hangs up: the upstream stops working, and the record says what was delivered."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from tests.fake_upstream import (
    USAGE,
    Connection,
    FakeUpstream,
    Script,
    chunk,
    silent,
    stream,
    words,
)
from tests.gateway_process import GatewayProcess, IssuedKey, Row, eventually
from tests.proxy.configuration import FIRST_COST
from tests.proxy.conftest import Issue, ask

CLOSES_WITHIN = 0.1


class Caller:
    """A caller on a socket of its own, who may leave whenever it likes."""

    def __init__(self, gateway: GatewayProcess, key: IssuedKey, path: str, **fields: Any) -> None:
        body = orjson.dumps(ask(**fields))
        head = [
            f"POST {path} HTTP/1.1",
            "host: gateway",
            f"authorization: Bearer {key.token}",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
        self._socket.sendall("\r\n".join([*head, "", ""]).encode() + body)
        self.received = b""

    def read_until(self, text: bytes) -> None:
        while text not in self.received:
            more = self._socket.recv(65536)
            assert more, self.received
            self.received += more

    def hang_up(self, *, abruptly: bool = False) -> float:
        """The moment at which it left."""
        if abruptly:
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()
        return time.monotonic()


@contextmanager
def calling(gateway: GatewayProcess, key: IssuedKey, path: str, **fields: Any) -> Iterator[Caller]:
    caller = Caller(gateway, key, path, **fields)
    try:
        yield caller
    finally:
        caller.hang_up()


def closed_after(connection: Connection, left_at: float) -> float:
    """Seconds from the caller's leaving to the gateway's."""
    closed = eventually(lambda: connection.closed_at, within=5, what="the end of the connection")
    assert connection.closed_by == "gateway"
    return closed - left_at


def record_of(gateway: GatewayProcess, tenant: str, before: list[Row]) -> Row:
    known = {row["record_id"] for row in before}

    def look() -> Row | None:
        new = [row for row in gateway.records(tenant=tenant) if row["record_id"] not in known]
        assert len(new) <= 1
        return new[0] if new else None

    return eventually(look, within=4, what="the record")


ENDLESS = stream(words(500), pace=0.02)


class TestInTheMiddleOfAStream:
    @pytest.mark.parametrize("abruptly", [False, True], ids=["FIN", "RST"])
    @pytest.mark.parametrize(
        "script",
        [ENDLESS, stream(words(5), ends="never"), stream([b"".join(words(5)), 30.0])],
        ids=["while events come", "while nothing comes", "while nothing comes after one write"],
    )
    def test_the_upstreams_connection_closes_at_once(
        self,
        gateway: GatewayProcess,
        key: IssuedKey,
        upstream: FakeUpstream,
        script: Script,
        abruptly: bool,
    ) -> None:
        upstream.at("first").answers(script)
        with calling(gateway, key, "/chat/pro", stream=True) as caller:
            caller.read_until(b"word4")
            left = caller.hang_up(abruptly=abruptly)
        assert closed_after(upstream.received[0].connection, left) < CLOSES_WITHIN

    def test_the_record_says_interrupted_by_the_caller_with_what_was_delivered(
        self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream
    ) -> None:
        key = issue("pays-delivered")
        before = gateway.records(tenant="pays-delivered")
        upstream.at("first").answers(ENDLESS)
        with calling(gateway, key, "/chat/pro", stream=True) as caller:
            caller.read_until(b"word9")
        record = record_of(gateway, "pays-delivered", before)
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "caller")
        assert (record["status"], record["stream"]) == (200, True)
        assert record["usage_source"] == "estimated"
        assert 10 <= record["output_tokens"] < 100
        [attempt] = gateway.attempts(record["record_id"])
        assert attempt["error_kind"] == "cancelled"

    def test_a_usage_that_was_reported_by_then_counts(
        self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream
    ) -> None:
        key = issue("pays-delivered")
        before = gateway.records(tenant="pays-delivered")
        pieces = [chunk({"content": f"word{n}"}, usage=USAGE) for n in range(3)]
        upstream.at("first").answers(stream(pieces, ends="never"))
        with calling(gateway, key, "/chat/pro", stream=True) as caller:
            caller.read_until(b"word2")
        record = record_of(gateway, "pays-delivered", before)
        assert record["usage_source"] == "provider"
        assert (record["input_tokens"], record["output_tokens"]) == (20, 8)

    def test_nobody_else_is_asked(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(words(3), ends="never"))
        with calling(gateway, key, "/chat/safe", stream=True) as caller:
            caller.read_until(b"word2")
            caller.hang_up()
        eventually(lambda: upstream.received[0].connection.closed_at, within=2)
        time.sleep(0.1)
        assert upstream.at_path("second") == []


class TestWhatIsCharged:
    """By the tenant's `on_disconnect`. What providers bill us is estimated all the same."""

    INPUT, OUTPUT = 2500, 10_000
    """Nano-units of cost a token; 7.7 % more are charged."""

    def _leave(
        self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream, policy: str
    ) -> Row:
        tenant = f"pays-{policy}"
        before = gateway.records(tenant=tenant)
        upstream.at("first").answers(stream(words(10), ends="never"))
        with calling(gateway, issue(tenant), "/chat/pro", stream=True, max_tokens=700) as caller:
            caller.read_until(b"word9")
        record = record_of(gateway, tenant, before)
        assert record["charge_policy"] == policy
        assert record["cost"] == (
            record["input_tokens"] * self.INPUT + record["output_tokens"] * self.OUTPUT
        )
        assert FIRST_COST["input"] == "2.50"
        return record

    def test_delivered(self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream) -> None:
        record = self._leave(gateway, issue, upstream, "delivered")
        assert record["charge"] == round(record["cost"] * 1.077 + 1e-6)

    def test_input(self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream) -> None:
        record = self._leave(gateway, issue, upstream, "input")
        assert record["charge"] == round(record["input_tokens"] * self.INPUT * 1.077 + 1e-6)

    def test_reserved(self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream) -> None:
        record = self._leave(gateway, issue, upstream, "reserved")
        assert record["charge"] >= 700 * self.OUTPUT * 1.077

    def test_nothing(self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream) -> None:
        record = self._leave(gateway, issue, upstream, "nothing")
        assert record["charge"] == 0
        assert record["cost"] > 0


class TestBeforeTheHead:
    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_the_upstreams_connection_closes_at_once(
        self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream, streaming: bool
    ) -> None:
        before = gateway.records(tenant="pays-input")
        upstream.at("first").answers(silent)
        with calling(gateway, issue("pays-input"), "/chat/pro", stream=streaming) as caller:
            eventually(lambda: upstream.received or None, within=5)
            left = caller.hang_up()
        assert closed_after(upstream.received[0].connection, left) < CLOSES_WITHIN
        record = record_of(gateway, "pays-input", before)
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "caller")
        assert record["output_tokens"] == 0
        assert record["input_tokens"] > 0

    def test_after_a_body_that_came_in_many_pieces(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(silent)
        long = [{"role": "user", "content": "word " * 80_000}]
        with calling(gateway, key, "/chat/pro", messages=long) as caller:
            eventually(lambda: upstream.received or None, within=5)
            left = caller.hang_up()
        assert len(upstream.received[0].body) > 400_000
        assert closed_after(upstream.received[0].connection, left) < CLOSES_WITHIN

    def test_while_a_whole_answer_arrives(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        arriving = threading.Event()

        def dripping(wire: Any) -> None:
            wire.head(200, {"content-type": "application/json"}, length=1000)
            wire.send(b'{"id": "x"')
            arriving.set()
            wire.wait_for_the_end()

        upstream.at("first").answers(dripping)
        with calling(gateway, key, "/chat/pro") as caller:
            assert arriving.wait(5)
            left = caller.hang_up()
        assert closed_after(upstream.received[0].connection, left) < CLOSES_WITHIN

    def test_before_its_body_is_whole_nothing_happens(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as half:
            half.sendall(
                b"POST /chat/pro HTTP/1.1\r\nhost: gateway\r\ncontent-length: 500\r\n"
                b"content-type: application/json\r\n"
                + f"authorization: Bearer {key.token}\r\n\r\n".encode()
                + b'{"messages"'
            )
        time.sleep(0.2)
        assert upstream.received == []


def test_many_who_leave_at_once_leave_nothing_behind(
    gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream
) -> None:
    key = issue("pays-nothing")
    before = gateway.records(tenant="pays-nothing")
    upstream.at("first").always_answers(ENDLESS)
    callers = [Caller(gateway, key, "/chat/pro", stream=True) for _ in range(20)]
    for caller in callers:
        caller.read_until(b"word2")
    for caller in callers:
        caller.hang_up()
    used = [request.connection for request in upstream.received]
    eventually(lambda: all(one.closed_at for one in used) or None, within=3, what="all ends")
    records = gateway.wait_for_records(len(before) + 20, tenant="pays-nothing")
    assert {record["outcome"] for record in records} == {"interrupted"}
