"""What requests reveal is heard by those who asked: once, and beside the request."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fake_upstream import USAGE, FakeUpstream, completion, whole
from tests.gateway_process import GatewayProcess, Row, eventually
from tests.proxy.conftest import ask, calling
from tests.proxy.terms import USED, budget, nano, terms

ENOUGH = 12


@pytest.fixture(scope="module")
def gateway(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    tenants: dict[str, Any] = {
        "filling": {
            "budgets": [
                budget(4 * USED, hard=False, alert_at=["25%", "50%", "100%"]),
                {"tokens": 84, "period": "day", "hard": False, "alert_at": ["100%"]},
            ]
        },
        "spent": {"budgets": [budget(USED // 10)]},
        "absorbing": {"budgets": [budget(10**9)]},
    }
    with GatewayProcess(
        tmp_path_factory.mktemp("alerts"), configuration=terms(upstream_server, tenants)
    ) as process:
        yield process


def _alerts(gateway: GatewayProcess, tenant: str, count: int) -> list[Row]:
    def look() -> list[Row] | None:
        rows = gateway.clerk.rows("tenants.Alert", tenant=tenant)
        return rows if len(rows) >= count else None

    return eventually(look, within=10, what=f"{count} alerts of {tenant}")


def test_each_threshold_is_told_once(gateway: GatewayProcess, upstream: FakeUpstream) -> None:
    with calling(gateway, gateway.issue_key("filling")) as caller:
        for _ in range(6):
            assert caller.post("/chat/pro", json=ask()).status_code == 200
    alerts = _alerts(gateway, "filling", 4)
    told = sorted((row["data"]["unit"], row["data"]["threshold"]) for row in alerts)
    assert told == [("USD", "100%"), ("USD", "25%"), ("USD", "50%"), ("tokens", "100%")]
    first = next(row for row in alerts if row["data"]["threshold"] == "25%")
    assert first["name"] == "budget.threshold"
    assert first["data"]["amount"] == nano(4 * USED).rstrip("0")
    assert first["data"]["used"] == nano(USED).rstrip("0")
    assert first["data"]["budget"] == "the tenant filling"


def test_a_budget_without_room_is_told_once(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    with calling(gateway, gateway.issue_key("spent")) as caller:
        for _ in range(3):
            assert caller.post("/chat/pro", json=ask()).status_code == 429
    (alert,) = _alerts(gateway, "spent", 1)
    assert alert["name"] == "budget.exhausted"


def test_what_is_absorbed_is_told(gateway: GatewayProcess, upstream: FakeUpstream) -> None:
    greedy = {**USAGE, "prompt_tokens": 1_000_000, "prompt_tokens_details": {}}
    upstream.at("first").answers(whole(completion(usage=greedy)))
    with calling(gateway, gateway.issue_key("absorbing")) as caller:
        answer = caller.post("/chat/pro", json=ask(max_tokens=ENOUGH))
    record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
    (alert,) = _alerts(gateway, "absorbing", 1)
    assert alert["name"] == "usage.absorbed"
    assert alert["data"]["record_id"] == str(record["record_id"])
    assert alert["data"]["amount"] == nano(record["absorbed"]).rstrip("0")
