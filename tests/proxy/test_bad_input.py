"""What cannot be asked is refused by name, logged and counted, and reaches no upstream."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.conftest import HELLO, Issue, ask, calling

JSON = {"content-type": "application/json"}


def _refused(
    answer: httpx.Response, upstream: FakeUpstream, status: int, code: str
) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "x-gateway-record-id" not in answer.headers
    assert upstream.received == []
    return error


class TestTheBody:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"not json",
            b'{"messages": [',
            b'{"messages": []} trailing',
            b"[]",
            b'"text"',
            b"null",
            b'{"messages": [], "temperature": NaN}',
            b'{"messages": [], "temperature": Infinity}',
            b'{"messages": "\xff\xfe"}',
            b"\xef\xbb\xbf{}",
            b"[" * 100_000,
            b'{"a":' * 100_000,
        ],
        ids=[
            *("empty", "text", "cut off", "trailing", "a list", "a string", "null", "NaN"),
            *("Infinity", "not UTF-8", "a byte order mark", "deep lists", "deep objects"),
        ],
    )
    def test_that_is_no_json_object(
        self, caller: httpx.Client, upstream: FakeUpstream, raw: bytes
    ) -> None:
        answer = caller.post("/chat/pro", content=raw, headers=JSON)
        _refused(answer, upstream, 400, "invalid_request")

    @pytest.mark.parametrize(
        ("raw", "name"),
        [
            (b'{"model": "pro", "model": "safe", "messages": []}', "model"),
            (b'{"messages": [{"role": "user", "role": "system", "content": "x"}]}', "role"),
            (b'{"messages": [], "mod\\u0065l": "a", "model": "b"}', "model"),
            (b'{"messages": [], "x": {"deep": [{"k": 1, "k": 1}]}}', "k"),
        ],
    )
    def test_with_a_key_that_stands_twice(
        self, caller: httpx.Client, upstream: FakeUpstream, raw: bytes, name: str
    ) -> None:
        answer = caller.post("/chat/pro", content=raw, headers=JSON)
        error = _refused(answer, upstream, 400, "invalid_request")
        assert repr(name) in error["message"]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": "hello"}, "messages"),
            ({"messages": {}}, "messages"),
            ({"messages": None}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages[0].role"),
            ({"messages": ["x"]}, "messages[0]"),
            ({"messages": [HELLO, {"role": "user", "content": 7}]}, "messages[1].content"),
            ({"messages": [HELLO], "temperature": "hot"}, "temperature"),
            ({"messages": [HELLO], "stream": "yes"}, "stream"),
            ({"messages": [HELLO], "stream": 1}, "stream"),
            ({"messages": [HELLO], "stream_options": []}, "stream_options"),
            ({"messages": [HELLO], "max_tokens": "many"}, "max_tokens"),
            ({"messages": [HELLO], "max_tokens": 1.5}, "max_tokens"),
            ({"messages": [HELLO], "n": 0}, "n"),
            ({"messages": [HELLO], "tools": {"type": "function"}}, "tools"),
            ({"messages": [HELLO], "stop": 5}, "stop"),
            ({"messages": [HELLO], "user": ["ada"]}, "user"),
        ],
    )
    def test_with_a_field_of_another_type_that_is_named(
        self, caller: httpx.Client, upstream: FakeUpstream, fields: dict[str, Any], param: str
    ) -> None:
        answer = caller.post("/chat/pro", json=fields)
        error = _refused(answer, upstream, 400, "invalid_request")
        assert error["param"] == param
        assert param.split("[", maxsplit=1)[0] in error["message"]

    def test_without_messages(self, caller: httpx.Client, upstream: FakeUpstream) -> None:
        answer = caller.post("/chat/pro", json={"model": "pro"})
        error = _refused(answer, upstream, 400, "invalid_request")
        assert error["param"] == "messages"

    @pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
    def test_without_a_model_where_the_path_names_none(
        self, caller: httpx.Client, upstream: FakeUpstream, model: dict[str, Any]
    ) -> None:
        answer = caller.post("/v1/chat/completions", json=ask(**model))
        error = _refused(answer, upstream, 400, "invalid_request")
        assert error["param"] == "model"

    def test_what_the_gateway_does_not_know_passes(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        fields = ask(unheard_of={"a": [1, None, "x"]}, logit_bias={"50256": -100}, seed=7)
        assert caller.post("/chat/pro", json=fields).status_code == 200
        assert upstream.received[0].json() == {**fields, "model": "gpt-first"}

    @pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "a", ""])
    def test_of_another_media_type(
        self, caller: httpx.Client, upstream: FakeUpstream, kind: str
    ) -> None:
        answer = caller.post("/chat/pro", content=json.dumps(ask()), headers={"content-type": kind})
        _refused(answer, upstream, 415, "unsupported_media_type")

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
    def test_of_json_by_any_spelling(
        self, caller: httpx.Client, upstream: FakeUpstream, kind: str
    ) -> None:
        answer = caller.post("/chat/pro", content=json.dumps(ask()), headers={"content-type": kind})
        assert answer.status_code == 200

    def test_that_is_compressed(self, caller: httpx.Client, upstream: FakeUpstream) -> None:
        answer = caller.post(
            "/chat/pro", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"}
        )
        _refused(answer, upstream, 415, "unsupported_media_type")


class TestALargeBody:
    SIZE = 30_000_000

    def test_is_refused_by_its_announced_length(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = caller.post("/chat/pro", content=b" " * self.SIZE, headers=JSON)
        _refused(answer, upstream, 413, "request_too_large")

    def test_is_refused_while_it_arrives_in_chunks(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        def chunks() -> Iterator[bytes]:
            yield b'{"messages": [{"role": "user", "content": "'
            for _ in range(self.SIZE // 100_000):
                yield b"x" * 100_000
            yield b'"}]}'

        answer = caller.post("/chat/pro", content=chunks(), headers=JSON)
        _refused(answer, upstream, 413, "request_too_large")

    def test_is_refused_before_it_is_sent(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as half:
            half.sendall(
                b"POST /chat/pro HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
                + f"authorization: Bearer {key.token}\r\n".encode()
                + f"content-length: {self.SIZE}\r\n\r\n".encode()
            )
            assert b" 413 " in half.recv(4096).split(b"\r\n")[0]
        assert upstream.received == []

    def test_below_the_limit_passes(self, caller: httpx.Client, upstream: FakeUpstream) -> None:
        text = "x" * 15_000_000
        answer = caller.post(
            "/chat/pro", json={"messages": [{"role": "user", "content": text}]}, timeout=30
        )
        assert answer.status_code == 200
        assert upstream.received[0].json()["messages"][0]["content"] == text


class TestThePath:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/nothing", 404),
            ("POST", "/v1/nothing", 404),
            ("POST", "/chat/", 404),
            ("POST", "/chat/a/b", 404),
            ("GET", "/chat/pro", 405),
            ("PUT", "/v1/chat/completions", 405),
            ("DELETE", "/v1/models", 405),
        ],
    )
    def test_that_leads_nowhere(
        self, caller: httpx.Client, upstream: FakeUpstream, method: str, path: str, status: int
    ) -> None:
        answer = caller.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["code"] in ("not_found", "method_not_allowed")
        assert upstream.received == []

    @pytest.mark.parametrize(
        "alias", ["Pro", "pro%20", "%2e%2e", "pro%00", "x" * 500, "%F0%9F%91%8B"]
    )
    def test_with_an_alias_that_is_no_name(
        self, caller: httpx.Client, upstream: FakeUpstream, alias: str
    ) -> None:
        answer = caller.post(f"/chat/{alias}", json=ask())
        assert answer.status_code == 404
        assert upstream.received == []


class TestPrices:
    def test_a_model_without_one_is_refused(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        error = _refused(caller.post("/chat/unpriced", json=ask()), upstream, 503, "price_unknown")
        assert "unpriced-model" in error["message"]

    def test_a_tenant_may_let_its_records_wait_for_one(
        self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
    ) -> None:
        with calling(gateway, issue("trusting")) as caller:
            answer = caller.post("/chat/unpriced", json=ask())
        assert answer.status_code == 200
        assert "x-gateway-charge" not in answer.headers
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert record["quarantined"] is True
        assert (record["cost"], record["charge"]) == (None, None)
        assert record["output_tokens"] > 0


def test_refusals_are_counted_by_tenant_key_and_code_and_logged(
    gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue
) -> None:
    counted = issue("globex", name="counted")
    with calling(gateway, counted, headers={"x-request-id": "refused-1"}) as caller:
        caller.post("/chat/pro", content=b"nonsense", headers=JSON)
        caller.post("/chat/pro", content=b"x", headers={"content-type": "text/plain"})
        caller.post("/chat/nope", json=ask())
        caller.post("/chat/safe", json=ask())
        caller.post("/chat/safe", json=ask())
    expected = {
        "invalid_request": 1,
        "unsupported_media_type": 1,
        "alias_not_found": 1,
        "alias_not_allowed": 2,
    }
    eventually(
        lambda: gateway.refusals(tenant="globex", key_id=counted.key_id) == expected or None,
        within=3,
        what="the count",
    )
    lines = [line for line in gateway.log_lines("refused") if line["request_id"] == "refused-1"]
    assert [line["code"] for line in lines] == [
        *("invalid_request", "unsupported_media_type", "alias_not_found"),
        *("alias_not_allowed", "alias_not_allowed"),
    ]
    assert {(line["tenant"], line["key_id"]) for line in lines} == {("globex", counted.key_id)}
    assert gateway.records(key_id=counted.key_id) == []
