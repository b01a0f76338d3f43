"""What a running gateway recorded, replayed under what is in force and under drafts."""

import json
from pathlib import Path

from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess
from tests.proxy.conftest import Issue, ask, calling


def test_requests_of_a_running_gateway_cost_in_the_replay_what_they_cost(
    gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue, tmp_path: Path
) -> None:
    key = issue()
    with calling(gateway, key) as caller:
        answers = [caller.post("/chat/pro", json=ask(stream=place % 2 == 0)) for place in range(6)]
        answers.append(caller.post("/chat/pro", json=ask(user="ada", max_tokens=20)))
    for answer in answers:
        assert answer.status_code == 200
        gateway.wait_for_record(answer.headers["x-gateway-record-id"])
    exported = tmp_path / "exported.yaml"
    gateway.clerk.manage("export_config", "--out", exported)
    found = json.loads(gateway.clerk.manage("simulate", exported, "--since", "1h", "--json"))
    assert found["changes"] == []
    [row] = [row for row in found["rows"] if (row["tenant"], row["alias"]) == ("acme", "pro")]
    assert row["before"]["requests"] >= len(answers)
    assert (row["refused"], row["moved"]) == (0, 0)
    assert row["before"] == row["after"]
    assert row["before"]["charge"] != "0"
