"""`GET /v1/requests/{id}`: what became of a request, and why, told to whom it concerns."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from openai import NotFoundError, OpenAI

from tests.fake_upstream import FakeUpstream, Wire, completion, failing, stream, whole, words
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.issuing import claims, jwks, new_pair
from tests.proxy.configuration import alias, books, provider
from tests.proxy.conftest import ask, calling

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
ISSUER = "https://login.acme.example/"
PAIR = new_pair("acme-1")
CLAMPED = 200
PRICES = {"input": "1", "output": "10"}

_ALONE = {"first_token_ms": None, "usage": None, "charge": None}
"""Of a whole answer, and of what was not asked beside another."""


def _targets(*models: str, **fields: Any) -> dict[str, Any]:
    return {"targets": [{"model": model} for model in models], **fields}


def _document(upstream: FakeUpstream) -> dict[str, Any]:
    names = ("first", "second", "narrow", "sickly")
    providers = {name: provider(upstream.url(name)) for name in names}
    providers["sickly"]["breaker"] = {"failures": 1, "window": "30s", "cooldown": "60s"}
    providers["narrow"]["limits"] = {"requests_per_minute": 1}
    models: dict[str, Any] = {
        name: {"provider": name, "upstream": f"gpt-{name}", "max_output_tokens": 1000}
        for name in names
    }
    models["dear"] = {**models["first"], "upstream": "gpt-dear"}
    models["blind"] = {**models["first"], "capabilities": ["tools"]}
    models["short"] = {**models["first"], "context_window": 50}
    return {
        "version": 1,
        "providers": providers,
        "models": models,
        "price_books": books(
            **{
                **dict.fromkeys((*models, "globex-model"), PRICES),
                "dear": {"input": "100", "output": "900"},
            }
        ),
        "tiers": {"gold": {}, "platinum": {}},
        "aliases": {
            "pro": alias("first"),
            "safe": alias("first", "second"),
            "thrifty": {
                "routes": [_targets("dear", "first", strategy="priority")],
                "max_cost_per_request": "0.05",
            },
            "seeing": alias("blind", "second"),
            "long": alias("short", "second"),
            "ailing": alias("sickly", "second"),
            "crowded": alias("narrow", "second"),
            "capped": alias("first", max_output_tokens=CLAMPED),
            "ruled": {
                "routes": [
                    _targets("second", when={"tier": "platinum"}),
                    {
                        "when": {
                            "tenant": "acme",
                            "user": "ada",
                            "tier": "gold",
                            "complexity": "simple",
                        },
                        "targets": [
                            {"model": "first", "weight": 1},
                            {"model": "second", "weight": 0},
                        ],
                        "sticky": "user",
                    },
                ]
            },
        },
        "tenants": {
            "acme": {
                "price_book": "standard",
                "tier": "gold",
                "issuers": [{"issuer": ISSUER, "audience": "gateway", "jwks": jwks(PAIR)}],
            },
            "broke": {"price_book": "cost", "budgets": [{"amount": "0.000001", "period": "month"}]},
            "careful": {"price_book": "standard", "budgets": [{"amount": "9", "period": "month"}]},
            "globex": {
                "price_book": "cost",
                "projects": {"globex-project": {}},
                "providers": {
                    "globex-provider": provider(
                        upstream.url("globex"),
                        credentials=[{"name": "globex-credential", "secret": "sk-of-globex-1234"}],
                    )
                },
                "models": {
                    "globex-model": {"provider": "globex-provider", "upstream": "globex-upstream"}
                },
                "own_aliases": {"globex-alias": alias("globex-model")},
            },
        },
    }


@pytest.fixture(scope="module")
def gateway(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("explained")
    with GatewayProcess(folder, configuration=_document(upstream_server)) as process:
        yield process


@pytest.fixture(scope="module")
def key(gateway: GatewayProcess) -> IssuedKey:
    return gateway.issue_key("acme", "worker")


def post(caller: httpx.Client, path: str, **fields: Any) -> str:
    """The record id of an answer, whatever it says."""
    return str(caller.post(path, json=ask(**fields)).headers["x-gateway-record-id"])


def explained(caller: httpx.Client, name: str) -> dict[str, Any]:
    answer = caller.get(f"/v1/requests/{name}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def in_the_table(gateway: GatewayProcess, record_id: str) -> str:
    gateway.wait_for_record(record_id)
    return record_id


# ---- what is said


def test_the_whole_decision_of_an_answer_that_fell_back(
    gateway: GatewayProcess, caller: httpx.Client, key: IssuedKey, upstream: FakeUpstream
) -> None:
    upstream.at("first").answers(failing(500, "The model sk-abcdefgh12345 fell over."))
    answer = caller.post(
        "/chat/safe",
        json=ask(user="ada"),
        headers={"x-request-id": "req-of-ada", "x-gateway-labels": "team=search"},
    )
    told = explained(caller, answer.headers["x-gateway-record-id"])
    timed = {"started_at", "latency_ms", "gateway_ms"}
    assert all(told[name] for name in timed)
    [failed, good] = told["attempts"]
    for attempt in (failed, good):
        assert attempt.pop("started_at") > told["started_at"]
        assert 0 < attempt.pop("latency_ms") <= told["latency_ms"]
    assert failed == {
        "ordinal": 1,
        "role": "first",
        "provider": "first",
        "model": "first",
        "status": 500,
        "error_kind": "server_error",
        "error": "The upstream answered 500: The model [redacted] fell over.",
        **_ALONE,
    }
    assert good == {
        "ordinal": 2,
        "role": "fallback",
        "provider": "second",
        "model": "second",
        "status": 200,
        "error_kind": "",
        "error": "",
        **_ALONE,
    }
    assert {name: fact for name, fact in told.items() if name not in timed} == {
        "record_id": answer.headers["x-gateway-record-id"],
        "request_id": "req-of-ada",
        "others": [],
        "tenant": "acme",
        "project": "",
        "key_id": key.key_id,
        "key": "worker",
        "user": "ada",
        "tier": "gold",
        "alias": "safe",
        "endpoint": "chat",
        "stream": False,
        "labels": {"team": "search"},
        "status": 200,
        "outcome": "completed",
        "ended_by": "upstream",
        "error_code": "",
        "provider": "second",
        "model": "second",
        "upstream_model": "gpt-second",
        "route": {
            "position": 0,
            "when": {},
            "facts": {},
            "strategy": "weighted",
            "sticky": "",
            "drawn": {"model": "first", "weight": 1},
            "targets": ["first"],
            "fallbacks": ["second"],
        },
        "passed_over": [],
        "attempts": told["attempts"],
        "cache": "BYPASS",
        "guards": [],
        "usage": {
            "input_tokens": 20,
            "cached_input_tokens": 10,
            "cache_write_tokens": 0,
            "output_tokens": 8,
            "reasoning_tokens": 4,
            "source": "provider",
        },
        "clamped_to": None,
        "reservation": {"reserved": None, "absorbed": None},
        "prices": {"charge": {"currency": "USD", "version": "standard@2026-01-01+cost@2026-01-01"}},
        "charge": answer.headers["x-gateway-charge"],
        "charge_policy": "usage",
        "quarantined": False,
        "warnings": [],
        "first_token_ms": None,
    }


@contextmanager
def _nobody_writes(gateway: GatewayProcess) -> Iterator[None]:
    """Another program holds what the gateway's writer needs; everybody can read."""
    url = gateway.environment["DATABASE_URL"]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE billing_usagerecord IN SHARE MODE")
            yield


def test_before_it_is_written_the_same_is_said_as_from_the_table(
    gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    with _nobody_writes(gateway):
        ids = []
        for _ in range(2):  # one is stuck on its way into the table, the other waits behind it
            upstream.at("first").answers(failing(500))
            ids.append(post(caller, "/chat/safe", user="ada"))
            time.sleep(0.3)
        told = [explained(caller, record_id) for record_id in ids]
        assert gateway.records(record_id=ids[0]) == []
    for record_id, before in zip(ids, told, strict=True):
        in_the_table(gateway, record_id)
        time.sleep(0.2)
        assert explained(caller, record_id) == before


def test_no_answer_arrives_before_it_can_be_explained(caller: httpx.Client) -> None:
    """Whether it waits, is being written, or has been."""
    for _ in range(100):
        explained(caller, post(caller, "/chat/pro"))


def test_the_matched_rule_and_why_it_held(caller: httpx.Client) -> None:
    told = explained(caller, post(caller, "/chat/ruled", user="ada"))
    assert told["route"] == {
        "position": 1,
        "when": {"tenant": "acme", "user": "ada", "tier": "gold", "complexity": "simple"},
        "facts": {"complexity": "simple"},
        "strategy": "weighted",
        "sticky": "user",
        "drawn": {"model": "first", "weight": 1},
        "targets": ["first", "second"],
        "fallbacks": [],
    }


def _is_answered_by(caller: httpx.Client, path: str, model: str) -> bool | None:
    told = explained(caller, post(caller, f"/chat/{path}", user="ada"))
    return told["model"] == model or None


def test_the_rule_is_told_as_it_was_though_it_has_changed(
    gateway: GatewayProcess, caller: httpx.Client, upstream_server: FakeUpstream
) -> None:
    record_id = in_the_table(gateway, post(caller, "/chat/ruled", user="ada"))
    before = explained(caller, record_id)
    document = _document(upstream_server)
    gateway.apply({**document, "aliases": {**document["aliases"], "ruled": alias("second")}})
    try:
        eventually(lambda: _is_answered_by(caller, "ruled", "second"), within=4)
        assert explained(caller, record_id) == before
    finally:
        gateway.apply(document)


@pytest.mark.parametrize(
    ("path", "fields", "left_out"),
    [
        ("thrifty", {}, {"model": "dear", "provider": "first", "reason": "too_dear"}),
        (
            "seeing",
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            {
                "model": "blind",
                "provider": "first",
                "reason": "cannot_take_it",
                "detail": "images",
            },
        ),
        (
            "long",
            {"messages": [{"role": "user", "content": "word " * 200}]},
            {
                "model": "short",
                "provider": "first",
                "reason": "cannot_take_it",
                "detail": "context_window",
            },
        ),
    ],
    ids=["too dear", "without the capability", "too long"],
)
def test_who_was_passed_over_and_why(
    caller: httpx.Client, path: str, fields: dict[str, Any], left_out: dict[str, str]
) -> None:
    told = explained(caller, post(caller, f"/chat/{path}", **fields))
    assert told["passed_over"] == [left_out]
    assert [attempt["role"] for attempt in told["attempts"]] == ["first"]
    assert told["outcome"] == "completed"


def test_a_target_that_is_ill_is_passed_over_for_so_long(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("sickly").answers(failing(500))
    assert len(explained(caller, post(caller, "/chat/ailing"))["attempts"]) == 2
    told = explained(caller, post(caller, "/chat/ailing"))
    [left_out] = told["passed_over"]
    assert (left_out["model"], left_out["reason"]) == ("sickly", "ill")
    assert 0 < float(left_out["detail"].removesuffix("s")) <= 60
    assert (told["route"]["drawn"], told["route"]["fallbacks"]) == (None, ["second"])


def test_a_target_whose_limit_is_used_up_is_passed_over(caller: httpx.Client) -> None:
    told = [explained(caller, post(caller, "/chat/crowded")) for _ in range(2)]
    assert [one["model"] for one in told] == ["narrow", "second"]
    assert told[1]["passed_over"] == [
        {"model": "narrow", "provider": "narrow", "reason": "no_room"}
    ]


def test_an_answer_held_to_fewer_tokens(caller: httpx.Client) -> None:
    assert explained(caller, post(caller, "/chat/capped", max_tokens=900))["clamped_to"] == CLAMPED
    assert explained(caller, post(caller, "/chat/capped", max_tokens=50))["clamped_to"] is None


def test_what_was_reserved(gateway: GatewayProcess) -> None:
    with calling(gateway, gateway.issue_key("careful")) as caller:
        told = explained(caller, post(caller, "/chat/pro", max_tokens=100))
    reserved = told["reservation"]["reserved"]
    assert float(told["charge"]) < float(reserved) < 0.01
    assert told["reservation"]["absorbed"] is None


def test_warnings_of_what_could_not_be_carried(caller: httpx.Client) -> None:
    body = {"model": "pro", "max_tokens": 9, "top_k": 5, "messages": ask()["messages"]}
    answer = caller.post("/v1/messages", json=body)
    told = explained(caller, answer.headers["x-gateway-record-id"])
    assert told["endpoint"] == "messages"
    assert "; ".join(told["warnings"]) == answer.headers["x-gateway-warnings"]
    assert "top_k" in told["warnings"][0]


def test_a_failed_request(caller: httpx.Client, upstream: FakeUpstream) -> None:
    upstream.at("first").answers(failing(503, "Too busy."))
    upstream.at("second").answers(failing(500, "Broken."))
    told = explained(caller, post(caller, "/chat/safe"))
    assert (told["status"], told["outcome"]) == (502, "failed")
    assert told["error_code"] == "upstream_error"
    assert [one["error_kind"] for one in told["attempts"]] == ["overloaded", "server_error"]
    assert (told["charge"], told["charge_policy"]) == ("0", "nothing")


def test_a_stream_whose_caller_hung_up(caller: httpx.Client, upstream: FakeUpstream) -> None:
    upstream.at("first").answers(stream(words(200), pace=0.02))
    with caller.stream("POST", "/chat/pro", json=ask(stream=True)) as answer:
        record_id = answer.headers["x-gateway-record-id"]
        pieces = answer.iter_bytes()
        next(pieces)
        assert caller.get(f"/v1/requests/{record_id}").status_code == 404
    told = eventually(
        lambda: (
            found.json()
            if (found := caller.get(f"/v1/requests/{record_id}")).status_code == 200
            else None
        ),
        within=4,
    )
    assert (told["stream"], told["outcome"], told["ended_by"]) == (True, "interrupted", "caller")
    assert (told["charge_policy"], told["usage"]["source"]) == ("delivered", "estimated")
    assert told["attempts"][0]["error_kind"] == "cancelled"
    assert 0 < told["first_token_ms"] < told["latency_ms"]


# ---- by which name


def test_by_the_callers_own_id_the_newest_is_told_and_the_others_named(
    gateway: GatewayProcess, caller: httpx.Client
) -> None:
    name = {"x-request-id": "team/a+b=c:1@home"}
    ids = []
    for wait in (True, True, False):
        answer = caller.post("/chat/pro", json=ask(), headers=name)
        ids.append(answer.headers["x-gateway-record-id"])
        if wait:
            in_the_table(gateway, ids[-1])
    for spelled in ("team/a+b=c:1@home", "team%2Fa%2Bb%3Dc%3A1%40home"):
        told = explained(caller, spelled)
        assert (told["record_id"], told["others"]) == (ids[2], [ids[1], ids[0]])
    assert explained(caller, ids[0])["others"] == []
    assert explained(caller, ids[0].upper())["record_id"] == ids[0]


def test_a_request_id_that_is_a_uuid_is_found_too(caller: httpx.Client) -> None:
    name = "0b0f3c1e-0000-4000-8000-00000000ABCD"
    record_id = caller.post("/chat/pro", json=ask(), headers={"x-request-id": name}).headers[
        "x-gateway-record-id"
    ]
    assert explained(caller, name)["record_id"] == record_id


@pytest.mark.parametrize(
    "name", ["a" * 129, "a%20b", "a%00", "%F0%9F%92%A5", "a'--", "%0A", "a%22"]
)
def test_what_can_be_no_id_is_refused(caller: httpx.Client, name: str) -> None:
    refused = caller.get(f"/v1/requests/{name}")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (
        400,
        "invalid_request",
        "request",
    )


@pytest.mark.parametrize("path", ["/v1/requests", "/v1/requests/", "/v1/requestsx/y"])
def test_without_a_name_there_is_nothing(caller: httpx.Client, path: str) -> None:
    assert caller.get(path).json()["error"]["code"] == "not_found"


def test_it_is_only_read(caller: httpx.Client) -> None:
    assert caller.post("/v1/requests/x", json={}).status_code == 405
    assert caller.delete("/v1/requests/x").status_code == 405


def test_who_is_nobody_is_told_nothing(gateway: GatewayProcess) -> None:
    with calling(gateway) as stranger:
        assert stranger.get("/v1/requests/x").status_code == 401


def test_openais_sdk_fetches_it(gateway: GatewayProcess, key: IssuedKey) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key.token, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="pro", messages=[{"role": "user", "content": "Hello"}]
        )
        record_id = raw.headers["x-gateway-record-id"]
        told: Any = client.get(f"/requests/{record_id}", cast_to=object)
        assert told["record_id"] == record_id
        with pytest.raises(NotFoundError):
            client.get("/requests/nope", cast_to=object)


# ---- by whom


def _missing(caller: httpx.Client, name: str) -> str:
    """How it is said that a request is not there, without what each answer has of its own."""
    refused = caller.get(f"/v1/requests/{name}")
    assert refused.status_code == 404
    error = refused.json()["error"]
    assert error.pop("request_id") == refused.headers["x-request-id"]
    return json.dumps(error).replace(name, "NAME")


def test_another_tenants_request_is_not_there(
    gateway: GatewayProcess, caller: httpx.Client
) -> None:
    unknown = _missing(caller, "01890a5d-ac96-774b-bcce-b302099a8057")
    with calling(gateway, gateway.issue_key("globex", scope="usage:read")) as other:
        answer = other.post("/chat/pro", json=ask(), headers={"x-request-id": "of-globex"})
        record_id = answer.headers["x-gateway-record-id"]
        assert explained(other, "of-globex")["record_id"] == record_id
        for wait in (False, True):
            if wait:
                in_the_table(gateway, record_id)
                time.sleep(0.2)
            assert _missing(caller, record_id) == unknown
            assert _missing(caller, "of-globex") == unknown


def test_the_same_request_id_of_two_tenants_is_two_requests(
    gateway: GatewayProcess, caller: httpx.Client
) -> None:
    name = {"x-request-id": "shared-by-both"}
    mine = caller.post("/chat/pro", json=ask(), headers=name).headers["x-gateway-record-id"]
    with calling(gateway, gateway.issue_key("globex", scope="usage:read")) as other:
        theirs = other.post("/chat/pro", json=ask(), headers=name).headers["x-gateway-record-id"]
        for wait in (False, True):
            if wait:
                in_the_table(gateway, mine)
                in_the_table(gateway, theirs)
            for client, record_id in ((caller, mine), (other, theirs)):
                told = explained(client, "shared-by-both")
                assert (told["record_id"], told["others"]) == (record_id, [])


def test_a_key_sees_its_own_and_with_usage_read_its_tenants(
    gateway: GatewayProcess, caller: httpx.Client, key: IssuedKey
) -> None:
    name = {"x-request-id": "of-two-keys"}
    mine = caller.post("/chat/pro", json=ask(), headers=name).headers["x-gateway-record-id"]
    with ExitStack() as stack:

        def client(**options: Any) -> httpx.Client:
            issued = gateway.issue_key("acme", "another", **options)
            return stack.enter_context(calling(gateway, issued))

        other, reader = client(), client(scope="usage:read")
        theirs = other.post("/chat/pro", json=ask(), headers=name).headers["x-gateway-record-id"]
        for wait in (False, True):
            if wait:
                in_the_table(gateway, theirs)
                time.sleep(0.2)
            _missing(other, mine)
            _missing(caller, theirs)
            told = explained(other, "of-two-keys")
            assert (told["record_id"], told["others"]) == (theirs, [])
            told = explained(reader, "of-two-keys")
            assert (told["record_id"], told["others"]) == (theirs, [mine])
            assert explained(reader, mine)["key_id"] == key.key_id


def test_cost_is_for_keys_that_may_read_it(gateway: GatewayProcess, caller: httpx.Client) -> None:
    assert not {"cost", "margin"} & explained(caller, post(caller, "/chat/pro")).keys()
    with calling(gateway, gateway.issue_key("acme", "buyer", scope="cost:read")) as buyer:
        told = explained(buyer, post(buyer, "/chat/pro"))
    assert told["cost"] == "0.00015"
    assert told["prices"]["cost"] == {"currency": "USD", "version": "cost@2026-01-01"}
    assert float(told["margin"]) == pytest.approx(float(told["charge"]) - 0.00015)


def test_users_of_an_issuer_see_each_their_own(gateway: GatewayProcess) -> None:
    def user(name: str) -> httpx.Client:
        token = PAIR.sign(claims(ISSUER, sub=name))
        return calling(gateway, headers={"authorization": f"Bearer {token}"})

    with user("ada") as ada, user("bob") as bob:
        record_id = post(ada, "/chat/pro")
        assert explained(ada, record_id)["user"] == "ada"
        _missing(bob, record_id)
        in_the_table(gateway, record_id)
        time.sleep(0.2)
        assert explained(ada, record_id)["user"] == "ada"
        _missing(bob, record_id)


def test_what_was_refused_has_no_record_to_explain(gateway: GatewayProcess) -> None:
    with calling(gateway, gateway.issue_key("broke", scope="usage:read")) as caller:
        refused = caller.post("/chat/pro", json=ask(), headers={"x-request-id": "too-poor"})
        assert refused.json()["error"]["code"] == "insufficient_quota"
        _missing(caller, "too-poor")


def test_no_explanation_holds_a_word_of_another_tenant(
    gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    paths = ("pro", "safe", "ruled", "seeing", "crowded", "capped")
    with (
        calling(gateway, gateway.issue_key("acme", "reader", scope="usage:read")) as acme,
        calling(
            gateway,
            gateway.issue_key(
                "globex", "globex-key", project="globex-project", scope=["usage:read", "cost:read"]
            ),
            headers={"x-gateway-labels": "globex-label=globex-value"},
        ) as globex,
    ):
        theirs = [
            post(globex, f"/chat/{path}", user="gustav-of-globex")
            for path in paths
            if path != "ruled"
        ]
        theirs.append(post(globex, "/chat/globex-alias"))
        mine = []
        for path in paths:
            upstream.at("first").answers(failing(500))
            mine.append(post(acme, f"/chat/{path}", user="ada"))
        told = [explained(globex, record_id) for record_id in theirs]
        assert "globex-credential" not in json.dumps(told)
        assert told[-1]["provider"] == "globex-provider"
        assert "acme" not in json.dumps(told)
        for record_id in mine:
            assert "globex" not in json.dumps(explained(acme, record_id))
        for record_id in theirs:
            _missing(acme, record_id)


# ---- after a death


def _stuck(wire: Wire) -> None:
    wire.head(200, {"content-type": "text/event-stream"})
    wire.send(b"".join(words(3)))
    wire.wait_for_the_end()


def test_after_kill_9_what_was_under_way_is_explained_as_it_was_decided(
    gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> None:
    upstream.at("first").answers(failing(500), whole(completion()))
    upstream.at("second").answers(_stuck)
    with (
        calling(gateway, key) as caller,
        caller.stream("POST", "/chat/safe", json=ask(stream=True, user="ada")) as answer,
    ):
        under_way = answer.headers["x-gateway-record-id"]
        pieces = answer.iter_bytes()
        next(pieces)
        answered = post(caller, "/chat/ruled", user="ada")
        gateway.kill()
    gateway.start()
    with calling(gateway, key) as caller:
        in_the_table(gateway, under_way)
        told = explained(caller, under_way)
        assert (told["status"], told["outcome"], told["ended_by"]) == (0, "interrupted", "gateway")
        assert told["route"]["targets"] == ["first"]
        assert told["route"]["fallbacks"] == ["second"]
        assert told["model"] == "second"
        assert told["attempts"][0]["error_kind"] == "server_error"
        told = explained(caller, answered)
        assert (told["outcome"], told["route"]["position"]) == ("completed", 1)
