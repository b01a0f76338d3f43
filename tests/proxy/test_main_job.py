"""A key calls an alias; a provider's answer comes through, untouched, recorded and priced."""

import datetime
import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.fake_upstream import DONE, USAGE, FakeUpstream, answer_frames, completion, stream, whole
from tests.gateway_process import RECORD_SECONDS, GatewayProcess, IssuedKey
from tests.proxy.configuration import ORIGIN, SECRET
from tests.proxy.conftest import HELLO, Issue, ask, calling

# 20 input, 10 cached, 8 output and 4 reasoning tokens at 2.50, 1.25, 10 and 12 a million …
COST = 20 * 2500 + 10 * 1250 + 8 * 10_000 + 4 * 12_000
# … and 7.7 % more, where 205,168.5 is rounded half up.
CHARGE = 205_169

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def read_stream(
    caller: httpx.Client, path: str, body: dict[str, Any], **headers: str
) -> tuple[httpx.Response, bytes]:
    with caller.stream("POST", path, json=body, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


class TestAWholeAnswer:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/chat/pro", ask()),
            ("/chat/pro", ask(model="ignored")),
            ("/v1/chat/completions", ask(model="pro")),
        ],
        ids=["by path", "by path, model ignored", "by model"],
    )
    def test_comes_back_byte_for_byte(
        self, caller: httpx.Client, upstream: FakeUpstream, path: str, body: dict[str, Any]
    ) -> None:
        sent = completion("Grüße \u2028 aus 東京 👋")
        upstream.at("first").answers(whole(sent))
        answer = caller.post(path, json=body)
        assert answer.status_code == 200
        assert answer.content == sent
        assert answer.headers["content-type"] == "application/json"
        assert upstream.received[0].json()["model"] == "gpt-first"

    def test_says_what_happened_in_its_headers(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = caller.post("/chat/pro", json=ask(), headers={"x-request-id": "my/trace:1"})
        said = answer.headers
        assert said["x-request-id"] == "my/trace:1"
        assert UUID7.fullmatch(said["x-gateway-record-id"])
        assert said["x-gateway-alias"] == "pro"
        assert said["x-gateway-provider"] == "first"
        assert said["x-gateway-model"] == "first-model"
        assert said["x-gateway-attempts"] == "1"
        assert said["x-cache"] in ("BYPASS", "MISS")
        assert said["x-gateway-charge"] == "0.000205169"
        assert "x-gateway-cost" not in said
        assert re.fullmatch(
            r"upstream;dur=\d+\.\d{3}, gateway;dur=\d+\.\d{3}", said["server-timing"]
        )

    def test_shows_its_cost_to_a_key_that_may_read_it(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("acme", scope="cost:read")) as caller:
            answer = caller.post("/chat/pro", json=ask())
        assert answer.headers["x-gateway-cost"] == "0.0001905"
        assert answer.headers["x-gateway-charge"] == "0.000205169"

    @pytest.mark.parametrize("unsafe", ["two words", "x" * 129, 'a"quote', "naïve"])
    def test_replaces_a_request_id_that_is_no_safe_token(
        self, caller: httpx.Client, upstream: FakeUpstream, unsafe: str
    ) -> None:
        answer = caller.post("/chat/pro", json=ask(), headers={"x-request-id": unsafe.encode()})
        assert answer.status_code == 200
        assert re.fullmatch(r"[\w.-]{8,128}", answer.headers["x-request-id"], re.ASCII)

    def test_has_a_request_id_though_none_was_given(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        ids = {caller.post("/chat/pro", json=ask()).headers["x-request-id"] for _ in range(3)}
        assert len(ids) == 3

    def test_that_came_compressed_is_passed_on_plain(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        sent = completion("unasked")
        upstream.at("first").answers(whole(sent, gzipped=True))
        answer = caller.post("/chat/pro", json=ask())
        assert (answer.content, answer.headers.get("content-encoding")) == (sent, None)


class TestAStream:
    @pytest.mark.parametrize("path", ["/chat/pro", "/v1/chat/completions"])
    def test_comes_back_byte_for_byte(
        self, caller: httpx.Client, upstream: FakeUpstream, path: str
    ) -> None:
        frames = answer_frames(20)
        upstream.at("first").answers(stream(frames))
        answer, got = read_stream(caller, path, ask(model="pro", stream=True))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert got == b"".join(frames)

    def test_says_what_is_known_when_it_starts(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        answer, _ = read_stream(caller, "/chat/pro", ask(stream=True), **{"x-request-id": "abc"})
        said = answer.headers
        assert said["x-request-id"] == "abc"
        assert UUID7.fullmatch(said["x-gateway-record-id"])
        assert said["x-gateway-provider"] == "first"
        assert said["x-gateway-attempts"] == "1"
        assert "server-timing" in said
        assert "x-gateway-charge" not in said
        assert "content-length" not in said

    def test_loses_the_usage_frame_that_only_the_gateway_asked_for(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        _, got = read_stream(caller, "/chat/pro", ask(stream=True))
        assert got == b"".join(answer_frames())
        assert upstream.received[0].json()["stream_options"] == {"include_usage": True}

    def test_keeps_the_usage_frame_that_the_caller_asked_for(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        frames = answer_frames(usage=USAGE)
        upstream.at("first").answers(stream(frames))
        body = ask(stream=True, stream_options={"include_usage": True})
        _, got = read_stream(caller, "/chat/pro", body)
        assert got == b"".join(frames)

    def test_passes_each_event_on_as_it_comes(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        pause = 0.15
        frames = answer_frames(3)
        upstream.at("first").answers(stream(frames, pace=pause))
        with caller.stream("POST", "/chat/pro", json=ask(stream=True)) as answer:
            arrived = [time.monotonic() for _ in answer.iter_raw()]
        sent = {data: moment for moment, data in upstream.wires[0].sent}
        # The role's frame waits for the first word; the others leave when they come.
        lags = [came - sent[data] for came, data in zip(arrived, frames[1:4], strict=False)]
        assert len(arrived) >= 3
        assert max(lags) < pause / 2

    def test_that_came_compressed_is_passed_on_plain(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        frames = b"".join(answer_frames(3))
        upstream.at("first").answers(whole(frames, gzipped=True, content_type="text/event-stream"))
        _, got = read_stream(caller, "/chat/pro", ask(stream=True))
        assert got == frames


class TestWhatReachesTheUpstream:
    RAW = (
        b'{ "messages" : [{"role":"user","content":"a \\"model\\": \\u00e9\\u2028 1e5"}],\n'
        b'\t"seed":12345678901234567, "model" :  "pro","temperature":0.10, "unheard_of": {"model":'
        b' "inner", "n": 1.50} }'
    )

    def test_is_the_callers_own_body_but_for_the_model(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = caller.post("/v1/chat/completions", content=self.RAW)
        assert answer.status_code == 200
        assert upstream.received[0].body == self.RAW.replace(b'"pro"', b'"gpt-first"')

    def test_is_asked_for_usage_without_another_change(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames()))
        raw = self.RAW.replace(b"{ ", b'{ "stream": true, ', 1)
        caller.post("/v1/chat/completions", content=raw)
        sent = upstream.received[0].body
        added = b'"stream_options":{"include_usage":true},'
        assert added in sent
        assert sent.replace(added, b"") == raw.replace(b'"pro"', b'"gpt-first"')

    def test_goes_to_its_path_with_its_credential(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        caller.post("/chat/pro", json=ask())
        request = upstream.received[0]
        assert (request.method, request.path) == ("POST", "/first/v1/chat/completions")
        assert request.header("authorization") == f"Bearer {SECRET}"
        assert request.header("content-type") == "application/json"
        assert request.header("accept-encoding") == "identity"

    def test_has_no_header_of_the_callers(
        self, gateway: GatewayProcess, upstream: FakeUpstream, key: IssuedKey
    ) -> None:
        spoofed = {
            "x-tenant-id": "globex",
            "x-user-id": "root",
            "cookie": "session=1",
            "openai-organization": "org-theirs",
            "x-forwarded-for": "10.0.0.1",
            "user-agent": "spoofed/1",
            "x-api-key": key.token,
        }
        with calling(gateway, key, headers=spoofed) as caller:
            assert caller.post("/chat/pro", json=ask()).status_code == 200
        request = upstream.received[0]
        ours = {"host", "authorization", "content-type", "content-length", "accept-encoding"}
        assert request.names <= ours | {"accept", "user-agent"}
        assert "spoofed" not in str(request.headers)
        assert key.token not in str(request.headers)

    def test_is_told_who_asks_by_the_gateway_alone(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        ada = issue("acme", name="bot", user="Ada Löve", project="search")
        spoofed = {"x-tenant-id": "globex", "x-user-id": "root", "x-who": "me"}
        with calling(gateway, ada, headers=spoofed) as caller:
            answer = caller.post("/chat/told", json=ask(), headers={"x-request-id": "trace-1"})
        assert answer.status_code == 200
        request = upstream.received[0]
        assert request.header("x-tenant-id") == "acme"
        assert request.header("x-user-id") == "Ada L%C3%B6ve"
        assert request.header("x-request-id") == "trace-1"
        assert request.header("x-who") == "search/bot/told/gold/told-model"

    def test_is_told_a_users_name_as_it_is(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        caller.post("/chat/told", json=ask(user="{tenant} {request_id} {key}"))
        told = upstream.received[0].header("x-user-id")
        assert told == "%7Btenant%7D %7Brequest_id%7D %7Bkey%7D"

    def test_sees_no_header_injected_by_a_users_name(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = caller.post("/chat/told", json=ask(user="eve\r\nx-admin: yes\0"))
        assert answer.status_code == 200
        assert "x-admin" not in upstream.received[0].names
        assert "\n" not in (upstream.received[0].header("x-user-id") or "")


class TestTheUsageRecord:
    def test_is_exact_and_visible_within_a_second(
        self, gateway: GatewayProcess, caller: httpx.Client, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        before = datetime.datetime.now(tz=datetime.UTC)
        answer = caller.post(
            "/chat/pro", json=ask(user="ada"), headers={"x-gateway-labels": "team=search,env=prod"}
        )
        record = gateway.wait_for_record(
            answer.headers["x-gateway-record-id"], within=RECORD_SECONDS + 1
        )
        started = datetime.datetime.fromisoformat(record.pop("started_at"))
        assert abs(started - before) < datetime.timedelta(seconds=1)
        assert 0 < record.pop("gateway_us") <= record.pop("latency_us")
        expected = {
            "record_id": answer.headers["x-gateway-record-id"],
            "request_id": answer.headers["x-request-id"],
            "tenant": "acme",
            "project": "",
            "key_id": key.key_id,
            "key": "worker",
            "user": "ada",
            "alias": "pro",
            "endpoint": "chat",
            "provider": "first",
            "model": "first-model",
            "upstream_model": "gpt-first",
            "status": 200,
            "outcome": "completed",
            "ended_by": "upstream",
            "error_code": "",
            "stream": False,
            "input_tokens": 20,
            "cached_input_tokens": 10,
            "cache_write_tokens": 0,
            "output_tokens": 8,
            "reasoning_tokens": 4,
            "usage_source": "provider",
            "cost": COST,
            "cost_currency": "USD",
            "cost_price_version": "cost@2026-01-01",
            "charge": CHARGE,
            "charge_currency": "USD",
            "charge_price_version": "standard@2026-01-01+cost@2026-01-01",
            "charge_policy": "usage",
            "quarantined": False,
            "first_token_us": None,
            "attempts": 1,
            "cache": answer.headers["x-cache"],
            "labels": {"team": "search", "env": "prod"},
            "decision": {
                "route": {
                    "position": 0,
                    "strategy": "weighted",
                    "targets": {"first-model": 1},
                },
                "order": ["first-model"],
                "tier": "gold",
            },
            "reserved": None,
            "absorbed": None,
        }
        assert record == expected

    def test_of_a_stream_counts_what_the_provider_reports(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        answer, _ = read_stream(caller, "/chat/pro", ask(stream=True))
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["stream"], record["outcome"]) == (True, "completed")
        assert (record["cost"], record["charge"]) == (COST, CHARGE)
        assert record["usage_source"] == "provider"
        assert 0 < record["first_token_us"] <= record["latency_us"]

    def test_without_a_report_is_estimated_and_not_free(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(10)), whole(completion(usage=None)))
        streamed, _ = read_stream(caller, "/chat/pro", ask(stream=True))
        at_once = caller.post("/chat/pro", json=ask())
        for answer in (streamed, at_once):
            record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
            assert record["usage_source"] == "estimated"
            assert record["input_tokens"] > 0
            assert record["output_tokens"] > 0
            assert record["charge"] > record["cost"] > 0

    def test_is_there_when_the_last_byte_has_arrived(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        answer, _ = read_stream(caller, "/chat/pro", ask(stream=True))
        wanted = answer.headers["x-gateway-record-id"]
        journal = "".join(path.read_text() for path in gateway.spool.glob("*.journal"))
        lines = [line for line in journal.splitlines() if wanted in line]
        assert lines[-1].startswith("[true") or gateway.records(record_id=wanted)

    def test_is_exported_as_the_contract_names_its_columns(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = caller.post("/chat/pro", json=ask())
        wanted = answer.headers["x-gateway-record-id"]
        gateway.wait_for_record(wanted)
        today = datetime.datetime.now(tz=datetime.UTC).date()
        span = ("--from", today - datetime.timedelta(days=1), "--to", today + datetime.timedelta(1))
        exported = gateway.clerk.manage("export_usage", *span, "--format", "jsonl")
        row = next(r for r in map(json.loads, exported.splitlines()) if r["record_id"] == wanted)
        assert (row["cost"], row["charge"]) == ("0.0001905", "0.000205169")
        assert (row["input_tokens"], row["cached_input_tokens"]) == (20, 10)
        assert row["started_at"].endswith("Z")


class TestWhatTheCallerSays:
    def test_a_project_in_a_header_counts_where_the_key_has_none(
        self, gateway: GatewayProcess, upstream: FakeUpstream, key: IssuedKey, issue: Issue
    ) -> None:
        projects = []
        for used in (key, issue("acme", name="fixed", project="search")):
            with calling(gateway, used) as caller:
                answer = caller.post(
                    "/chat/pro", json=ask(), headers={"x-gateway-project": "support"}
                )
            record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
            projects.append(record["project"])
        assert projects == ["support", "search"]

    def test_a_policy_gives_the_key_its_project(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("acme", name="frontend")) as caller:
            answer = caller.post("/chat/pro", json=ask())
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["project"], record["key"]) == ("support", "frontend")

    @pytest.mark.parametrize(
        ("of_key", "fields", "user"),
        [
            ("", {"user": "body"}, "body"),
            ("ada", {"user": "body"}, "ada"),
            ("", {"metadata": {"user_id": "meta"}}, "meta"),
            ("", {}, ""),
        ],
    )
    def test_the_user_is_the_keys_else_the_bodys(
        self,
        gateway: GatewayProcess,
        upstream: FakeUpstream,
        issue: Issue,
        of_key: str,
        fields: dict[str, Any],
        user: str,
    ) -> None:
        with calling(gateway, issue("acme", user=of_key)) as caller:
            answer = caller.post("/chat/pro", json=ask(**fields))
        assert gateway.wait_for_record(answer.headers["x-gateway-record-id"])["user"] == user

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("x-gateway-labels", "team"),
            ("x-gateway-labels", "Team=search"),
            ("x-gateway-labels", "team=a\tb"),
            ("x-gateway-project", "No Slug"),
            ("x-gateway-timeout", "soon"),
        ],
    )
    def test_a_header_that_makes_no_sense_is_refused_by_name(
        self, caller: httpx.Client, upstream: FakeUpstream, header: str, value: str
    ) -> None:
        answer = caller.post("/chat/pro", json=ask(), headers={header: value})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == header
        assert upstream.received == []


class TestBrowsers:
    ASKING = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-gateway-labels",
    }

    def test_may_ask_before_they_hold_a_credential(self, gateway: GatewayProcess) -> None:
        with calling(gateway) as browser:
            answer = browser.options("/chat/pro", headers=self.ASKING)
        assert answer.status_code in (200, 204)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "x-gateway-labels" in answer.headers["access-control-allow-headers"]
        assert "origin" in answer.headers["vary"].lower()

    @pytest.mark.parametrize("streamed", [False, True])
    def test_see_the_answer_and_its_headers(
        self, caller: httpx.Client, upstream: FakeUpstream, streamed: bool
    ) -> None:
        if streamed:
            upstream.at("first").answers(stream(answer_frames()))
        answer = caller.post("/chat/pro", json=ask(stream=streamed), headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-gateway-record-id" in answer.headers["access-control-expose-headers"]

    def test_see_errors_too(self, caller: httpx.Client, upstream: FakeUpstream) -> None:
        upstream.at("first").answers(whole(b"{}", status=500))
        for path in ("/chat/pro", "/chat/unknown"):
            answer = caller.post(path, json=ask(), headers={"origin": ORIGIN})
            assert answer.status_code in (502, 404)
            assert answer.headers["access-control-allow-origin"] == ORIGIN

    def test_of_another_origin_get_nothing(
        self, gateway: GatewayProcess, upstream: FakeUpstream, caller: httpx.Client, issue: Issue
    ) -> None:
        foreign = {**self.ASKING, "origin": "https://evil.example"}
        with calling(gateway) as browser:
            asked = browser.options("/chat/pro", headers=foreign)
        answered = caller.post("/chat/pro", json=ask(), headers={"origin": "https://evil.example"})
        with calling(gateway, issue("globex")) as other_tenant:
            other = other_tenant.post("/chat/pro", json=ask(), headers={"origin": ORIGIN})
        for answer in (asked, answered, other):
            assert not [name for name in answer.headers if name.startswith("access-control")]


class TestHealth:
    def test_the_loop_turns_and_the_snapshot_is_there(self, gateway: GatewayProcess) -> None:
        with calling(gateway) as anyone:
            assert anyone.get("/healthz").status_code == 200
            assert anyone.get("/readyz").status_code == 200


def test_a_stream_may_end_with_a_comment_after_its_end(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    sent = [*answer_frames(2)[:-1], DONE, b": bye\n\n"]
    upstream.at("first").answers(stream(sent))
    _, got = read_stream(caller, "/chat/pro", {"messages": [HELLO], "stream": True})
    assert got.startswith(b"".join(sent[:-1]))
