"""Limits hold over every scope at once, and a refused request takes nothing."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fake_upstream import (
    FakeUpstream,
    Wire,
    answer_frames,
    completion,
    failing,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.configuration import alias
from tests.proxy.conftest import ask, calling
from tests.proxy.terms import all_at_once, press, terms

TOKENS = 42
"""What the upstream's usual answer uses."""


@pytest.fixture(scope="module")
def gateway(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    tenants = {
        "slow": {"limits": {"requests_per_hour": 3}},
        "bursting": {"limits": {"requests_per_second": {"amount": 20, "burst": 2}}},
        "pressed": {"limits": {"requests_per_second": 50}},
        "wordy": {"limits": {"tokens_per_second": 4200}},
        "frugal": {"limits": {"tokens_per_hour": 200}},
        "few": {"limits": {"concurrency": 3}},
        "people": {"limits": {"per_user": {"requests_per_day": 1}}},
        "aliases": {"limits": {"per_alias": {"both": {"requests_per_day": 1}}}},
        "models": {"limits": {"per_model": {"first-model": {"requests_per_day": 1}}}},
        "projects": {"projects": {"bot": {"limits": {"requests_per_day": 1}}}},
        "keys": {"keys": [{"name": "slow", "limits": {"requests_per_day": 1}}]},
        "tiered": {"tier": "free", "limits": {"concurrency": 5}},
        "several": {
            "limits": {"requests_per_day": 10, "per_user": {"requests_per_day": 1}},
        },
        "free": {},
        "stated": {"limits": {"tokens_per_hour": 10_000}},
        "second-only": {"limits": {"per_model": {"narrow-model": {"requests_per_day": 1}}}},
    }
    document = terms(
        upstream_server,
        tenants,
        tiers={"free": {"limits": {"requests_per_day": 1, "concurrency": 1}}},
        gateway={"limits": {"per_alias": {"short": {"requests_per_day": 4}}}},
    )
    document["models"]["guarded-model"] = {
        **document["models"]["second-model"],
        "limits": {"requests_per_day": 2},
    }
    document["aliases"]["guarded"] = alias("first-model", "guarded-model")
    document["price_books"]["cost"]["versions"][0]["prices"]["guarded-model"] = {
        "input": "1",
        "output": "10",
    }
    with GatewayProcess(tmp_path_factory.mktemp("limits"), configuration=document) as process:
        yield process


@pytest.fixture
def of(gateway: GatewayProcess, upstream: FakeUpstream) -> Iterator[Any]:
    clients = []

    def client(tenant: str, name: str = "worker", **options: Any) -> httpx.Client:
        clients.append(calling(gateway, gateway.issue_key(tenant, name, **options)))
        return clients[-1]

    yield client
    for one in clients:
        one.close()


def test_the_refusal_names_the_limit_its_scope_and_window(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    caller = of("slow")
    answers = [caller.post("/chat/pro", json=ask()) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    first, refused = answers[0], answers[3]
    assert first.headers["x-ratelimit-limit-requests"] == "3"
    assert first.headers["x-ratelimit-remaining-requests"] == "2"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    error = refused.json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "3 requests per hour of the tenant slow" in error["message"]
    assert 1190 <= int(refused.headers["retry-after"]) <= 1200
    assert len(upstream.received) == 3
    eventually(
        lambda: gateway.refusals(tenant="slow").get("rate_limit_exceeded"), within=5, what="a count"
    )


def test_a_bucket_below_the_amount_bounds_a_burst(of: Any) -> None:
    caller = of("bursting")
    statuses = [caller.post("/chat/pro", json=ask()).status_code for _ in range(3)]
    assert statuses[:2] == [200, 200]


@pytest.mark.parametrize(
    ("tenant", "amount", "each"), [("pressed", 50, 1), ("wordy", 4200, TOKENS)]
)
def test_endless_demand_uses_the_limit_and_never_more(
    gateway: GatewayProcess, upstream: FakeUpstream, tenant: str, amount: int, each: int
) -> None:
    """In a window of t seconds at most N + N·t."""
    good, until_refused, seconds = press(
        gateway, gateway.issue_key(tenant), "/chat/pro", ask(max_tokens=12), callers=4, seconds=4
    )
    assert good * each <= amount + amount * seconds
    assert good * each >= 0.97 * (amount + amount * until_refused)
    assert until_refused > 1


class Watch:
    """A script that notes how many requests were with the upstream at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self, wire: Wire) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        wire.wait(0.02)
        with self._lock:
            self._now -= 1
        whole(completion())(wire)


def test_concurrency_is_never_exceeded_and_given_back(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    watch = Watch()
    upstream.at("first").always_answers(watch)
    key = gateway.issue_key("few")
    answers = all_at_once(gateway, key, "/chat/pro", [ask()] * 100, most=20)
    statuses = [answer.status_code for answer in answers]
    assert watch.most == 3
    assert set(statuses) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "3 concurrent requests of the tenant few" in refused.json()["error"]["message"]
    with calling(gateway, key) as caller:
        assert [caller.post("/chat/pro", json=ask()).status_code for _ in range(5)] == [200] * 5


def test_streams_failures_and_hang_ups_give_their_slot_back(
    of: Any, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    caller = of("few")
    place = upstream.at("first")
    for _ in range(4):
        place.answers(failing(500))
        caller.post("/chat/pro", json=ask())
        place.answers(stream(answer_frames(5)[:3], ends="rst"))
        caller.post("/chat/pro", json=ask(stream=True))
        place.answers(stream(answer_frames(50), pace=0.05))
        with caller.stream("POST", "/chat/pro", json=ask(stream=True)) as hanging:
            next(hanging.iter_bytes())
    deadline = time.monotonic() + 3
    while caller.post("/chat/pro", json=ask()).status_code != 200:
        assert time.monotonic() < deadline


def test_a_request_larger_than_a_whole_bucket_is_refused_by_name(of: Any) -> None:
    answer = of("frugal").post("/chat/pro", json=ask(max_tokens=500))
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "200 tokens per hour of the tenant frugal" in message


def test_tokens_are_corrected_by_what_was_used(of: Any) -> None:
    caller = of("frugal")
    answers = [caller.post("/chat/pro", json=ask(max_tokens=12)) for _ in range(4)]
    left = [answer.headers.get("x-ratelimit-remaining-tokens") for answer in answers]
    reserved = 200 - int(left[0] or 0)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [int(text) for text in left[:3] if text] == [
        200 - reserved - number * TOKENS for number in range(3)
    ]


@pytest.mark.parametrize(
    ("tenant", "same", "other"),
    [
        (
            "people",
            {"url": "/chat/pro", "json": ask(user="ann")},
            {"url": "/chat/pro", "json": ask(user="bob")},
        ),
        (
            "aliases",
            {"url": "/chat/both", "json": ask()},
            {"url": "/chat/pro", "json": ask()},
        ),
        (
            "models",
            {"url": "/chat/pro", "json": ask()},
            {"url": "/chat/both", "json": ask()},
        ),
        (
            "projects",
            {"url": "/chat/pro", "json": ask(), "headers": {"x-gateway-project": "bot"}},
            {"url": "/chat/pro", "json": ask()},
        ),
    ],
)
def test_a_limit_of_one_scope_leaves_others_alone(
    of: Any, tenant: str, same: Any, other: Any
) -> None:
    caller = of(tenant)
    assert caller.post(**same).status_code == 200
    assert caller.post(**same).status_code == 429
    assert caller.post(**other).status_code == 200


def test_a_target_without_room_is_passed_over(of: Any) -> None:
    caller = of("models")
    answer = caller.post("/chat/both", json=ask())
    assert answer.headers["x-gateway-model"] == "second-model"


def test_a_limit_of_a_key_counts_the_keys_of_that_name(of: Any) -> None:
    assert of("keys", "slow").post("/chat/pro", json=ask()).status_code == 200
    assert of("keys", "slow").post("/chat/pro", json=ask()).status_code == 429
    assert of("keys", "quick").post("/chat/pro", json=ask()).status_code == 200


def test_a_tenants_own_value_wins_over_its_tiers_field_by_field(of: Any) -> None:
    caller = of("tiered")
    answer = caller.post("/chat/pro", json=ask())
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert caller.post("/chat/pro", json=ask()).status_code == 429


def test_a_refused_request_takes_nothing(of: Any) -> None:
    caller = of("several")
    caller.post("/chat/pro", json=ask(user="ann"))
    for _ in range(5):
        assert caller.post("/chat/pro", json=ask(user="ann")).status_code == 429
    answer = caller.post("/chat/pro", json=ask(user="bob"))
    assert answer.status_code == 200
    last = [caller.post("/chat/pro", json=ask(user=f"u{n}")).status_code for n in range(9)]
    assert last == [200] * 8 + [429]


def test_a_key_of_another_tier_is_held_to_it_user_by_user(of: Any) -> None:
    caller = of("free", tier="free")
    assert caller.post("/chat/pro", json=ask(user="ann")).status_code == 200
    refused = caller.post("/chat/pro", json=ask(user="ann"))
    assert "the user ann of the tenant free" in refused.json()["error"]["message"]
    assert caller.post("/chat/pro", json=ask(user="bob")).status_code == 200


def test_the_gateways_own_limits_hold_for_all_tenants_together(of: Any) -> None:
    one, other = of("free"), of("few")
    statuses = [caller.post("/chat/short", json=ask()).status_code for caller in (one, other) * 2]
    refused = one.post("/chat/short", json=ask())
    assert statuses == [200] * 4
    assert refused.status_code == 429
    assert (
        "4 requests per day of the alias short of the gateway"
        in (refused.json()["error"]["message"])
    )


def test_what_the_gateway_has_left_is_nobodys_business(of: Any) -> None:
    assert "x-ratelimit-limit-requests" not in of("free").post("/chat/short", json=ask()).headers


def test_an_error_in_another_dialect_says_the_same(of: Any) -> None:
    caller = of("keys", "slow")
    body = {"model": "pro", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    answer = caller.post("/v1/messages", json=body)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert (
        "1 requests per day of the key slow of the tenant keys"
        in (answer.json()["error"]["message"])
    )


def test_requests_wait_their_turn_for_a_provider(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    watch = Watch()
    upstream.at("narrow").always_answers(watch)
    key = gateway.issue_key("free")
    answers = all_at_once(gateway, key, "/chat/narrow", [ask()] * 20, most=20)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert watch.most == 2


def test_a_flood_does_not_starve_another_tenant_of_a_provider(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    upstream.at("narrow").always_answers(whole(completion(), after=0.02))
    flood = gateway.issue_key("free")
    stop = threading.Event()

    def press_on() -> None:
        while not stop.is_set():
            all_at_once(gateway, flood, "/chat/narrow", [ask()] * 60, most=60)

    crowd = threading.Thread(target=press_on)
    crowd.start()
    try:
        with calling(gateway, gateway.issue_key("wordy")) as caller:
            took = []
            for _ in range(20):
                began = time.monotonic()
                answer = caller.post("/chat/narrow", json=ask())
                took.append(time.monotonic() - began)
                assert answer.status_code == 200
    finally:
        stop.set()
        crowd.join()
    assert sorted(took)[10] < 0.25


def test_a_line_that_is_full_or_too_slow_says_so(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    upstream.at("hurried").always_answers(whole(completion(), after=0.5))
    key = gateway.issue_key("free")
    answers = all_at_once(gateway, key, "/chat/hurried", [ask()] * 6, most=6)
    refused = [answer for answer in answers if answer.status_code == 503]
    messages = [answer.json()["error"]["message"] for answer in refused]
    assert len(answers) - len(refused) == 1
    assert any("Too many requests wait" in message for message in messages)
    assert any("longer than 0.1 s" in message for message in messages)
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_who_leaves_the_line_takes_nothing(gateway: GatewayProcess, upstream: FakeUpstream) -> None:
    release = threading.Event()
    upstream.at("narrow").always_answers(whole(completion(), after=release))
    key = gateway.issue_key("free")
    holders = [threading.Thread(target=_post, args=[gateway, key]) for _ in range(2)]
    for holder in holders:
        holder.start()
    eventually(
        lambda: len(upstream.at_path("narrow")) == 2 or None, within=5, what="two at the provider"
    )
    with pytest.raises(httpx.ReadTimeout), calling(gateway, key) as impatient:
        impatient.post("/chat/narrow", json=ask(), timeout=0.2)
    release.set()
    for holder in holders:
        holder.join()
    with calling(gateway, key) as caller:
        assert caller.post("/chat/narrow", json=ask()).status_code == 200
    assert len(upstream.at_path("narrow")) == 3


def _post(gateway: GatewayProcess, key: IssuedKey) -> None:
    with calling(gateway, key) as caller:
        caller.post("/chat/narrow", json=ask())


def test_a_fallback_meets_the_limits_of_its_own_target(of: Any, upstream: FakeUpstream) -> None:
    caller = of("free")
    upstream.at("first").always_answers(failing(500))
    statuses = [caller.post("/chat/guarded", json=ask()).status_code for _ in range(4)]
    assert statuses[:2] == [200, 200]
    assert 200 not in statuses[2:]
    assert len(upstream.at_path("second")) == 2


def test_tokens_are_taken_as_the_caller_states_them(of: Any) -> None:
    answer = of("stated").post("/chat/pro", json=ask(max_tokens=900))
    assert 10_000 - 1_100 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 10_000 - 900


def test_a_refusal_tells_what_is_left_of_the_limit(of: Any) -> None:
    caller = of("keys", "slow")
    refused = [caller.post("/chat/pro", json=ask()) for _ in range(2)][-1]
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_who_is_short_of_something_else_does_not_hold_up_a_provider(
    of: Any, upstream: FakeUpstream
) -> None:
    spent, other = of("second-only"), of("free")
    assert spent.post("/chat/narrow", json=ask()).status_code == 200
    refused = spent.post("/chat/narrow", json=ask())
    assert refused.status_code == 429
    began = time.monotonic()
    assert other.post("/chat/narrow", json=ask()).status_code == 200
    assert time.monotonic() - began < 1
