"""Budgets hold: what is settled and what is reserved never exceed them together."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    answer_frames,
    completion,
    failing,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.proxy.conftest import HELLO, ask, calling
from tests.proxy.terms import INPUT, OUTPUT, USED, all_at_once, budget, terms

SMALL = {"max_tokens": 12}
"""As much as the upstream's usual answer has."""


def bytes_of(body: dict[str, Any]) -> int:
    """The size of a body as httpx writes it, which bounds its input tokens."""
    return len(httpx.Request("POST", "http://x", json=body).content)


WORST = bytes_of(ask(**SMALL)) * INPUT + 12 * OUTPUT


@pytest.fixture(scope="module")
def gateway(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    tenants = {
        "crowd": {"budgets": [budget(40 * USED)]},
        "spent": {"budgets": [budget(WORST + USED, "day")]},
        "narrow": {"budgets": [budget(400 * OUTPUT + 200 * INPUT)]},
        "tiny": {"budgets": [budget(100 * INPUT)]},
        "absorbing": {"budgets": [budget(10**9)]},
        "people": {"budgets": [budget(WORST + 15 * INPUT, "day", scope="user")]},
        "labelled": {"budgets": [budget(WORST + 10, "week", scope="label:team=search")]},
        "by-alias": {"budgets": [budget(WORST + 10, "hour", scope="alias:both")]},
        "projects": {"projects": {"bot": {"budgets": [budget(WORST + 10, "total")]}, "other": {}}},
        "keys": {"keys": [{"name": "poor", "budgets": [budget(WORST + 10)]}]},
        "counting": {"budgets": [{"tokens": 400, "period": "month"}]},
        "soft": {"budgets": [budget(USED, hard=False)]},
        "leaving": {"budgets": [budget(10**9)], "on_disconnect": "reserved"},
        "tiered": {"tier": "free"},
        "restarted": {"budgets": [budget(WORST + 2 * USED)]},
        "east": {"timezone": "Asia/Tokyo"},
        "west": {"timezone": "America/Lima"},
        "mixed": {"budgets": [budget(10**9)]},
    }
    gateway = {"budgets": [{**budget(WORST + USED + 100, "month"), "scope": "alias:world"}]}
    tiers = {"free": {"budgets": [budget(WORST + 10)]}}
    document = terms(upstream_server, tenants, tiers=tiers, gateway=gateway)
    document["aliases"]["world"] = {**document["aliases"]["strict"]}
    with GatewayProcess(tmp_path_factory.mktemp("budgets"), configuration=document) as process:
        yield process


Case = tuple[httpx.Client, IssuedKey]


@pytest.fixture
def of(gateway: GatewayProcess, upstream: FakeUpstream) -> Any:
    """A client of a tenant."""
    clients = []

    def client(tenant: str, name: str = "worker", **options: Any) -> httpx.Client:
        clients.append(calling(gateway, gateway.issue_key(tenant, name, **options)))
        return clients[-1]

    yield client
    for one in clients:
        one.close()


def charges(gateway: GatewayProcess, tenant: str, count: int) -> list[int]:
    return [row["charge"] for row in gateway.wait_for_records(count, tenant=tenant)]


def test_two_hundred_callers_at_once_do_not_overshoot_a_budget_worth_forty_requests(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    key = gateway.issue_key("crowd")
    upstream.at("first").always_answers(whole(completion(), after=0.01))
    answers = all_at_once(
        gateway, key, "/chat/strict", [ask(**SMALL) for _ in range(400)], most=200
    )
    good = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 429}
    settled = charges(gateway, "crowd", len(good))
    assert sum(settled) <= 40 * USED
    assert settled == [USED] * len(good)


def test_a_spent_budget_refuses_before_the_upstream_is_called(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    caller = of("spent")
    for _ in range(2):
        assert caller.post("/chat/strict", json=ask(**SMALL)).status_code == 200
    asked = len(upstream.received)
    refused = caller.post("/chat/strict", json=ask(**SMALL))
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "insufficient_quota"
    assert "per day of the tenant spent" in error["message"]
    assert "it resets at" in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert 0 < int(refused.headers["retry-after"]) <= 86400
    assert "x-gateway-record-id" not in refused.headers
    assert len(upstream.received) == asked
    assert len(gateway.wait_for_records(2, tenant="spent")) == 2


def test_a_short_budget_holds_the_answer_to_what_fits(of: Any, upstream: FakeUpstream) -> None:
    body = ask(max_tokens=900)
    answer = of("narrow").post("/chat/pro", json=body)
    fits = (400 * OUTPUT + 200 * INPUT - bytes_of(body) * INPUT) // OUTPUT
    assert answer.headers["x-gateway-max-tokens-clamped"] == str(fits)
    assert upstream.received[0].json() == {**body, "model": "gpt-first", "max_tokens": fits}


def test_a_request_without_a_bound_gets_the_models_where_a_budget_is_hard(
    of: Any, upstream: FakeUpstream
) -> None:
    caller = of("absorbing")
    assert "x-gateway-max-tokens-clamped" not in caller.post("/chat/pro", json=ask()).headers
    assert upstream.received[0].json()["max_tokens"] == 1000


def test_a_model_without_a_bound_gets_what_the_budget_has_room_for(
    of: Any, upstream: FakeUpstream
) -> None:
    answer = of("narrow").post("/chat/boundless", json=ask())
    sent = upstream.received[0].json()["max_tokens"]
    assert answer.status_code == 200
    assert 16 <= sent < 400
    assert answer.headers["x-gateway-max-tokens-clamped"] == str(sent)


def test_a_budget_too_small_for_any_answer_refuses(of: Any) -> None:
    assert of("tiny").post("/chat/pro", json=ask()).json()["error"]["code"] == "insufficient_quota"


def test_what_a_provider_reports_beyond_the_bound_is_absorbed(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    greedy = {**USAGE, "prompt_tokens": 1_000_000, "prompt_tokens_details": {}}
    upstream.at("first").answers(whole(completion(usage=greedy)))
    body = ask(**SMALL)
    answer = of("absorbing").post("/chat/pro", json=body)
    record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
    assert record["input_tokens"] == 1_000_000
    assert record["charge"] == record["reserved"] == WORST
    assert record["absorbed"] == 1_000_000 * INPUT + 12 * OUTPUT - WORST
    assert record["cost"] == 1_000_000 * INPUT + 12 * OUTPUT


@pytest.mark.parametrize(
    ("tenant", "same", "other"),
    [
        ("people", {"json": ask(**SMALL, user="ann")}, {"json": ask(**SMALL, user="bob")}),
        (
            "labelled",
            {"json": ask(**SMALL), "headers": {"x-gateway-labels": "team=search"}},
            {"json": ask(**SMALL), "headers": {"x-gateway-labels": "team=other"}},
        ),
        (
            "projects",
            {"json": ask(**SMALL), "headers": {"x-gateway-project": "bot"}},
            {"json": ask(**SMALL), "headers": {"x-gateway-project": "other"}},
        ),
    ],
)
def test_a_budget_of_one_scope_leaves_others_alone(
    of: Any, tenant: str, same: Any, other: Any
) -> None:
    caller = of(tenant)
    assert caller.post("/chat/strict", **same).status_code == 200
    assert caller.post("/chat/strict", **same).status_code == 429
    assert caller.post("/chat/strict", **other).status_code == 200


def test_a_budget_of_an_alias_counts_that_alias(of: Any) -> None:
    caller = of("by-alias")
    assert caller.post("/chat/both", json=ask(**SMALL)).status_code == 200
    assert caller.post("/chat/both", json=ask(max_tokens=900)).status_code == 429
    assert caller.post("/chat/pro", json=ask(max_tokens=900)).status_code == 200


def test_a_budget_of_a_key_counts_the_keys_of_that_name(of: Any) -> None:
    assert of("keys", "poor").post("/chat/strict", json=ask(**SMALL)).status_code == 200
    assert of("keys", "poor").post("/chat/strict", json=ask(**SMALL)).status_code == 429
    assert of("keys", "rich").post("/chat/strict", json=ask(**SMALL)).status_code == 200


def test_a_tiers_budget_is_its_tenants(of: Any) -> None:
    caller = of("tiered")
    assert caller.post("/chat/strict", json=ask(**SMALL)).status_code == 200
    assert caller.post("/chat/strict", json=ask(**SMALL)).status_code == 429


def test_a_budget_of_tokens_counts_tokens(of: Any) -> None:
    caller = of("counting")
    left = 400
    while left >= bytes_of(ask(**SMALL)) + 12:
        answer = caller.post("/chat/strict", json=ask(**SMALL))
        assert answer.status_code == 200
        left -= 42
    refused = caller.post("/chat/strict", json=ask(**SMALL))
    assert refused.status_code == 429
    assert (
        f"400 tokens per month of the tenant counting has no room for this request: {left}"
        in (refused.json()["error"]["message"])
    )


def test_a_soft_budget_only_counts(of: Any) -> None:
    caller = of("soft")
    answers = [caller.post("/chat/pro", json=ask()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].headers["x-gateway-budget-remaining"] is not None
    assert answers[2].headers["x-gateway-budget-remaining"] == "0"


def test_an_alias_caps_its_answers(of: Any, upstream: FakeUpstream) -> None:
    caller = of("soft")
    capped = caller.post("/chat/short", json=ask(max_tokens=900))
    within = caller.post("/chat/short", json=ask(max_completion_tokens=50))
    assert capped.headers["x-gateway-max-tokens-clamped"] == "100"
    assert "x-gateway-max-tokens-clamped" not in within.headers
    first, second = upstream.received
    assert (first.json()["max_tokens"], second.json()["max_completion_tokens"]) == (100, 50)


def test_failed_and_interrupted_requests_free_what_they_reserved(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    caller = of("absorbing")
    before = caller.post("/chat/pro", json=ask(**SMALL)).headers["x-gateway-budget-remaining"]
    upstream.at("first").answers(failing(500), stream(answer_frames(3)[:2], ends="rst"))
    assert caller.post("/chat/pro", json=ask(**SMALL)).status_code == 502
    assert caller.post("/chat/pro", json=ask(**SMALL, stream=True)).status_code in (200, 502)
    after = caller.post("/chat/pro", json=ask(**SMALL)).headers["x-gateway-budget-remaining"]
    assert float(before) - float(after) < 3 * USED / 10**9


def test_a_restart_forgets_nothing_that_was_spent(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    caller = of("restarted")
    for _ in range(3):
        assert caller.post("/chat/strict", json=ask(**SMALL)).status_code == 200
    gateway.kill()
    gateway.start()
    assert of("restarted").post("/chat/strict", json=ask(**SMALL)).status_code == 429


def test_an_answer_in_another_dialect_is_held_to_the_clamp_too(
    of: Any, upstream: FakeUpstream
) -> None:
    body = {"model": "short", "max_tokens": 900, "messages": [HELLO]}
    answer = of("soft").post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-max-tokens-clamped"] == "100"
    assert json.loads(upstream.received[0].body)["max_tokens"] == 100


def test_the_gateways_budget_counts_tenants_of_every_timezone_together_and_keeps_its_numbers(
    of: Any,
) -> None:
    east, west = of("east"), of("west")
    body = ask(**SMALL)
    statuses = [caller.post("/chat/world", json=body).status_code for caller in (east, west)]
    refused = west.post("/chat/world", json=body)
    assert statuses == [200, 200]
    assert refused.status_code == 429
    message = refused.json()["error"]["message"]
    assert "per month of the alias world of the gateway" in message
    assert not any(character.isdigit() for character in message.partition("; it resets")[0])


def test_an_answer_cannot_be_asked_to_outgrow_its_reservation(
    of: Any, upstream: FakeUpstream
) -> None:
    answer = of("mixed").post("/chat/pro", json=ask(max_tokens=50_000))
    assert upstream.received[0].json()["max_tokens"] == 1000
    assert answer.headers["x-gateway-max-tokens-clamped"] == "1000"


def test_two_bounds_in_one_body_reserve_the_larger(of: Any, upstream: FakeUpstream) -> None:
    before = of("mixed").post("/chat/pro", json=ask(max_tokens=1))
    both = of("mixed").post("/chat/pro", json=ask(max_tokens=900, max_completion_tokens=1))
    held = [float(answer.headers["x-gateway-budget-remaining"]) for answer in (before, both)]
    assert held[0] - held[1] > 800 * OUTPUT / 10**9


def test_what_is_left_is_told_rightly_after_a_fallback(of: Any, upstream: FakeUpstream) -> None:
    caller = of("mixed")
    first = caller.post("/chat/both", json=ask(**SMALL))
    upstream.at("first").answers(failing(500))
    second = caller.post("/chat/both", json=ask(**SMALL))
    assert second.headers["x-gateway-model"] == "second-model"
    left = [float(answer.headers["x-gateway-budget-remaining"]) for answer in (first, second)]
    assert 0 < left[0] - left[1] < 3 * WORST / 10**9
