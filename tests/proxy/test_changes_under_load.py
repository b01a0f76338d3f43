"""Configuration that changes, and a gateway that starts and stops, while callers are being
answered."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.fake_upstream import USAGE, FakeUpstream, Wire, answer_frames, completion, stream, whole
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.configuration import FIRST_COST, Document, alias, books, provider
from tests.proxy.conftest import ask
from tests.proxy.load import Heard, SteadyLoad, so_many

CHANGES = 20
PROVIDERS = ("one", "two", "three")
STREAMS = 100


def _version(upstream: FakeUpstream, number: int) -> Document:
    """Of another secret, another target and another price each; the target tells the number modulo
    three, the price all of it."""
    secret = {"name": "main", "secret": f"sk-{number}-never-to-be-seen"}
    tells = {"x-request-id": "{request_id}"}
    prices = {**FIRST_COST, "input": f"{number + 1}"}
    return {
        "version": 1,
        "providers": {
            name: provider(upstream.url(name), credentials=[secret], inject_headers=tells)
            for name in PROVIDERS
        },
        "models": {name: {"provider": name, "upstream": f"gpt-{name}"} for name in PROVIDERS},
        "price_books": books(**dict.fromkeys(PROVIDERS, prices)),
        "aliases": {"pro": alias(PROVIDERS[number % 3])},
        "tenants": {"acme": {"price_book": "cost"}},
    }


def _cost(number: int) -> int:
    """Nano-units of USAGE, by that version's prices."""
    return 20 * (number + 1) * 1000 + 10 * 1250 + 8 * 10_000 + 4 * 12_000


def _slowly(wire: Wire) -> None:
    """A stream takes a second, and so outlasts changes."""
    if wire.request.json().get("stream"):
        stream(answer_frames(8, usage=USAGE), pace=0.08)(wire)
    else:
        whole(completion())(wire)


def _either(number: int) -> Document:
    return ask(stream=bool(number % 2))


@pytest.fixture
def changing(
    upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("changing")
    with GatewayProcess(folder, configuration=_version(upstream, 0)) as gateway:
        yield gateway


def test_every_request_is_answered_by_one_version_of_the_configuration(
    changing: GatewayProcess, upstream: FakeUpstream
) -> None:
    for name in PROVIDERS:
        upstream.at(name).always_answers(_slowly)
    key = changing.issue_key("acme")
    with SteadyLoad(changing, key, "/chat/pro", _either, rate=40) as load:
        for number in range(1, CHANGES + 1):
            changing.apply(_version(upstream, number))
            time.sleep(0.55)
    heard = load.heard
    assert [one for one in heard if not one.is_whole] == []
    records = {row["record_id"]: row for row in changing.wait_for_records(len(heard))}
    asked = {request.header("x-request-id"): request for request in upstream.received}
    versions: Counter[int] = Counter()
    labels: dict[str, set[int]] = {}
    for one in heard:
        record = records[one.record_id]
        number = (record["cost"] - _cost(0)) // 20_000
        request = asked[one.headers["x-request-id"]]
        assert (record["cost"], record["charge"]) == (_cost(number), _cost(number))
        assert record["provider"] == record["model"] == PROVIDERS[number % 3]
        assert request.path.startswith(f"/{record['provider']}/")
        assert request.header("authorization") == f"Bearer sk-{number}-never-to-be-seen"
        assert record["outcome"] == "completed"
        versions[number] += 1
        labels.setdefault(record["cost_price_version"], set()).add(number)
    print(f"{len(heard)} requests over {len(versions)} versions")
    assert len(versions) > CHANGES / 2
    assert all(len(numbers) == 1 for numbers in labels.values()), labels


def _ask_for_streams(
    gateway: GatewayProcess, key: IssuedKey, threads: ThreadPoolExecutor
) -> list[Heard]:
    """Half of them in chat completions, half in Anthropic's messages."""
    said = ask(stream=True)
    half = {"count": STREAMS // 2, "at_once": STREAMS // 2}
    pending = [
        threads.submit(so_many, gateway, key, path, lambda _, body=body: body, **half)
        for path, body in (
            ("/chat/pro", said),
            ("/v1/messages", {**said, "model": "pro", "max_tokens": 100}),
        )
    ]
    return [heard for one in pending for heard in one.result(timeout=60)]


def test_a_hundred_streams_end_whole_after_sigterm(
    changing: GatewayProcess, upstream: FakeUpstream
) -> None:
    go_on = threading.Event()
    frames = answer_frames(12, usage=USAGE)

    def waiting(wire: Wire) -> None:
        wire.head(200, {"content-type": "text/event-stream"})
        for piece in frames[:4]:
            wire.send(piece)
        wire.wait(go_on)
        for piece in frames[4:]:
            wire.send(piece)
            wire.wait(0.05)
        wire.end()

    upstream.at("one").always_answers(waiting)
    key = changing.issue_key("acme")
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(_ask_for_streams, changing, key, threads)
        eventually(lambda: len(upstream.received) == STREAMS or None, within=20)
        changing.terminate()
        eventually(changing.is_closed, within=10, what="the end of listening")
        go_on.set()
        heard = asking.result(timeout=60)
    assert changing.wait() == 0
    assert [one for one in heard if not one.is_whole] == []
    records = changing.wait_for_records(STREAMS)
    assert Counter(row["outcome"] for row in records) == {"completed": STREAMS}
    assert {row["record_id"] for row in records} == {one.record_id for one in heard}
    assert {row["charge"] for row in records} == {_cost(0)}
    assert list(changing.spool.glob("*.journal")) == []


@pytest.mark.once
def test_it_is_ready_once_it_has_read_a_configuration_and_not_before(
    upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("unready")
    late = folder / "late.sqlite3"
    late.mkdir()  # which no program can open as a database
    gateway = GatewayProcess(
        folder, configuration=_version(upstream, 0), through=lambda _: f"sqlite:///{late}"
    )

    def says(path: str) -> httpx.Response | None:
        try:
            return httpx.get(gateway.url + path, timeout=2, trust_env=False)
        except httpx.TransportError:
            return None

    with ThreadPoolExecutor() as threads, ExitStack() as stack:
        starting = threads.submit(stack.enter_context, gateway)
        unready = eventually(lambda: says("/readyz") if gateway.port else None, within=60)
        assert unready.status_code == 503
        assert unready.json()["reasons"]
        alive = says("/healthz")
        assert alive is not None
        assert alive.status_code == 200
        refused = httpx.post(gateway.url + "/chat/pro", json=ask(), trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        late.rmdir()
        with sqlite3.connect(folder / "gateway.sqlite3") as known, sqlite3.connect(late) as empty:
            known.backup(empty)
        starting.result(timeout=60)
        ready = says("/readyz")
        assert ready is not None
        assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
