"""A second target where the first is silent: who answers, and what it comes to."""

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    answer_frames,
    chunk,
    completion,
    failing,
    silent,
    stream,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, Row, eventually
from tests.proxy.configuration import SECOND_SECRET, SECRET, alias, books, provider
from tests.proxy.conftest import ask, calling
from tests.proxy.terms import INPUT, OUTPUT, USED, nano

pytestmark = pytest.mark.once

AFTER = 0.2
HEDGE = {"hedge": {"after": "200ms"}}
MODELS = ("first", "second", "third", "narrow")
TWINS = ("one", "two")
"""Models of one provider."""
ROOM = 1_000_000_000
ASKED = 30
"""Tokens that the gateway takes the small request for, at most, when it must estimate."""


def _document(upstream: FakeUpstream) -> dict[str, Any]:
    limits = {
        "narrow": {"limits": {"concurrency": 1}},
        "shared": {"limits": {"requests_per_minute": 1000, "concurrency": 2}},
    }
    provider_of = {name: name for name in MODELS} | dict.fromkeys(TWINS, "shared")
    provider_of["unpriced"] = "unpriced"
    priced = (*MODELS, *TWINS)
    return {
        "version": 1,
        "providers": {
            name: provider(upstream.url(name), **limits.get(name, {}))
            for name in set(provider_of.values())
        },
        "models": {
            f"{name}-model": {
                "provider": provider_name,
                "upstream": f"gpt-{name}",
                "max_output_tokens": 1000,
            }
            for name, provider_name in provider_of.items()
        },
        "price_books": books(
            **{f"{name}-model": {"input": "1", "output": "10"} for name in priced}
        ),
        "aliases": {
            "pair": alias("first-model", "second-model", **HEDGE),
            "three": alias("first-model", "second-model", "third-model", **HEDGE),
            "alone": alias("first-model", **HEDGE),
            "full": alias("first-model", "narrow-model", **HEDGE),
            "twins": alias("one-model", "two-model", **HEDGE),
            "tried": alias(
                "first-model",
                "second-model",
                retries={"attempts": 1, "retry_on": ["server_error"], "backoff": "10ms"},
                **HEDGE,
            ),
            "then-unpriced": alias("first-model", "unpriced-model", **HEDGE),
            "unpriced-then": alias("unpriced-model", "first-model", **HEDGE),
        },
        "tenants": {
            "acme": {"price_book": "cost"},
            "spared": {"price_book": "cost", "price_factors": {"hedge_loser": "0"}},
            "half": {"price_book": "cost", "price_factors": {"hedge_loser": "0.5"}},
            "trusting": {"price_book": "cost", "unpriced": "quarantine"},
            "counted": {
                "price_book": "cost",
                "budgets": [{"amount": nano(ROOM), "period": "month", "hard": True}],
            },
            "capped": {
                "price_book": "cost",
                "budgets": [{"amount": nano(10_000_000_000), "period": "month", "hard": True}],
            },
            "short": {
                "price_book": "cost",
                "budgets": [{"amount": nano(15_000_000), "period": "month", "hard": True}],
            },
        },
    }


@pytest.fixture(scope="module")
def hedging(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("hedging")
    with GatewayProcess(folder, configuration=_document(upstream_server)) as process:
        yield process


@pytest.fixture(scope="module")
def keys(hedging: GatewayProcess) -> dict[str, IssuedKey]:
    tenants = ("acme", "spared", "half", "trusting", "capped", "short")
    return {tenant: hedging.issue_key(tenant) for tenant in tenants}


@pytest.fixture(scope="module")
def with_redis(
    upstream_server: FakeUpstream, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder, document = tmp_path_factory.mktemp("with-redis"), _document(upstream_server)
    with GatewayProcess(folder, configuration=document, REDIS_URL=redis_url) as process:
        yield process


@pytest.fixture
def acme(hedging: GatewayProcess, keys: dict[str, IssuedKey]) -> Iterator[httpx.Client]:
    with calling(hedging, keys["acme"]) as client:
        yield client


def _record(gateway: GatewayProcess, answer: httpx.Response) -> Row:
    return gateway.wait_for_record(answer.headers["x-gateway-record-id"])


def _ends(row: Row) -> tuple[str, str, str]:
    return row["role"], row["provider"], row["error_kind"]


def _decoded(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def _use(row: Row) -> dict[str, Any]:
    return _decoded(row["usage"])


def _amounts(row: Row) -> tuple[Any, Any, Any]:
    return row["cost"], row["charge"], row["usage"]


def _text(answer: httpx.Response) -> str:
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for frame in frames for choice in json.loads(frame)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


class TestWhoAnswers:
    def test_a_quick_first_target_is_alone(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        answer = acme.post("/chat/pair", json=ask())
        assert answer.headers["x-gateway-provider"] == "first"
        assert answer.headers["x-gateway-attempts"] == "1"
        assert _record(hedging, answer)["charge"] == USED
        assert [request.path.split("/")[1] for request in upstream.received] == ["first"]

    @pytest.mark.parametrize("streams", [True, False])
    def test_a_silent_one_is_overtaken(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream, streams: bool
    ) -> None:
        upstream.at("first").answers(silent)
        good = stream(answer_frames(3, USAGE)) if streams else whole(completion("From second"))
        upstream.at("second").answers(good)
        began = time.monotonic()
        answer = acme.post("/chat/pair", json=ask(stream=streams))
        assert AFTER <= time.monotonic() - began < 5
        assert answer.status_code == 200
        assert answer.headers["x-gateway-provider"] == "second"
        assert answer.headers["x-gateway-attempts"] == "2"
        record = _record(hedging, answer)
        assert (record["provider"], record["outcome"]) == ("second", "completed")
        rows = hedging.attempts(record["record_id"])
        assert [_ends(row) for row in rows] == [("first", "first", "lost"), ("hedge", "second", "")]

    def test_the_loser_is_hung_up_on_at_once(
        self, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(silent)
        paused = threading.Event()
        upstream.at("second").answers(
            stream([*answer_frames(2)[:2], paused, *answer_frames(2)[2:]])
        )
        with acme.stream("POST", "/chat/pair", json=ask(stream=True)) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            # The winner has only begun, and the loser's connection is closed already.
            eventually(lambda: upstream.wires[0].broken or None, within=2, what="the loser's end")
            assert upstream.wires[0].connection.closed_by == "gateway"
            paused.set()
            rest = b"".join(pieces)
        assert rest.endswith(b"data: [DONE]\n\n")

    def test_a_first_target_that_wakes_up_wins(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(stream(answer_frames(3, USAGE), after=2 * AFTER))
        upstream.at("second").answers(silent)
        answer = acme.post("/chat/pair", json=ask(stream=True))
        assert answer.headers["x-gateway-provider"] == "first"
        assert _text(answer) == " word0 word1 word2"
        rows = hedging.attempts(_record(hedging, answer)["record_id"])
        assert [_ends(row) for row in rows] == [("first", "first", ""), ("hedge", "second", "lost")]

    def test_a_role_without_content_is_no_answer_yet(
        self, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        role = chunk({"role": "assistant", "content": ""})
        upstream.at("first").answers(stream([role], ends="never"))
        upstream.at("second").answers(stream(answer_frames(2)))
        answer = acme.post("/chat/pair", json=ask(stream=True))
        assert answer.headers["x-gateway-provider"] == "second"
        assert _text(answer) == " word0 word1"

    def test_nothing_of_the_loser_is_seen(self, acme: httpx.Client, upstream: FakeUpstream) -> None:
        """Both speak at the same moment, many times over: every answer is of one piece."""
        for _ in range(10):
            both = threading.Event()
            frames = answer_frames(20)
            other = [frame.replace(b"word", b"tale") for frame in frames]
            upstream.at("first").answers(stream(frames, after=both))
            upstream.at("second").answers(stream(other, after=both))
            threading.Timer(2 * AFTER, both.set).start()
            text = _text(acme.post("/chat/pair", json=ask(stream=True)))
            assert text.count("word") in (0, 20)
            assert text.count("tale") == 20 - text.count("word")

    def test_one_that_fails_leaves_the_race_to_the_other(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(completion("Late"), after=4 * AFTER))
        upstream.at("second").answers(failing(500))
        answer = acme.post("/chat/pair", json=ask())
        assert answer.headers["x-gateway-provider"] == "first"
        record = _record(hedging, answer)
        assert record["charge"] == USED
        rows = hedging.attempts(record["record_id"])
        assert [_ends(row) for row in rows] == [
            ("first", "first", ""),
            ("hedge", "second", "server_error"),
        ]
        assert [row["cost"] for row in rows] == [None, None]

    def test_when_both_fail_the_next_target_is_asked(
        self, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(b"", status=500, after=2 * AFTER))
        upstream.at("second").answers(failing(500))
        answer = acme.post("/chat/three", json=ask())
        assert answer.status_code == 200
        assert answer.headers["x-gateway-provider"] == "third"
        assert answer.headers["x-gateway-attempts"] == "3"

    def test_when_all_fail_the_caller_is_told(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(b"", status=500, after=2 * AFTER))
        upstream.at("second").answers(failing(503))
        answer = acme.post("/chat/pair", json=ask())
        assert answer.status_code == 502
        record = _record(hedging, answer)
        assert (record["outcome"], record["charge"], record["cost"]) == ("failed", 0, 0)
        rows = hedging.attempts(record["record_id"])
        assert [row["role"] for row in rows] == ["first", "hedge"]
        assert [_amounts(row) for row in rows] == [(None, None, None)] * 2

    def test_retries_go_on_counting_after_a_hedge(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        late = whole(b"", status=500, after=2 * AFTER)
        upstream.at("first").answers(failing(500), late, whole(completion("Third")))
        upstream.at("second").answers(failing(500))
        answer = acme.post("/chat/tried", json=ask())
        assert answer.status_code == 502
        rows = hedging.attempts(_record(hedging, answer)["record_id"])
        assert [row["provider"] for row in rows] == ["first", "first", "second"]

    def test_one_without_a_price_is_no_hedge(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(completion("Late"), after=2 * AFTER))
        with calling(hedging, keys["trusting"]) as client:
            answer = client.post("/chat/then-unpriced", json=ask())
            assert answer.headers["x-gateway-provider"] == "first"
            assert not upstream.at_path("unpriced")
            record = _record(hedging, answer)
            assert record["attempts"] == 1
            [passed_over] = _decoded(record["decision"])["passed_over"]
            assert (passed_over["model"], passed_over["reason"]) == ("unpriced-model", "no_price")
            # where the first fails it is asked all the same
            upstream.at("first").answers(whole(b"", status=500, after=2 * AFTER))
            answer = client.post("/chat/then-unpriced", json=ask())
        assert answer.headers["x-gateway-provider"] == "unpriced"
        rows = hedging.attempts(_record(hedging, answer)["record_id"])
        assert [row["role"] for row in rows] == ["first", "fallback"]

    def test_one_without_a_price_has_no_hedge(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("unpriced").answers(whole(completion("Late"), after=2 * AFTER))
        with calling(hedging, keys["trusting"]) as client:
            answer = client.post("/chat/unpriced-then", json=ask())
        assert answer.headers["x-gateway-provider"] == "unpriced"
        assert answer.headers["x-gateway-attempts"] == "1"

    def test_an_alias_with_one_target_waits(
        self, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(completion("Alone"), after=2 * AFTER))
        answer = acme.post("/chat/alone", json=ask())
        assert answer.headers["x-gateway-attempts"] == "1"

    def test_a_target_whose_limits_are_used_up_is_no_hedge(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        held = threading.Event()
        upstream.at("first").answers(silent)
        upstream.at("narrow").answers(stream([*answer_frames(1)[:2], held, *answer_frames(1)[2:]]))
        with (
            calling(hedging, keys["acme"]) as one,
            calling(hedging, keys["acme"]) as other,
            one.stream("POST", "/chat/full", json=ask(stream=True)) as taking,
        ):
            assert taking.headers["x-gateway-provider"] == "narrow"
            upstream.at("first").answers(whole(completion("Waited"), after=3 * AFTER))
            answer = other.post("/chat/full", json=ask())
            assert answer.headers["x-gateway-provider"] == "first"
            assert answer.headers["x-gateway-attempts"] == "1"
            held.set()
            taking.read()
        # and its slot is free again afterwards
        upstream.at("first").answers(silent)
        with calling(hedging, keys["acme"]) as client:
            assert client.post("/chat/full", json=ask()).headers["x-gateway-provider"] == "narrow"

    def test_a_loser_gives_its_slot_back_while_the_winner_speaks(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        speaking = threading.Event()
        frames = answer_frames(1)
        upstream.at("narrow").answers(silent)
        upstream.at("first").answers(
            stream([2 * AFTER, *frames[:2], speaking, *frames[2:]]), silent
        )
        with (
            calling(hedging, keys["acme"]) as one,
            calling(hedging, keys["acme"]) as other,
            one.stream("POST", "/chat/full", json=ask(stream=True)) as winning,
        ):
            assert winning.headers["x-gateway-provider"] == "first"
            answer = other.post("/chat/full", json=ask())
            assert answer.headers["x-gateway-provider"] == "narrow"
            speaking.set()
            winning.read()


class TestWhatItComesTo:
    @pytest.mark.parametrize(("tenant", "share"), [("acme", 2), ("half", 1), ("spared", 0)])
    def test_the_loser_is_paid_as_the_tenant_has_agreed(
        self,
        hedging: GatewayProcess,
        keys: dict[str, IssuedKey],
        upstream: FakeUpstream,
        tenant: str,
        share: int,
    ) -> None:
        upstream.at("first").answers(silent)
        upstream.at("second").answers(whole(completion("From second")))
        with calling(hedging, keys[tenant]) as client:
            answer = client.post("/chat/pair", json=ask())
        record = _record(hedging, answer)
        lost, won = hedging.attempts(record["record_id"])
        assert (won["cost"], won["charge"], won["usage"]) == (None, None, None)
        tokens = _use(lost)["input_tokens"]
        assert 0 < tokens < ASKED
        assert lost["cost"] == tokens * INPUT
        assert lost["charge"] == (tokens * INPUT * share + 1) // 2
        assert record["cost"] == USED + lost["cost"]
        assert record["charge"] == USED + lost["charge"]
        # the tokens are those of the answer
        assert record["input_tokens"] + record["cached_input_tokens"] == 30
        assert Decimal(answer.headers["x-gateway-charge"]) == Decimal(nano(record["charge"]))

    def test_what_a_loser_has_reported_is_believed(
        self, hedging: GatewayProcess, acme: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """Both whole answers are there in the same moment; one of them is not used."""
        both = threading.Event()
        upstream.at("first").answers(whole(completion("One"), after=both))
        upstream.at("second").answers(whole(completion("Two"), after=both))
        threading.Timer(2 * AFTER, both.set).start()
        answer = acme.post("/chat/pair", json=ask())
        record = _record(hedging, answer)
        lost = [r for r in hedging.attempts(record["record_id"]) if r["error_kind"] == "lost"]
        assert len(lost) == 1
        assert record["cost"] == USED + lost[0]["cost"]
        use = _use(lost[0])
        estimate = use["input_tokens"] * INPUT
        assert lost[0]["cost"] == (USED if use["usage_source"] == "provider" else estimate)

    def test_a_caller_who_leaves_both_pays_by_policy(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(silent)
        upstream.at("second").answers(silent)
        before = len(hedging.records(tenant="spared"))
        with calling(hedging, keys["spared"]) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/chat/pair", json=ask(), timeout=3 * AFTER)
        record = hedging.wait_for_records(before + 1, tenant="spared")[0]
        assert (record["outcome"], record["ended_by"]) == ("interrupted", "caller")
        first, hedge = hedging.attempts(record["record_id"])
        assert (first["error_kind"], hedge["error_kind"]) == ("cancelled", "lost")
        assert hedge["cost"] == _use(hedge)["input_tokens"] * INPUT
        assert record["cost"] == record["input_tokens"] * INPUT + hedge["cost"]
        eventually(
            lambda: not [one for one in upstream.wires if not one.broken] or None,
            within=2,
            what="the end of both connections",
        )

    def test_a_caller_who_leaves_the_hedge_pays_nothing_for_what_had_failed(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(b"", status=500, after=2 * AFTER))
        upstream.at("second").answers(silent)
        before = len(hedging.records(tenant="spared"))
        with calling(hedging, keys["spared"]) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/chat/pair", json=ask(), timeout=4 * AFTER)
        record = hedging.wait_for_records(before + 1, tenant="spared")[0]
        assert (record["provider"], record["outcome"]) == ("second", "interrupted")
        assert 0 < record["input_tokens"] < ASKED
        assert record["cost"] == record["charge"] == record["input_tokens"] * INPUT
        rows = hedging.attempts(record["record_id"])
        assert [_ends(row) for row in rows] == [
            ("first", "first", "server_error"),
            ("hedge", "second", "cancelled"),
        ]
        assert [_amounts(row) for row in rows] == [(None, None, None)] * 2

    def test_a_killed_gateway_has_noted_both(
        self, upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        upstream.at("first").answers(silent)
        upstream.at("second").answers(silent)
        folder = tmp_path_factory.mktemp("killed")
        with GatewayProcess(folder, configuration=_document(upstream)) as killed:
            with calling(killed, killed.issue_key("acme")) as client:

                def call() -> None:
                    with pytest.raises(httpx.TransportError):
                        client.post("/chat/pair", json=ask())

                asking = threading.Thread(target=call)
                asking.start()
                eventually(lambda: len(upstream.received) == 2 or None, within=5, what="the hedge")
                time.sleep(0.1)
                killed.kill()
                asking.join()
            killed.start()
            record = killed.wait_for_records(1, tenant="acme", alias="pair", within=20)[0]
            assert record["outcome"] == "interrupted"
            rows = killed.attempts(record["record_id"])
        assert [row["role"] for row in rows] == ["first", "hedge"]
        assert record["cost"] == record["input_tokens"] * INPUT + rows[1]["cost"]


class TestBudgets:
    def test_a_hedge_is_within_what_was_reserved(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(silent)
        with calling(hedging, keys["capped"]) as client:
            answer = client.post("/chat/pair", json=ask(max_tokens=100))
        record = _record(hedging, answer)
        body = len(upstream.received[0].body)
        assert record["reserved"] >= 2 * 100 * OUTPUT
        assert record["reserved"] <= 2 * (100 * OUTPUT + (body + 50) * INPUT)
        assert record["charge"] <= record["reserved"]
        assert record["absorbed"] is None

    def test_where_a_budget_has_room_for_one_answer_nobody_is_asked_beside_it(
        self, hedging: GatewayProcess, keys: dict[str, IssuedKey], upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(completion("Alone"), after=3 * AFTER))
        with calling(hedging, keys["short"]) as client:
            answer = client.post("/chat/pair", json=ask(max_tokens=1000))
        assert answer.status_code == 200
        assert answer.headers["x-gateway-attempts"] == "1"
        assert _record(hedging, answer)["reserved"] <= 15_000_000
        assert not upstream.at_path("second")

    @pytest.mark.parametrize("engine", ["memory", "redis"])
    def test_two_models_of_one_provider_count_what_is_charged(
        self,
        hedging: GatewayProcess,
        with_redis: GatewayProcess,
        upstream: FakeUpstream,
        engine: str,
    ) -> None:
        """They meet the same limits twice: no slot is lost, and the budget falls by the charge."""
        gateway = with_redis if engine == "redis" else hedging
        charges = []
        with calling(gateway, gateway.issue_key("counted")) as client:
            for hedges in (True, True, True, False):
                upstream.reset()
                if hedges:  # it loses against a first target that wakes up
                    upstream.at("shared").answers(
                        whole(completion("Late"), after=2 * AFTER), silent
                    )
                answer = client.post("/chat/twins", json=ask(max_tokens=10))
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-gateway-attempts"] == ("2" if hedges else "1")
                record = _record(gateway, answer)
                charges.append(record["charge"])
        *before, last = charges
        assert USED == last < min(before)
        left = Decimal(answer.headers["x-gateway-budget-remaining"])
        assert left == Decimal(nano(ROOM - sum(before) - record["reserved"]))


def test_secrets_of_both_stay_in(acme: httpx.Client, upstream: FakeUpstream) -> None:
    upstream.at("first").answers(whole(b"", status=500, after=2 * AFTER))
    upstream.at("second").answers(failing(500, f"The key {SECRET} is odd."))
    answer = acme.post("/chat/pair", json=ask())
    assert SECRET not in answer.text
    assert SECOND_SECRET not in answer.text
