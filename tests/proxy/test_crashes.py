"""`kill -9`: nothing that a caller received whole is lost, and nothing is recorded twice."""

import json
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    Wire,
    answer_frames,
    completion,
    failing,
    whole,
    words,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.conftest import ask, calling

STREAMS = 50
LENGTH = 40
"""Frames of the longest stream."""


def _paced(wire: Wire) -> None:
    """Streams of different lengths, so that a kill finds them at every stage."""
    number = int(wire.request.json()["user"])
    wire.head(200, {"content-type": "text/event-stream"})
    for piece in answer_frames(5 + number % LENGTH, usage=USAGE):
        wire.send(piece)
        wire.wait(0.02)
    wire.end()


class Reader(threading.Thread):
    """A caller on a raw socket, who notes how far it got."""

    def __init__(self, gateway: GatewayProcess, key: IssuedKey, number: int) -> None:
        super().__init__(daemon=True)
        self._port, self._key, self._number = gateway.port, key, number
        self.received = b""

    def run(self) -> None:
        body = json.dumps(ask(stream=True, user=str(self._number))).encode()
        head = (
            "POST /chat/pro HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._key.token}\r\nx-request-id: caller-{self._number}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=20) as caller:
                caller.sendall(head.encode() + body)
                while more := caller.recv(65536):
                    self.received += more
        except OSError:
            pass

    @property
    def is_whole(self) -> bool:
        return b"data: [DONE]\n\n" in self.received

    @property
    def record_id(self) -> str | None:
        for line in self.received.split(b"\r\n\r\n")[0].split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name.lower() == b"x-gateway-record-id":
                return value.decode()
        return None


def _journals(gateway: GatewayProcess) -> set[str]:
    return {path.name for path in gateway.spool.glob("*.journal")}


def test_every_answer_that_arrived_whole_has_its_record_and_none_twice(
    mortal: GatewayProcess, upstream_server: FakeUpstream
) -> None:
    upstream_server.reset()
    key = mortal.issue_key("acme")
    upstream_server.at("first").always_answers(_paced)
    readers = [Reader(mortal, key, number) for number in range(STREAMS)]
    for reader in readers:
        reader.start()
    # Some have ended by then, some are about to, and most are in the middle.
    eventually(lambda: sum(reader.is_whole for reader in readers) >= 10 or None, within=20)
    mortal.kill()
    for reader in readers:
        reader.join(20)
    whole_ones = [reader for reader in readers if reader.is_whole]
    assert 10 <= len(whole_ones) < STREAMS
    left = _journals(mortal)
    assert left

    mortal.start()
    records = mortal.wait_for_records(STREAMS, within=10, key_id=key.key_id)
    by_request = Counter(record["request_id"] for record in records)
    assert by_request == {f"caller-{number}": 1 for number in range(STREAMS)}
    outcomes = {record["record_id"]: record for record in records}
    for reader in whole_ones:
        assert reader.record_id is not None
        record = outcomes[reader.record_id]
        assert (record["outcome"], record["usage_source"]) == ("completed", "provider")
        assert (record["input_tokens"], record["output_tokens"]) == (20, 8)
    for reader in readers:
        if reader.record_id and not reader.is_whole:
            # Settled before its last byte left, or cut off.
            assert outcomes[reader.record_id]["outcome"] in ("interrupted", "completed")
    interrupted = [record for record in records if record["outcome"] == "interrupted"]
    assert interrupted
    for record in interrupted:
        assert (record["ended_by"], record["charge_policy"]) == ("gateway", "delivered")
        assert record["input_tokens"] > 0
        assert record["charge"] > 0
    assert not _journals(mortal) & left

    # A second start finds nothing more to do.
    mortal.kill()
    mortal.start()
    time.sleep(0.5)
    again = mortal.records(key_id=key.key_id)
    assert sorted(again, key=_id) == sorted(records, key=_id)
    assert not _journals(mortal) & left


def _id(record: dict[str, object]) -> str:
    return str(record["record_id"])


@dataclass(frozen=True, slots=True)
class Crash:
    """What was under way when the process died, by record id; what was left in the spool."""

    key_id: str
    answered: str
    stuck: str
    fallen_back: str
    journals: set[str]


def _stuck(wire: Wire) -> None:
    wire.head(200, {"content-type": "text/event-stream"})
    wire.send(b"".join(words(3)))
    wire.wait_for_the_end()


@pytest.fixture(scope="module")
def crash(mortal: GatewayProcess, upstream_server: FakeUpstream) -> Crash:
    """A process that died in the middle of several things, and was started again."""
    upstream_server.reset()
    with ExitStack() as stack:
        key = mortal.issue_key("globex")
        caller = stack.enter_context(calling(mortal, key))

        def streamed(path: str) -> str:
            opened = caller.stream("POST", path, json=ask(stream=True))
            answer = stack.enter_context(opened)
            return str(answer.headers["x-gateway-record-id"])

        assert caller.post("/chat/nope", json=ask()).status_code == 404
        upstream_server.at("first").answers(_stuck, failing(500), whole(completion()))
        upstream_server.at("second").answers(_stuck)
        stuck, fallen_back = streamed("/chat/pro"), streamed("/chat/safe")
        answered = caller.post("/chat/pro", json=ask()).headers["x-gateway-record-id"]
        mortal.kill()
    journals = set(mortal.spool.glob("*.journal"))
    for journal in journals:
        with journal.open("ab") as lines:
            lines.write(b'[true,["a line cut sh')
    mortal.start()
    left = {journal.name for journal in journals}
    return Crash(key.key_id, answered, stuck, fallen_back, left)


class TestAfterACrash:
    def test_an_answer_is_recorded_though_the_process_died_as_its_last_byte_arrived(
        self, mortal: GatewayProcess, crash: Crash
    ) -> None:
        record = mortal.wait_for_record(crash.answered)
        assert (record["outcome"], record["charge"]) == ("completed", 205_169)

    def test_what_was_under_way_is_interrupted_by_the_gateway(
        self, mortal: GatewayProcess, crash: Crash
    ) -> None:
        record = mortal.wait_for_record(crash.stuck)
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "gateway")
        assert (record["provider"], record["model"]) == ("first", "first-model")

    def test_the_record_says_who_was_asked_last(self, mortal: GatewayProcess, crash: Crash) -> None:
        record = mortal.wait_for_record(crash.fallen_back)
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "gateway")
        assert (record["provider"], record["model"]) == ("second", "second-model")
        first = mortal.attempts(record["record_id"])[0]
        assert (first["provider"], first["error_kind"]) == ("first", "server_error")

    def test_nothing_else_is_recorded(self, mortal: GatewayProcess, crash: Crash) -> None:
        records = mortal.wait_for_records(3, key_id=crash.key_id)
        assert {record["record_id"] for record in records} == {
            *(crash.answered, crash.stuck, crash.fallen_back)
        }

    def test_the_journals_are_gone_though_their_last_line_was_cut_short(
        self, mortal: GatewayProcess, crash: Crash
    ) -> None:
        assert not _journals(mortal) & crash.journals
