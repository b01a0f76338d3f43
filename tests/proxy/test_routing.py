"""Routes, pools, retries and breakers on real sockets. Every test has providers of its own, so that
what one takes out is nobody else's trouble."""

import threading
import time
from collections import Counter
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
    silent,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.configuration import books, provider
from tests.proxy.conftest import ask, calling

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TRIPS = {"failures": 2, "window": "30s", "cooldown": "1s"}


def _pool(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """Credentials whose secrets are their names; `spare` has no weight."""
    return [
        {
            "name": name,
            "secret": f"sk-{name}",
            "weight": 0 if name.startswith("spare") else 1,
            **fields.get(name, {}),
        }
        for name in names
    ]


def _targets(*models: str, **fields: Any) -> dict[str, Any]:
    return {"targets": [{"model": model} for model in models], **fields}


def _document(upstream: FakeUpstream) -> dict[str, Any]:
    def at(name: str, **fields: Any) -> dict[str, Any]:
        return provider(upstream.url(name), **fields)

    org = {"account": "org-1"}
    providers = {
        **{name: at(name) for name in ("a", "b", "big", "busy", "idle", "late", "quick")},
        "pooled": at("pooled", credentials=_pool("main", "spare")),
        "shared": at(
            "shared",
            credentials=_pool("main", "spare-twin", "spare-z", main=org, **{"spare-twin": org}),
        ),
        "locked": at("locked", credentials=_pool("main", "spare")),
        "alone": at("alone"),
        "failing": at("failing", breaker=TRIPS),
        "failing-b": at("failing-b", breaker=TRIPS),
        "hurried": at("hurried", breaker=TRIPS),
        "again": at("again", retries={"attempts": 2, "backoff": "10ms"}),
        "later": at("later", retries={"attempts": 1, "retry_on": ["rate_limit"]}),
        "mute": at("mute"),
        "drowsy": at("drowsy"),
    }
    names = [*providers, "cheap", "dear", "small", "large"]
    hosts = {"cheap": "a", "dear": "b", "small": "a", "large": "b"}
    more = {
        "small": {"context_window": 50},
        "large": {"context_window": 100_000},
        "dear": {"max_output_tokens": 1000},
        "cheap": {"max_output_tokens": 1000},
    }
    models = {
        name: {"provider": hosts.get(name, name), "upstream": f"gpt-{name}", **more.get(name, {})}
        for name in names
    }
    prices: dict[str, Any] = {name: {"input": "1", "output": "1"} for name in names}
    prices["dear"] = {"input": "100", "output": "500"}
    return {
        "version": 1,
        "providers": providers,
        "models": models,
        "price_books": books(**prices),
        "aliases": {
            "sorted": {
                "routes": [
                    _targets("big", when={"has": ["images"]}),
                    _targets("quick", when={"has": ["tools", "json_schema"]}),
                    _targets("b", when={"input_tokens": {"min": 200}}),
                    _targets("late", when={"complexity": "complex"}),
                    _targets("idle", when={"time": "00:00-00:00", "label": {"env": "dev"}}),
                    _targets("a", when={"complexity": "simple"}),
                ]
            },
            "thrifty": {
                "routes": [_targets("a", when={"budget_used": {"min": "50%"}}), _targets("b")]
            },
            "sides": {"routes": [_targets("a", "b", sticky="user")]},
            "in-turn": {"routes": [_targets("a", "b", strategy="round_robin")]},
            "cheapest": {"routes": [_targets("dear", "cheap", strategy="cost")]},
            "least-busy": {"routes": [_targets("busy", "idle", strategy="least_busy")]},
            "quickest": {"routes": [_targets("late", "quick", strategy="latency")]},
            "capped": {"routes": [_targets("dear")], "max_cost_per_request": "0.01"},
            "capped-safe": {
                "routes": [_targets("dear")],
                "fallbacks": ["cheap"],
                "max_cost_per_request": "0.01",
            },
            "windows": {"routes": [_targets("small")], "fallbacks": ["large"]},
            "broken-safe": {"routes": [_targets("failing-b")], "fallbacks": ["a"]},
            "again-never": {"routes": [_targets("again")], "retries": {"attempts": 0}},
            "impatient": {
                "routes": [_targets("mute")],
                "fallbacks": ["a"],
                "fallback_on": ["slow"],
                "slow": {"first_byte": "300ms"},
            },
            "lively": {
                "routes": [_targets("drowsy")],
                "fallbacks": ["a"],
                "fallback_on": ["slow"],
                "slow": {"tokens_per_second": 50},
            },
            "impatient-alone": {
                "routes": [_targets("late")],
                "fallback_on": ["slow"],
                "slow": {"first_byte": "100ms"},
            },
            **{
                name: {"routes": [_targets(name)]}
                for name in (
                    *("pooled", "shared", "locked", "alone", "failing", "hurried"),
                    *("again", "later"),
                )
            },
        },
        "tenants": {
            "acme": {"price_book": "standard"},
            "thrifty": {
                "price_book": "standard",
                "budgets": [{"amount": "0.0001", "period": "month", "hard": False}],
            },
        },
    }


@pytest.fixture(scope="module")
def routed(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("routed")
    with GatewayProcess(folder, configuration=_document(upstream_server)) as process:
        yield process


@pytest.fixture(scope="module")
def routed_key(routed: GatewayProcess) -> IssuedKey:
    return routed.issue_key("acme")


@pytest.fixture
def caller(routed: GatewayProcess, routed_key: IssuedKey) -> Iterator[httpx.Client]:
    with calling(routed, routed_key) as client:
        yield client


def _model_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-gateway-model"]


def _roles(routed: GatewayProcess, answer: httpx.Response) -> list[tuple[str, str, str]]:
    record = routed.wait_for_record(answer.headers["x-gateway-record-id"])
    attempts = sorted(routed.attempts(record["record_id"]), key=lambda row: row["ordinal"])
    return [(row["role"], row["credential"], row["error_kind"]) for row in attempts]


def _used(upstream: FakeUpstream, place: str) -> list[str]:
    """The secrets that reached a place."""
    headers = [request.header("authorization") or "" for request in upstream.at_path(place)]
    return [header.removeprefix("Bearer sk-") for header in headers]


# ---- conditions


@pytest.mark.parametrize(
    ("body", "headers", "model"),
    [
        (ask(), {}, "a"),
        (ask(messages=[{"role": "user", "content": [IMAGE]}]), {}, "big"),
        (
            ask(
                tools=[TOOL],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "object"}},
                },
            ),
            {},
            "quick",
        ),
        (ask(messages=[{"role": "user", "content": "word " * 300}]), {}, "b"),
        (
            ask(messages=[{"role": "user", "content": "Why?\n```\nx = 1\n```"}]),
            {},
            "late",
        ),
        (ask(), {"x-gateway-labels": "env=dev"}, "idle"),
    ],
    ids=["simple", "images", "tools and schema", "long", "complex", "hours and label"],
)
def test_the_first_route_that_holds_decides(
    caller: httpx.Client,
    upstream: FakeUpstream,
    body: dict[str, Any],
    headers: dict[str, str],
    model: str,
) -> None:
    assert _model_of(caller.post("/chat/sorted", json=body, headers=headers)) == model


def test_a_route_can_wait_for_a_budget_to_be_used(
    routed: GatewayProcess, upstream: FakeUpstream
) -> None:
    with calling(routed, routed.issue_key("thrifty")) as caller:
        models = [_model_of(caller.post("/chat/thrifty", json=ask())) for _ in range(4)]
    assert models == ["b", "b", "a", "a"]


# ---- strategies


def test_a_user_stays_on_its_side(caller: httpx.Client, upstream: FakeUpstream) -> None:
    sides: dict[str, set[str]] = {}
    for number in range(40):
        user = f"user-{number % 20}"
        answer = caller.post("/chat/sides", json=ask(user=user))
        sides.setdefault(user, set()).add(_model_of(answer))
    assert all(len(models) == 1 for models in sides.values())
    assert set.union(*sides.values()) == {"a", "b"}


def test_round_robin_takes_turns(caller: httpx.Client, upstream: FakeUpstream) -> None:
    models = [_model_of(caller.post("/chat/in-turn", json=ask())) for _ in range(6)]
    assert models[:2] * 3 == models
    assert set(models) == {"a", "b"}


def test_the_cheapest_answers(caller: httpx.Client, upstream: FakeUpstream) -> None:
    models = Counter(_model_of(caller.post("/chat/cheapest", json=ask())) for _ in range(5))
    assert models == {"cheap": 5}


def test_the_least_busy_answers(
    routed: GatewayProcess, routed_key: IssuedKey, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    let_go = threading.Event()
    for place in ("busy", "idle"):
        upstream.at(place).answers(whole(completion(), after=let_go))
    with calling(routed, routed_key) as other:
        waiting = threading.Thread(
            target=other.post, args=["/chat/least-busy"], kwargs={"json": ask()}
        )
        waiting.start()
        while not upstream.received:
            time.sleep(0.01)
        held = upstream.received[0].path.split("/")[1]
        upstream.at("idle" if held == "busy" else "busy").queue.clear()
        models = {_model_of(caller.post("/chat/least-busy", json=ask())) for _ in range(5)}
        let_go.set()
        waiting.join()
    assert models == {"idle" if held == "busy" else "busy"}


def test_the_quickest_answers_once_it_is_known(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("late").always_answers(whole(completion(), after=1.5))
    tried: set[str] = set()
    while tried != {"quick", "late"}:  # drawn at random until each is known
        tried.add(_model_of(caller.post("/chat/quickest", json=ask())))
    models = Counter(_model_of(caller.post("/chat/quickest", json=ask())) for _ in range(6))
    assert models == {"quick": 6}


# ---- what a model can take, and what it may cost


def test_what_is_too_long_for_one_model_goes_to_another(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    assert _model_of(caller.post("/chat/windows", json=ask())) == "small"
    long = ask(messages=[{"role": "user", "content": "word " * 300}])
    assert _model_of(caller.post("/chat/windows", json=long)) == "large"


def test_what_may_cost_too_much_is_refused_or_goes_to_a_cheaper_model(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    refused = caller.post("/chat/capped", json=ask())
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert "max_cost_per_request" in refused.text
    assert _model_of(caller.post("/chat/capped", json=ask(max_tokens=4))) == "dear"
    assert _model_of(caller.post("/chat/capped-safe", json=ask())) == "cheap"


# ---- the pool


def test_a_cooled_down_credential_leaves_the_request_to_the_spare_one(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("pooled").answers(failing(429, retry_after="60"))
    answer = caller.post("/chat/pooled", json=ask())
    assert _roles(routed, answer) == [("first", "main", "rate_limit"), ("retry", "spare", "")]
    assert answer.headers["x-gateway-attempts"] == "2"
    assert caller.post("/chat/pooled", json=ask()).status_code == 200
    assert _used(upstream, "pooled") == ["main", "spare", "spare"]
    [out] = routed.taken_out("pooled")
    assert (out["subject"], out["state"], out["reason"]) == (
        "credential:pooled/main",
        "open",
        "rate_limit",
    )
    assert 50 < out["seconds_left"] <= 60


def test_credentials_of_one_account_cool_down_together(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("shared").answers(failing(429, retry_after="60"))
    for _ in range(2):
        assert caller.post("/chat/shared", json=ask()).status_code == 200
    assert _used(upstream, "shared") == ["main", "spare-z", "spare-z"]
    assert [one["subject"] for one in routed.taken_out("shared")] == ["account:shared/org-1"]


def test_a_refused_secret_is_taken_out_of_the_pool_and_told(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("locked").answers(failing(401))
    answer = caller.post("/chat/locked", json=ask())
    assert _roles(routed, answer) == [("first", "main", "auth"), ("retry", "spare", "")]
    caller.post("/chat/locked", json=ask())
    assert _used(upstream, "locked") == ["main", "spare", "spare"]
    metrics = httpx.get(f"{routed.url}/metrics", trust_env=False).text
    assert (
        'gateway_opened_total{kind="credential",reason="auth",subject="locked/main"} 1.0' in metrics
    )
    assert "a credential is taken out" in routed.log_file.read_text()
    assert "sk-main" not in routed.log_file.read_text()
    heard = eventually(lambda: _heard(routed, "locked") or None, within=5)
    assert heard == {"": "auth of the credential main"}


def _heard(routed: GatewayProcess, provider: str) -> dict[str, str]:
    """The reasons why a provider is down, by who is told."""
    alerts = routed.clerk.rows("tenants.Alert")
    return {
        row["tenant"]: row["data"]["reason"]
        for row in alerts
        if row["data"].get("provider") == provider
    }


def test_a_refused_secret_that_is_the_only_one_is_tried_all_the_same(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("alone").answers(failing(403), failing(403))
    statuses = [caller.post("/chat/alone", json=ask()).status_code for _ in range(4)]
    assert statuses == [502, 502, 200, 200]


# ---- breakers


def test_a_model_that_fails_is_left_alone_and_found_well_again(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("failing").answers(failing(500), failing(500))
    for _ in range(2):
        assert caller.post("/chat/failing", json=ask()).status_code == 502
    refused = caller.post("/chat/failing", json=ask())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_target_available")
    assert refused.headers["retry-after"] == "1"
    assert len(upstream.at_path("failing")) == 2
    time.sleep(1.05)
    assert caller.post("/chat/failing", json=ask()).status_code == 200
    heard = eventually(
        lambda: (len(told := _heard(routed, "failing")) > 1 and told) or None, within=5
    )
    assert heard == {"": "server_error of the model failing", "acme": "server_error"}
    assert caller.post("/chat/failing", json=ask()).status_code == 200


def test_with_its_first_target_out_an_alias_asks_its_fallback_at_once(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("failing-b").always_answers(failing(500))
    for _ in range(2):
        answer = caller.post("/chat/broken-safe", json=ask())
        assert (_model_of(answer), answer.headers["x-gateway-attempts"]) == ("a", "2")
    answer = caller.post("/chat/broken-safe", json=ask())
    assert (_model_of(answer), answer.headers["x-gateway-attempts"]) == ("a", "1")
    record = routed.wait_for_record(answer.headers["x-gateway-record-id"])
    [left_out] = record["decision"]["passed_over"]
    assert (left_out["model"], left_out["reason"]) == ("failing-b", "ill")


def test_callers_who_are_in_a_hurry_or_leave_take_nothing_out(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("hurried").answers(*[silent] * 8)
    for streaming in (False, True) * 2:
        answer = caller.post(
            "/chat/hurried", json=ask(stream=streaming), headers={"x-gateway-timeout": "50ms"}
        )
        assert answer.status_code == 504
    for _ in range(4):
        with pytest.raises(httpx.ReadTimeout):
            caller.post("/chat/hurried", json=ask(), timeout=0.1)
    assert caller.post("/chat/hurried", json=ask()).status_code == 200


# ---- retries


def test_the_same_target_is_asked_again_as_often_as_declared(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("again").answers(failing(500), failing(503))
    answer = caller.post("/chat/again", json=ask())
    assert _model_of(answer) == "again"
    assert [role for role, _, _ in _roles(routed, answer)] == ["first", "retry", "retry"]
    upstream.at("again").answers(*[failing(500)] * 3)
    answer = caller.post("/chat/again", json=ask(stream=True))
    assert answer.status_code == 502
    assert len(_roles(routed, answer)) == 3


def test_a_stream_is_retried_before_its_first_content(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("again").answers(failing(500), stream(answer_frames()))
    answer = caller.post("/chat/again", json=ask(stream=True))
    assert answer.status_code == 200
    assert answer.content.endswith(b"data: [DONE]\n\n")


def test_an_alias_overrides_the_retries_of_its_provider(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("again").answers(failing(500))
    assert caller.post("/chat/again-never", json=ask()).status_code == 502
    assert len(upstream.at_path("again")) == 1


def test_what_would_fail_again_is_not_retried(caller: httpx.Client, upstream: FakeUpstream) -> None:
    upstream.at("again").answers(failing(400))
    assert caller.post("/chat/again", json=ask()).status_code == 400
    assert len(upstream.at_path("again")) == 1


def test_a_retry_waits_as_long_as_the_provider_says_and_not_beyond_the_callers_time(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("later").answers(failing(429, retry_after_ms="400"))
    began = time.monotonic()
    assert caller.post("/chat/later", json=ask()).status_code == 200
    assert 0.4 <= time.monotonic() - began < 2
    upstream.at("later").answers(failing(429, retry_after_ms="900"))
    began = time.monotonic()
    hurried = caller.post("/chat/later", json=ask(), headers={"x-gateway-timeout": "500ms"})
    assert (hurried.status_code, hurried.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert time.monotonic() - began < 0.4


# ---- slow


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_what_is_silent_for_too_long_is_left_for_the_next(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, streaming: bool
) -> None:
    upstream.at("mute").answers(stream([], ends="never") if streaming else silent)
    if streaming:
        upstream.at("a").answers(stream(answer_frames()))
    began = time.monotonic()
    answer = caller.post("/chat/impatient", json=ask(stream=streaming))
    assert _model_of(answer) == "a"
    assert 0.3 <= time.monotonic() - began < 2
    assert _roles(routed, answer) == [("first", "main", "slow"), ("fallback", "main", "")]


def test_nobody_is_left_for_being_slow_where_there_is_nobody_else(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("late").answers(whole(completion(), after=0.3))
    assert _model_of(caller.post("/chat/impatient-alone", json=ask())) == "late"


def test_a_model_that_spoke_too_slowly_is_left_before_the_next_answer(
    routed: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    spoken = {**USAGE, "completion_tokens": 20, "completion_tokens_details": {}}
    upstream.at("drowsy").answers(stream(answer_frames(5, spoken), pace=0.15))
    upstream.at("a").answers(stream(answer_frames()))
    asked = ask(stream=True, stream_options={"include_usage": True})
    assert _model_of(caller.post("/chat/lively", json=asked)) == "drowsy"
    answer = caller.post("/chat/lively", json=asked)
    assert _model_of(answer) == "a"
    record = routed.wait_for_record(answer.headers["x-gateway-record-id"])
    assert record["decision"]["passed_over"] == [
        {"model": "drowsy", "provider": "drowsy", "reason": "slow"}
    ]
