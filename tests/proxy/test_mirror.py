"""Copies of the traffic for a candidate: nobody waits for them, nobody is charged for them, and
what they cost is counted."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
import redis

from billing.budgets import period_at, read_purses
from billing.counters.blocking import BlockingCounters
from billing.counters.memory import MemoryCounters
from billing.scopes import Scope
from proxy import mirror
from proxy.admit import Admission
from proxy.exchange import Rates
from proxy.mirror import MOST_COPIES
from proxy.standing import Call, Standing
from proxy.worker import Worker
from routing.choose import Target
from routing.snapshots import AliasSnapshot, Mirror
from tests.billing.rows import record
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
from tests.gateway_process import GatewayProcess, IssuedKey, Row, eventually
from tests.proxy.asking import exchange, model, rate
from tests.proxy.configuration import alias, books, provider
from tests.proxy.conftest import ask, calling
from tests.proxy.terms import INPUT, OUTPUT, USED, budget

NAMES = ("first", "candidate", "modest", "unpriced")
Start = Callable[..., GatewayProcess]


def _document(upstream: FakeUpstream, **gateway: Any) -> dict[str, Any]:
    def mirrored(share: str, model: str = "candidate-model") -> dict[str, Any]:
        return {"mirror": {"model": model, "share": share}}

    return {
        "version": 1,
        "gateway": gateway,
        "providers": {name: provider(upstream.url(name)) for name in NAMES},
        "models": {
            f"{name}-model": {
                "provider": name,
                "upstream": f"gpt-{name}",
                "max_output_tokens": 100 if name == "modest" else 1000,
            }
            for name in NAMES
        },
        "price_books": books(
            **{f"{name}-model": {"input": "1", "output": "10"} for name in NAMES[:3]}
        ),
        "aliases": {
            "pro": alias("first-model", **mirrored("100%")),
            "modest": alias("first-model", **mirrored("100%", "modest-model")),
            "half": alias("first-model", **mirrored("50%")),
            "plain": alias("first-model", on_short_budget="refuse"),
            "unpriced": alias("first-model", **mirrored("100%", "unpriced-model")),
        },
        "tenants": {"acme": {"price_book": "standard"}},
    }


@pytest.fixture(scope="module")
def mirroring(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("mirroring")
    with GatewayProcess(folder, configuration=_document(upstream_server)) as process:
        yield process


@pytest.fixture(scope="module")
def acme(mirroring: GatewayProcess) -> IssuedKey:
    return mirroring.issue_key("acme")


@pytest.fixture
def caller(mirroring: GatewayProcess, acme: IssuedKey) -> Iterator[httpx.Client]:
    with calling(mirroring, acme) as client:
        yield client


@pytest.fixture
def start(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A gateway with terms of its own."""
    with ExitStack() as stack:

        def started(environment: dict[str, str] | None = None, **terms: Any) -> GatewayProcess:
            folder = tmp_path_factory.mktemp("own")
            document = _document(upstream, **terms)
            process = GatewayProcess(folder, configuration=document, **(environment or {}))
            return stack.enter_context(process)

        yield started


def _mirror(gateway: GatewayProcess, answer: httpx.Response) -> Row:
    """The attempt at the candidate, once it is there."""
    record_id = answer.headers["x-gateway-record-id"]

    def look() -> Row | None:
        rows = gateway.attempts(record_id)
        return rows[-1] if rows and rows[-1]["role"] == "mirror" else None

    return eventually(look, within=5, what="the copy")


def _use(row: Row) -> dict[str, Any]:
    usage = row["usage"]
    found: dict[str, Any] = json.loads(usage) if isinstance(usage, str) else usage
    return found


def _counted(gateway: GatewayProcess, outcome: str, name: str = "pro") -> int:
    page = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    wanted = f'gateway_copies_total{{alias="{name}",outcome="{outcome}"}} '
    found = [line for line in page.splitlines() if line.startswith(wanted)]
    return int(float(found[0].rpartition(" ")[2])) if found else 0


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_a_copy_is_an_attempt_of_its_request_and_charged_to_nobody(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, streams: bool
) -> None:
    if streams:
        upstream.at("first").answers(stream(answer_frames(3, USAGE)))
        upstream.at("candidate").answers(stream(answer_frames(3, USAGE)))
    body = ask(stream=streams, temperature=0.5)
    answer = caller.post("/chat/pro", json=body)
    assert answer.headers["x-gateway-provider"] == "first"
    assert answer.headers["x-gateway-attempts"] == "1"
    copy = _mirror(mirroring, answer)
    assert (copy["ordinal"], copy["provider"], copy["status"]) == (2, "candidate", 200)
    assert (copy["cost"], copy["charge"]) == (USED, 0)
    assert _use(copy)["usage_source"] == "provider"
    assert _use(copy)["charge_factor"] == "0"
    assert copy["latency_us"] > 0
    assert (copy["first_token_us"] is not None) == streams
    record = mirroring.wait_for_record(answer.headers["x-gateway-record-id"])
    assert record["cost"] == USED
    assert (record["provider"], record["attempts"]) == ("first", 1)
    [sent] = upstream.at_path("candidate")
    assert {**sent.json(), "model": ""} == {**upstream.at_path("first")[0].json(), "model": ""}
    assert sent.json()["model"] == "gpt-candidate"


@pytest.mark.once
def test_nobody_waits_for_a_copy(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    release = threading.Event()
    upstream.at("candidate").answers(whole(completion(), after=release))
    began = time.monotonic()
    answer = caller.post("/chat/pro", json=ask())
    assert answer.status_code == 200
    assert time.monotonic() - began < 2
    mirroring.wait_for_record(answer.headers["x-gateway-record-id"])
    release.set()
    assert _mirror(mirroring, answer)["status"] == 200


@pytest.mark.once
@pytest.mark.parametrize("fails", [failing(500), failing(400)], ids=["500", "400"])
def test_a_copy_that_fails_is_nobodys_trouble(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, fails: Any
) -> None:
    upstream.at("candidate").answers(fails)
    answer = caller.post("/chat/pro", json=ask())
    assert answer.status_code == 200
    copy = _mirror(mirroring, answer)
    assert copy["error_kind"] in ("server_error", "invalid_request")
    assert (copy["cost"], copy["usage"]) == (0, None)


@pytest.mark.once
def test_what_failed_or_is_not_mirrored_is_not_copied(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("first").answers(failing(400))
    assert caller.post("/chat/pro", json=ask()).status_code == 400
    assert caller.post("/chat/plain", json=ask()).status_code == 200
    time.sleep(0.3)
    assert not upstream.at_path("candidate")


@pytest.mark.once
def test_a_candidate_without_a_price_is_not_asked(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    assert caller.post("/chat/unpriced", json=ask()).status_code == 200
    eventually(
        lambda: _counted(mirroring, "no_price", "unpriced") or None, within=5, what="the count"
    )
    assert not upstream.at_path("unpriced")


@pytest.mark.once
def test_a_share_of_the_traffic_is_copied(caller: httpx.Client, upstream: FakeUpstream) -> None:
    for _ in range(100):
        caller.post("/chat/half", json=ask())
    eventually(lambda: len(upstream.at_path("candidate")) > 20 or None, within=5)
    time.sleep(0.3)
    assert 20 < len(upstream.at_path("candidate")) < 80  # six standard deviations


@pytest.mark.once
def test_copies_on_their_way_are_bounded(
    mirroring: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    before = _counted(mirroring, "too_many")
    release = threading.Event()
    upstream.at("candidate").always_answers(whole(completion(), after=release))
    for _ in range(MOST_COPIES + 5):
        assert caller.post("/chat/pro", json=ask()).status_code == 200
    eventually(lambda: len(upstream.at_path("candidate")) == MOST_COPIES or None, within=5)
    assert _counted(mirroring, "too_many") == before + 5
    release.set()


@pytest.mark.once
def test_a_copy_that_has_no_room_is_not_made(start: Start, upstream: FakeUpstream) -> None:
    room = 90 * OUTPUT + 200 * INPUT
    gateway = start(budgets=[budget(room, "total")])
    key = gateway.issue_key("acme")
    with calling(gateway, key) as client:
        assert client.post("/chat/pro", json=ask(max_tokens=90)).status_code == 200
        eventually(lambda: _counted(gateway, "no_room") or None, within=5, what="the count")
    assert not upstream.at_path("candidate")


@pytest.mark.once
def test_a_copy_is_held_to_what_was_reserved_for_it(start: Start, upstream: FakeUpstream) -> None:
    """What its caller asks of one model may be more than the candidate's price was reserved for."""
    gateway = start(budgets=[budget(10**12, "total", hard=True)])
    with calling(gateway, gateway.issue_key("acme")) as client:
        assert client.post("/chat/modest", json=ask(max_tokens=900)).status_code == 200
    [sent] = eventually(lambda: upstream.at_path("modest") or None, within=5, what="the copy")
    assert sent.json()["max_tokens"] == 100
    assert upstream.at_path("first")[0].json()["max_tokens"] == 900


@pytest.mark.parametrize("restarts", [False, True], ids=["counted", "rebuilt"])
def test_budgets_count_what_copies_cost(
    start: Start, upstream: FakeUpstream, restarts: bool
) -> None:
    """After two requests and two copies there is room for less than one more, whoever counts."""
    worst = 50 * OUTPUT + 200 * INPUT
    gateway = start(budgets=[budget(3 * USED + worst, "total")])
    key = gateway.issue_key("acme")
    upstream.at("candidate").always_answers(whole(completion()))
    with calling(gateway, key) as client:
        for number in range(2):
            assert client.post("/chat/pro", json=ask(max_tokens=50)).status_code == 200
            done = number + 1
            eventually(
                lambda done=done: (
                    len(gateway.clerk.rows("billing.Attempt", role="mirror")) == done or None
                ),
                within=5,
            )
    if restarts:
        gateway.terminate()
        assert gateway.wait() == 0
        gateway.start()
    with calling(gateway, key) as client:
        refused = client.post("/chat/plain", json=ask(max_tokens=50))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"


def test_copies_survive_the_death_of_their_worker(start: Start, upstream: FakeUpstream) -> None:
    gateway = start()
    key = gateway.issue_key("acme")
    upstream.at("candidate").answers(silent)
    with calling(gateway, key) as client:
        answer = client.post("/chat/pro", json=ask())
        eventually(lambda: upstream.at_path("candidate") or None, within=5, what="the copy")
        gateway.kill()
    gateway.start()
    copy = _mirror(gateway, answer)
    assert copy["cost"] == _use(copy)["input_tokens"] * INPUT
    assert len(gateway.records()) == 1


@pytest.mark.once
def test_copies_are_cut_and_settled_when_the_gateway_stops(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = start()
    key = gateway.issue_key("acme")
    upstream.at("candidate").answers(silent)
    with calling(gateway, key) as client:
        answer = client.post("/chat/pro", json=ask())
        eventually(lambda: upstream.at_path("candidate") or None, within=5, what="the copy")
    gateway.terminate()
    assert gateway.wait() == 0
    copy = _mirror(gateway, answer)
    assert (copy["error_kind"], copy["status"]) == ("cancelled", None)
    assert copy["cost"] > 0


@pytest.mark.once
@pytest.mark.parametrize("dies", [False, True], ids=["settled", "swept"])
def test_with_redis_the_counter_says_what_records_and_copies_say(
    start: Start, upstream: FakeUpstream, redis_url: str, dies: bool
) -> None:
    redis.Redis.from_url(redis_url).flushdb()  # another installation's counters
    rules = [budget(10**12, "total")]
    gateway = start({"REDIS_URL": redis_url}, budgets=rules)
    key = gateway.issue_key("acme")
    with calling(gateway, key) as client:
        for _ in range(3):
            assert client.post("/chat/pro", json=ask(max_tokens=50)).status_code == 200
        if dies:
            eventually(lambda: len(upstream.at_path("candidate")) == 3 or None, within=5)
            upstream.at("candidate").answers(silent)
            client.post("/chat/pro", json=ask(max_tokens=50))
            eventually(lambda: len(upstream.at_path("candidate")) == 4 or None, within=5)
            gateway.kill()
            gateway.start()
    copies = 4 if dies else 3
    rows = eventually(
        lambda: (
            found
            if len(found := gateway.clerk.rows("billing.Attempt", role="mirror")) == copies
            else None
        ),
        within=40,
        what="the copies",
    )
    total = sum(row["cost"] for row in rows) + sum(row["cost"] for row in gateway.records())
    (purse,) = read_purses(Scope(""), rules, timezone="UTC")
    asked = purse.ask(purse.scope, period_at("total", "UTC", time.time()), 0)
    counters = BlockingCounters(redis_url)

    def agrees() -> bool | None:
        state = counters.read([asked])[0]
        if state is None or state.reserved:
            return None
        assert state.used == total
        return True

    eventually(agrees, within=40, what="nothing reserved")


class _Undecided(Standing):
    """Another worker is asked whether this one may try the candidate, and does not answer."""

    async def begin(self, target: Target) -> Call | None:
        await asyncio.Event().wait()
        return None


@pytest.mark.once
async def test_a_copy_that_is_cut_before_it_was_sent_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = exchange("/chat/pro", {"messages": []})
    asked.target = Target(model(), None)
    asked.rates = {model().identity: Rates(rate(), rate())}
    asked.alias = AliasSnapshot("pro", "", "", "chat", (), (), frozenset())
    asked.alias = replace(asked.alias, mirror=Mirror(model(), 1))
    asked.record = record()
    counters = MemoryCounters()
    worker = Worker(
        store=cast(Any, None),
        upstreams=cast(Any, None),
        identifier=cast(Any, None),
        admission=Admission(counters, fails_open=False),
        standing=_Undecided(),
    )
    monkeypatch.setattr(mirror, "_copy", lambda *_: asked)
    monkeypatch.setattr(mirror, "_claims", lambda *_: [])
    mirror.offer(asked, worker, draw=lambda: 0.0)
    await asyncio.sleep(0.05)
    assert await counters.held("{gw}") == [f"mirror:{asked.record.record_id}"]
    await mirror.stop(worker)
    assert await counters.held("{gw}") == []
