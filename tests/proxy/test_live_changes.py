"""A change is in force at once while the gateway runs; what is under way ends as it began."""

import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.fake_upstream import USAGE, FakeUpstream, Wire, answer_frames
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.configuration import ORIGIN, Document, alias, small_configuration
from tests.proxy.conftest import ask, calling

IN_FORCE_WITHIN = 2.0
CHARGE, DEARER_CHARGE = "0.000205169", "0.000226709"
"""Of USAGE; dearer, an input token costs 3.50 a million: 210,500 nano-units and 7.7 %."""


@pytest.fixture(scope="module")
def key(mortal: GatewayProcess) -> IssuedKey:
    return mortal.issue_key("acme", "changing")


@pytest.fixture
def caller(mortal: GatewayProcess, key: IssuedKey) -> Iterator[httpx.Client]:
    with calling(mortal, key) as client:
        yield client


@pytest.fixture
def document(
    mortal: GatewayProcess, upstream_server: FakeUpstream, key: IssuedKey
) -> Iterator[Document]:
    """The configuration, to be changed and applied; afterwards it is what it was."""
    original = small_configuration(upstream_server)
    yield copy.deepcopy(original)
    prune(mortal, original)
    with calling(mortal, key) as client:
        eventually(lambda: _charge(client) == CHARGE or None, within=IN_FORCE_WITHIN + 2)


def prune(gateway: GatewayProcess, document: Document) -> None:
    path = gateway.folder / "pruned.yaml"
    path.write_text(yaml.safe_dump(document))
    gateway.clerk.manage("apply_config", path, "--prune")


def in_force(look: Callable[[], bool]) -> None:
    """Fails unless it holds within the time that the contract gives."""
    began = time.monotonic()
    eventually(lambda: look() or None, within=IN_FORCE_WITHIN + 2)
    assert time.monotonic() - began < IN_FORCE_WITHIN


def _charge(caller: httpx.Client) -> str | None:
    return caller.post("/chat/pro", json=ask()).headers.get("x-gateway-charge")


def _provider(caller: httpx.Client) -> str | None:
    return caller.post("/chat/pro", json=ask()).headers.get("x-gateway-provider")


def _dearer(document: Document) -> Document:
    document["price_books"]["cost"]["versions"][0]["prices"]["first-model"]["input"] = "3.50"
    return document


class TestInForceWithinTwoSeconds:
    def test_a_price(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        assert _charge(caller) == CHARGE
        mortal.apply(_dearer(document))
        in_force(lambda: _charge(caller) == DEARER_CHARGE)

    def test_another_target_of_an_alias(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        assert _provider(caller) == "first"
        document["aliases"]["pro"] = alias("second-model")
        mortal.apply(document)
        in_force(lambda: _provider(caller) == "second")

    def test_a_new_alias_at_once(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        document["aliases"]["brand-new"] = alias("first-model")
        mortal.apply(document)
        assert caller.post("/chat/brand-new", json=ask()).status_code == 200

    def test_an_alias_that_is_no_more(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        assert caller.post("/chat/safe", json=ask()).status_code == 200
        del document["aliases"]["safe"]
        prune(mortal, document)
        in_force(lambda: caller.post("/chat/safe", json=ask()).status_code == 404)

    def test_a_suspended_tenant(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        document["tenants"]["acme"]["status"] = "suspended"
        mortal.apply(document)
        in_force(lambda: caller.post("/chat/pro", json=ask()).status_code == 403)
        document["tenants"]["acme"]["status"] = "active"
        mortal.apply(document)
        in_force(lambda: caller.post("/chat/pro", json=ask()).status_code == 200)

    def test_a_credential_of_a_provider(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        document["providers"]["first"]["credentials"][0]["secret"] = "sk-the-next-one"
        mortal.apply(document)

        def is_used() -> bool:
            caller.post("/chat/pro", json=ask())
            return upstream.received[-1].header("authorization") == "Bearer sk-the-next-one"

        in_force(is_used)

    def test_an_origin_of_browsers(
        self,
        mortal: GatewayProcess,
        caller: httpx.Client,
        upstream: FakeUpstream,
        document: Document,
    ) -> None:
        document["tenants"]["acme"]["cors_origins"] = [ORIGIN]
        mortal.apply(document)
        in_force(
            lambda: (
                "access-control-allow-origin"
                in caller.get("/v1/models", headers={"origin": ORIGIN}).headers
            )
        )


def test_a_request_under_way_ends_as_it_began(
    mortal: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, document: Document
) -> None:
    go_on = threading.Event()
    frames = answer_frames(6, usage=USAGE)

    def waiting(wire: Wire) -> None:
        wire.head(200, {"content-type": "text/event-stream"})
        for piece in frames[:3]:
            wire.send(piece)
        wire.wait(go_on)
        for piece in frames[3:]:
            wire.send(piece)
        wire.end()

    upstream.at("first").answers(waiting)
    with caller.stream("POST", "/chat/pro", json=ask(stream=True)) as answer:
        changed = _dearer(document)
        changed["aliases"]["pro"] = alias("second-model")
        changed["tenants"]["acme"]["price_book"] = "cost"
        mortal.apply(changed)
        with calling(mortal, mortal.issue_key("acme", "another")) as another:
            in_force(lambda: _provider(another) == "second")
        go_on.set()
        body = b"".join(answer.iter_raw())
    assert body == b"".join(answer_frames(6))
    record = mortal.wait_for_record(answer.headers["x-gateway-record-id"])
    assert (record["provider"], record["model"]) == ("first", "first-model")
    assert (record["charge"], record["outcome"]) == (205_169, "completed")
    assert record["charge_price_version"].startswith("standard@2026-01-01")


def test_a_configuration_that_is_refused_changes_nothing(
    mortal: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, document: Document
) -> None:
    broken: dict[str, Any] = _dearer(document)
    broken["aliases"]["pro"] = alias("no-such-model")
    with pytest.raises(AssertionError, match="no-such-model"):
        mortal.apply(broken)
    time.sleep(0.6)
    assert _charge(caller) == CHARGE
    assert _provider(caller) == "first"
