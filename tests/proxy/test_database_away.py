"""The database is away or busy: what was known goes on serving, and records wait."""

import os
import sqlite3
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.cut_line import Line
from tests.fake_upstream import USAGE, FakeUpstream, answer_frames, stream
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.proxy.conftest import ask, calling


@pytest.fixture(scope="module")
def key(mortal: GatewayProcess) -> IssuedKey:
    return mortal.issue_key("globex", "outage")


@pytest.fixture
def caller(
    mortal: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> Iterator[httpx.Client]:
    with calling(mortal, key) as client:
        assert client.post("/chat/pro", json=ask()).status_code == 200
        yield client


def _some_answers(caller: httpx.Client, upstream: FakeUpstream) -> list[str]:
    """The records of what is answered now, each within a second."""
    ids = []
    for streaming in (False, True) * 5:
        if streaming:
            upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        began = time.monotonic()
        answer = caller.post("/chat/pro", json=ask(stream=streaming))
        assert answer.status_code == 200
        assert time.monotonic() - began < 1
        ids.append(answer.headers["x-gateway-record-id"])
    return ids


@pytest.mark.skipif(os.environ.get("TEST_DATABASE") == "postgresql", reason="about SQLite's lock")
def test_while_another_program_writes_answers_flow_and_records_wait(
    mortal: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    path = mortal.environment["DATABASE_URL"].removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ids = _some_answers(caller, upstream)
    time.sleep(0.5)
    assert mortal.records(record_id=ids[0]) == []
    other.execute("ROLLBACK")
    other.close()
    for record_id in ids:
        assert mortal.wait_for_record(record_id)["charge"] == 205_169


@pytest.mark.postgres
class TestAway:
    @pytest.fixture
    def away(self, line: Line, caller: httpx.Client) -> Iterator[Line]:
        line.cut()
        yield line
        if not line.is_whole:
            line.mend()

    def test_the_last_good_snapshot_serves_and_records_are_written_once_it_is_back(
        self, mortal: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, away: Line
    ) -> None:
        ids = _some_answers(caller, upstream)
        time.sleep(1)
        ids += _some_answers(caller, upstream)
        assert mortal.records(record_id=ids[0]) == []
        assert caller.get("/healthz").status_code == 200
        assert caller.get("/readyz").status_code == 200
        away.mend()
        for record_id in ids:
            record = mortal.wait_for_record(record_id, within=10)
            assert (record["outcome"], record["charge"]) == ("completed", 205_169)

    def test_a_known_key_is_not_told_that_it_is_unknown(
        self, mortal: GatewayProcess, key: IssuedKey, upstream: FakeUpstream, away: Line
    ) -> None:
        with calling(mortal, key) as caller:
            assert caller.get("/v1/models").status_code == 200
        with calling(mortal, headers={"authorization": "Bearer gwk_unknown"}) as stranger:
            assert stranger.get("/v1/models").status_code in (401, 503)

    def test_what_changed_meanwhile_is_in_force_once_it_is_back(
        self, mortal: GatewayProcess, upstream: FakeUpstream, line: Line, caller: httpx.Client
    ) -> None:
        doomed = mortal.issue_key("globex", "doomed")
        with calling(mortal, doomed) as other:
            assert other.post("/chat/pro", json=ask()).status_code == 200
            line.cut()
            mortal.clerk.manage("revoke_key", doomed.key_id)
            assert other.post("/chat/pro", json=ask()).status_code == 200
            line.mend()
            deadline = time.monotonic() + 3
            while other.post("/chat/pro", json=ask()).status_code != 401:
                assert time.monotonic() < deadline

    def test_a_death_while_it_is_away_loses_nothing(
        self, mortal: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, away: Line
    ) -> None:
        ids = _some_answers(caller, upstream)
        mortal.kill()
        away.mend()
        mortal.start()
        for record_id in ids:
            assert mortal.wait_for_record(record_id)["outcome"] == "completed"
