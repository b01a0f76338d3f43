"""An upstream fails: what the caller is told, who is asked next, and what is recorded."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from tests.fake_upstream import (
    DONE,
    USAGE,
    FakeUpstream,
    Script,
    answer_frames,
    chunk,
    completion,
    cut_in_head,
    failing,
    frame,
    stream,
    whole,
    words,
)
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.proxy.configuration import SECOND_SECRET, SECRET
from tests.proxy.conftest import Issue, ask, calling

SECOND = completion("from the second")
HTML = whole(b"<html><body>Welcome</body></html>", content_type="text/html")


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    return error


def streamed(
    caller: httpx.Client, alias: str, seen: threading.Event | None = None
) -> tuple[httpx.Response, list[bytes]]:
    """The answer and its events; `seen` is set when the first of them has arrived."""
    body = b""
    with caller.stream("POST", f"/chat/{alias}", json=ask(stream=True)) as answer:
        for piece in answer.iter_raw():
            body += piece
            if seen is not None:
                seen.set()
    return answer, [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]


class TestWithoutAFallback:
    @pytest.mark.parametrize(
        ("status", "expected", "code", "kind"),
        [
            (401, 502, "upstream_error", "auth"),
            (403, 502, "upstream_error", "auth"),
            (404, 502, "upstream_error", "not_found"),
            (500, 502, "upstream_error", "server_error"),
            (502, 502, "upstream_error", "server_error"),
            (503, 502, "upstream_error", "overloaded"),
            (529, 502, "upstream_error", "overloaded"),
            (429, 429, "rate_limit_exceeded", "rate_limit"),
        ],
    )
    @pytest.mark.usefixtures("forgiven")
    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_an_error_status_becomes_ours(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        status: int,
        expected: int,
        code: str,
        kind: str,
        streaming: bool,
    ) -> None:
        upstream.at("first").answers(failing(status, "No such luck."))
        answer = caller.post("/chat/pro", json=ask(stream=streaming))
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (expected, code)
        assert "No such luck." in error["message"]
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["status"], record["outcome"], record["ended_by"]) == (
            expected,
            "failed",
            "upstream",
        )
        assert (record["error_code"], record["charge_policy"]) == (code, "nothing")
        assert (record["cost"], record["charge"]) == (0, 0)
        [attempt] = gateway.attempts(record["record_id"])
        assert (attempt["status"], attempt["error_kind"]) == (status, kind)

    @pytest.mark.parametrize("status", [400, 413, 422])
    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_a_refusal_of_the_request_is_passed_on_in_the_providers_words(
        self, caller: httpx.Client, upstream: FakeUpstream, status: int, streaming: bool
    ) -> None:
        said = b'{\n "error": {"message": "Nope: temperature", "code": "x", "extra": 1}\n}'
        upstream.at("first").answers(whole(said, status=status))
        answer = caller.post("/chat/pro", json=ask(stream=streaming))
        assert (answer.status_code, answer.content) == (400, said)
        assert "x-gateway-record-id" in answer.headers

    def test_a_rate_limit_says_when_to_come_back(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("limited").answers(failing(429, retry_after="17"))
        assert caller.post("/chat/limited", json=ask()).headers["retry-after"] == "17"

    @pytest.mark.parametrize(
        "script",
        [
            HTML,
            whole(b""),
            whole(b'{"id": "cut off'),
            whole(b'{"object": "list", "data": []}'),
            whole(b"null"),
            whole({"error": {"message": "Overloaded", "type": "server_error"}}),
            whole(b"<html>Bad gateway</html>", status=502, content_type="text/html"),
            whole(b"", status=302, headers={"location": "http://127.0.0.1:1/"}),
            whole(b"", status=204),
            cut_in_head("rst"),
            cut_in_head("fin"),
            lambda wire: wire.cut("rst"),
            lambda wire: wire.cut("fin"),
            lambda wire: wire.raw(b"nonsense\r\n\r\n"),
        ],
        ids=[
            "HTML in a 200",
            "an empty 200",
            "JSON cut off",
            "another JSON",
            "null",
            "an error in a 200",
            "HTML in a 502",
            "a redirect",
            "no content",
            "RST in the head",
            "FIN in the head",
            "RST at once",
            "FIN at once",
            "no HTTP",
        ],
    )
    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_what_is_no_answer_is_an_upstream_error(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        script: Script,
        streaming: bool,
    ) -> None:
        # A kept connection that breaks at once is opened anew: both are broken.
        upstream.at("first").answers(script, script)
        answer = caller.post("/chat/pro", json=ask(stream=streaming))
        assert (answer.status_code, error_of(answer)["code"]) == (502, "upstream_error")
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["charge"]) == ("failed", 0)

    def test_nobody_listens(self, gateway: GatewayProcess, caller: httpx.Client) -> None:
        answer = caller.post("/chat/refused", json=ask())
        assert (answer.status_code, error_of(answer)["code"]) == (502, "upstream_error")
        [attempt] = gateway.attempts(answer.headers["x-gateway-record-id"]) or gateway.attempts(
            gateway.wait_for_record(answer.headers["x-gateway-record-id"])["record_id"]
        )
        assert (attempt["status"], attempt["error_kind"]) == (None, "connection")

    @pytest.mark.parametrize("how", ["rst", "fin"])
    def test_a_whole_answer_cut_in_its_body_is_no_answer(
        self, caller: httpx.Client, upstream: FakeUpstream, how: str
    ) -> None:
        def cut(wire: Any) -> None:
            body = completion()
            wire.head(200, {"content-type": "application/json"}, length=len(body))
            wire.send(body[: len(body) // 2])
            wire.cut(how)

        upstream.at("first").answers(cut)
        answer = caller.post("/chat/pro", json=ask())
        assert (answer.status_code, error_of(answer)["code"]) == (502, "upstream_error")

    @pytest.mark.usefixtures("forgiven")
    def test_the_secrets_of_the_provider_stay_in(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        told = (
            f"Incorrect API key provided: {SECRET}. Try sk-proj-abcdefghijkl or AIzaSyD-12345678."
        )
        for status, streaming in ((401, False), (400, False), (401, True), (400, True)):
            upstream.at("first").answers(failing(status, told))
            answer = caller.post("/chat/pro", json=ask(stream=streaming))
            assert SECRET not in answer.text
            assert "Incorrect API key provided" in answer.text
            [attempt] = gateway.attempts(
                gateway.wait_for_record(answer.headers["x-gateway-record-id"])["record_id"]
            )
            assert SECRET not in json.dumps(attempt)
        for content in (words(2), []):
            seen = threading.Event()
            pieces = [*content, seen] if content else []
            failure = frame({"error": {"message": told}})
            upstream.at("first").answers(stream([*pieces, failure]))
            _, events = streamed(caller, "pro", seen)
            assert SECRET.encode() not in b"".join(events)
        assert SECRET not in gateway.log()


class TestTimeouts:
    """Each names itself, in the error and in the time that it took."""

    @pytest.mark.parametrize(
        ("alias", "named", "script", "streaming"),
        [
            ("unreachable", "connect", None, False),
            ("hasty", "first byte", lambda wire: wire.wait_for_the_end(), False),
            ("hasty", "first byte", lambda wire: wire.wait_for_the_end(), True),
            ("idle", "idle", stream([], ends="never"), True),
            ("idle", "idle", stream([words(1)[0]], ends="never"), True),
            ("brief", "total", stream([b": ping\n\n"] * 100, pace=0.05), True),
            ("brief", "total", lambda wire: wire.wait_for_the_end(), False),
        ],
    )
    def test_before_content_they_are_a_504(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        alias: str,
        named: str,
        script: Script | None,
        streaming: bool,
    ) -> None:
        if script:
            upstream.at(alias).answers(script)
        began = time.monotonic()
        answer = caller.post(f"/chat/{alias}", json=ask(stream=streaming))
        assert 0.25 < time.monotonic() - began < 3
        error = error_of(answer)
        assert (answer.status_code, error["code"]) == (504, "upstream_timeout")
        assert named in error["message"]
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["error_code"]) == ("failed", "upstream_timeout")
        assert gateway.attempts(record["record_id"])[0]["error_kind"] == "timeout"

    @pytest.mark.parametrize(
        ("alias", "named", "script"),
        [
            ("idle", "idle", stream(words(3), ends="never")),
            ("brief", "total", stream(words(100), pace=0.05)),
        ],
    )
    def test_after_content_they_are_an_event(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        alias: str,
        named: str,
        script: Script,
    ) -> None:
        upstream.at(alias).answers(script)
        answer, events = streamed(caller, alias)
        assert answer.status_code == 200
        assert events[:3] == words(3)[:3]
        error = json.loads(events[-1].removeprefix(b"data: "))["error"]
        assert error["code"] == "upstream_timeout"
        assert named in error["message"]
        assert DONE not in events
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "gateway")
        assert record["error_code"] == "upstream_timeout"

    @pytest.mark.parametrize("alias", ["hasty", "idle", "unreachable"])
    def test_they_fall_back(self, caller: httpx.Client, upstream: FakeUpstream, alias: str) -> None:
        upstream.at(alias).answers(stream([], ends="never", after=0.35 if alias == "hasty" else 0))
        upstream.at("second").answers(stream(answer_frames()))
        answer, events = streamed(caller, f"{alias}-safe")
        assert events == answer_frames()
        assert answer.headers["x-gateway-attempts"] == "2"

    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("alias", ["pro", "unreachable-patiently"])
    def test_the_caller_may_be_in_more_of_a_hurry(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        alias: str,
        streaming: bool,
    ) -> None:
        upstream.at("first").answers(lambda wire: wire.wait_for_the_end())
        began = time.monotonic()
        answer = caller.post(
            f"/chat/{alias}", json=ask(stream=streaming), headers={"x-gateway-timeout": "300ms"}
        )
        assert time.monotonic() - began < 2
        assert (answer.status_code, error_of(answer)["code"]) == (504, "upstream_timeout")

    def test_a_time_out_on_a_connection_used_before_is_not_a_reason_to_ask_again(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("hasty").answers(whole(completion()), lambda wire: wire.wait_for_the_end())
        assert caller.post("/chat/hasty", json=ask()).status_code == 200
        assert caller.post("/chat/hasty", json=ask()).status_code == 504
        assert len(upstream.received) == 2

    def test_the_caller_cannot_make_them_longer(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("hasty").answers(lambda wire: wire.wait_for_the_end())
        began = time.monotonic()
        answer = caller.post("/chat/hasty", json=ask(), headers={"x-gateway-timeout": "60s"})
        assert time.monotonic() - began < 3
        assert "first byte" in error_of(answer)["message"]

    def test_a_caller_whose_time_is_over_is_not_sent_to_the_next_target(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(lambda wire: wire.wait_for_the_end())
        answer = caller.post("/chat/safe", json=ask(), headers={"x-gateway-timeout": "300ms"})
        assert answer.status_code == 504
        assert upstream.at_path("second") == []

    def test_a_slow_stream_that_never_rests_is_no_idle_one(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        frames = answer_frames(8)
        upstream.at("idle").answers(stream(frames, pace=0.1))
        _, events = streamed(caller, "idle")
        assert events == frames


class TestFallingBack:
    @pytest.mark.parametrize(
        "script",
        [
            failing(429),
            failing(500),
            failing(503),
            failing(529),
            cut_in_head("rst"),
            HTML,
            whole({"error": {"message": "Overloaded", "code": 503}}),
            stream([frame({"error": {"message": "The server is overloaded", "code": 529}})]),
            stream([chunk({"role": "assistant", "content": ""}), frame({"error": "down"})]),
            stream([b": ping\n\n", *words(0)], ends="rst"),
            stream([words(0)[0]], ends="fin"),
            stream([words(0)[0]]),
            stream([b"data: not json\n\n", b"nonsense\n\n"]),
            stream([DONE]),
        ],
        ids=[
            "429",
            "500",
            "503",
            "529",
            "RST in the head",
            "HTML in a 200",
            "an error in a 200",
            "an error event",
            "an error event after the role",
            "RST before content",
            "FIN before content",
            "an end before content",
            "malformed events",
            "nothing but the end",
        ],
    )
    @pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
    def test_before_content_another_target_answers(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        script: Script,
        streaming: bool,
    ) -> None:
        upstream.at("first").answers(script, script)
        upstream.at("second").answers(stream(answer_frames()) if streaming else whole(SECOND))
        answer = caller.post("/chat/safe", json=ask(stream=streaming))
        assert answer.status_code == 200
        assert answer.content == (b"".join(answer_frames()) if streaming else SECOND)
        assert answer.headers["x-gateway-provider"] == "second"
        assert answer.headers["x-gateway-attempts"] == "2"
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["provider"]) == ("completed", "second")
        assert (record["model"], record["attempts"]) == ("second-model", 2)
        first, second = gateway.attempts(record["record_id"])
        assert (first["role"], first["provider"], first["credential"]) == ("first", "first", "main")
        assert first["error_kind"]
        assert (second["role"], second["provider"]) == ("fallback", "second")
        assert (second["credential"], second["status"], second["error"]) == ("spare", 200, "")

    def test_the_next_target_has_its_own_credential_and_model(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(failing(500))
        caller.post("/chat/safe", json=ask())
        [request] = upstream.at_path("second")
        assert request.header("authorization") == f"Bearer {SECOND_SECRET}"
        assert request.json() == ask(model="gpt-second")

    @pytest.mark.usefixtures("forgiven")
    @pytest.mark.parametrize("status", [401, 403, 404, 400, 413, 422])
    def test_what_another_target_would_not_mend_is_told_at_once(
        self, caller: httpx.Client, upstream: FakeUpstream, status: int
    ) -> None:
        upstream.at("first").answers(failing(status))
        answer = caller.post("/chat/safe", json=ask())
        assert answer.status_code == (502 if status in (401, 403, 404) else 400)
        assert upstream.at_path("second") == []

    @pytest.mark.usefixtures("forgiven")
    @pytest.mark.parametrize(
        ("alias", "script", "falls_back"),
        [
            ("picky", failing(429), True),
            ("picky", failing(500), False),
            ("picky", failing(503), False),
            ("picky", cut_in_head("rst"), False),
            ("wide", failing(401), True),
            ("wide", failing(403), True),
            ("wide", failing(500), False),
            (
                "wide",
                whole(
                    {"error": {"message": "Too long", "code": "context_length_exceeded"}},
                    status=400,
                ),
                True,
            ),
            (
                "wide",
                whole({"error": {"message": "Filtered", "code": "content_filter"}}, status=400),
                True,
            ),
            ("wide", failing(400), False),
        ],
    )
    def test_an_alias_names_the_kinds_that_fall_back(
        self,
        caller: httpx.Client,
        upstream: FakeUpstream,
        alias: str,
        script: Script,
        falls_back: bool,
    ) -> None:
        upstream.at("first").answers(script, script)
        answer = caller.post(f"/chat/{alias}", json=ask())
        assert (answer.status_code == 200) is falls_back
        assert bool(upstream.at_path("second")) is falls_back

    def test_one_without_a_price_does_not_inherit_what_failed(
        self, gateway: GatewayProcess, issue: Issue, upstream: FakeUpstream
    ) -> None:
        """Its tenant puts such answers aside, to be priced later: nothing stands on them before."""
        upstream.at("first").answers(failing(500), whole(SECOND))
        with calling(gateway, issue("trusting")) as caller:
            answer = caller.post("/chat/then-unpriced", json=ask())
        assert answer.content == SECOND
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["model"], record["quarantined"]) == ("unpriced-model", True)
        assert (record["cost"], record["charge"], record["absorbed"]) == (None, None, None)
        for amount in ("cost", "charge"):
            assert (record[f"{amount}_currency"], record[f"{amount}_price_version"]) == ("", "")

    def test_when_all_fail_the_last_one_is_told(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(failing(500, "first words"))
        upstream.at("second").answers(failing(503, "last words"))
        answer = caller.post("/chat/safe", json=ask())
        assert (answer.status_code, error_of(answer)["code"]) == (502, "upstream_error")
        assert "last words" in answer.text
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["attempts"], record["charge"]) == ("failed", 2, 0)
        assert len(gateway.attempts(record["record_id"])) == 2

    def test_a_rate_limit_of_one_and_a_failure_of_another_is_no_429(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(failing(500))
        upstream.at("second").answers(failing(429))
        answer = caller.post("/chat/safe", json=ask())
        assert answer.status_code == 502

    def test_rate_limits_of_all_are_a_429(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("busy").answers(failing(429, retry_after="30"))
        upstream.at("busier").answers(failing(429, retry_after="7"))
        answer = caller.post("/chat/both-busy", json=ask())
        assert (answer.status_code, error_of(answer)["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "7"

    def test_the_failed_attempt_leaves_no_connection_behind(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream([frame({"error": "down"})], ends="never"))
        before = len(upstream.open_connections)
        assert caller.post("/chat/safe", json=ask(stream=True)).status_code == 200
        deadline = time.monotonic() + 2
        while len(upstream.open_connections) > before + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(upstream.open_connections) <= before + 1


class TestInTheMiddleOfAStream:
    """What comes after the caller has seen some content."""

    @pytest.fixture
    def seen(self) -> threading.Event:
        return threading.Event()

    @pytest.mark.parametrize(
        ("rest", "ends"),
        [
            ([], "rst"),
            ([], "fin"),
            ([], "clean"),
            ([b'data: {"id": "half a fra'], "rst"),
            ([b'data: {"id": "half a fra'], "clean"),
        ],
        ids=["RST", "FIN", "a clean end", "RST in a frame", "a clean end in a frame"],
    )
    def test_a_cut_is_a_typed_error_and_never_a_silent_end(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        seen: threading.Event,
        rest: list[bytes],
        ends: Any,
    ) -> None:
        upstream.at("first").answers(stream([*words(3), seen, *rest], ends=ends))
        answer, events = streamed(caller, "safe", seen)
        assert events[:-1] == words(3)
        error = json.loads(events[-1].removeprefix(b"data: "))["error"]
        assert error["code"] == "upstream_error"
        assert error["request_id"] == answer.headers["x-request-id"]
        assert upstream.at_path("second") == []
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "upstream")
        assert (record["status"], record["error_code"]) == (200, "upstream_error")
        assert (record["usage_source"], record["charge_policy"]) == ("estimated", "delivered")
        assert 0 < record["output_tokens"] <= 10
        assert record["charge"] > 0
        [attempt] = gateway.attempts(record["record_id"])
        assert attempt["error_kind"] == "connection"

    def test_the_providers_own_error_event_comes_through_and_ends_the_stream(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        seen: threading.Event,
    ) -> None:
        failure = frame({"error": {"message": "The server had an error", "type": "server_error"}})
        upstream.at("first").answers(stream([*words(3), seen, failure, DONE]))
        answer, events = streamed(caller, "safe", seen)
        assert events == [*words(3), failure]
        assert upstream.at_path("second") == []
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "upstream")
        assert record["output_tokens"] > 0

    def test_content_and_error_that_come_in_one_go_are_both_delivered_or_neither(
        self, gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        failure = frame({"error": {"message": "The server had an error"}})
        upstream.at("first").answers(stream([b"".join([*words(3), failure])]))
        answer = caller.post("/chat/pro", json=ask(stream=True))
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        if answer.status_code == 200:
            assert answer.content == b"".join([*words(3), failure])
            assert record["outcome"] == "interrupted"
        else:
            assert (answer.status_code, record["outcome"]) == (502, "failed")

    def test_what_is_delivered_with_the_error_is_counted_too(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        seen: threading.Event,
    ) -> None:
        failure = frame({"error": {"message": "The server had an error"}})
        late = chunk({"content": "many words " * 50})
        upstream.at("first").answers(stream([*words(1), seen, late + failure]))
        answer, events = streamed(caller, "pro", seen)
        assert events == [*words(1), late, failure]
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert record["output_tokens"] > 90

    def test_a_reported_usage_is_kept_when_the_end_is_missing(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        seen: threading.Event,
    ) -> None:
        reporting = [chunk({"content": f"w{n}"}, usage={**USAGE, "n": n}) for n in range(3)]
        upstream.at("first").answers(stream([*reporting, seen], ends="rst"))
        answer, _ = streamed(caller, "pro", seen)
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert (record["usage_source"], record["outcome"]) == ("provider", "interrupted")
        assert (record["input_tokens"], record["output_tokens"]) == (20, 8)

    def test_a_frame_that_cannot_be_read_passes(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        frames = [*words(2), b"data: {not json\n\n", b'data: {"usage": 7}\n\n', b"event: odd\n\n"]
        frames += [chunk(finish="stop"), DONE]
        upstream.at("first").answers(stream(frames))
        _, events = streamed(caller, "pro")
        assert events == frames

    @pytest.mark.parametrize("ending", [[chunk(finish="stop")], [DONE]])
    def test_an_end_is_known_by_its_reason_or_by_its_mark(
        self,
        gateway: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        ending: list[bytes],
    ) -> None:
        frames = [*words(3), *ending]
        upstream.at("first").answers(stream(frames))
        answer, events = streamed(caller, "pro")
        assert events == frames
        record = gateway.wait_for_record(answer.headers["x-gateway-record-id"])
        assert record["outcome"] == "completed"

    def test_nothing_is_waited_for_after_the_end_mark(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(), ends="never"))
        began = time.monotonic()
        _, events = streamed(caller, "pro")
        assert events == answer_frames()
        assert time.monotonic() - began < 5


def test_a_connection_that_the_upstream_closed_meanwhile_is_opened_anew(
    gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
) -> None:
    def answers_and_leaves(wire: Any) -> None:
        whole(completion())(wire)
        wire.cut("fin")

    with calling(gateway, key) as caller:
        for _ in range(5):
            upstream.at("first").answers(answers_and_leaves)
            assert caller.post("/chat/pro", json=ask()).status_code == 200
            assert caller.post("/chat/pro", json=ask()).status_code == 200


def test_connections_to_the_upstream_are_used_again(
    caller: httpx.Client, upstream: FakeUpstream
) -> None:
    caller.post("/chat/pro", json=ask())
    upstream.reset()
    for streaming in (False, True) * 5:
        if streaming:
            upstream.at("first").answers(stream(answer_frames(usage=USAGE)))
        assert caller.post("/chat/pro", json=ask(stream=streaming)).status_code == 200
    assert len({request.connection.number for request in upstream.received}) == 1
