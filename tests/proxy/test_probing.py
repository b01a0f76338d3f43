"""Lists of models, asked beside all requests by one gateway, without Redis."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.dialects import OUTBOUND
from proxy.probing import LISTS
from tests.fake_upstream import (
    LISTED,
    FakeUpstream,
    Received,
    Script,
    by_method,
    completion,
    failing,
    silent,
    whole,
)
from tests.gateway_process import GatewayProcess, IssuedKey, eventually
from tests.proxy.configuration import books, provider
from tests.proxy.conftest import ask, calling

pytestmark = pytest.mark.once

DIALECTS = ("openai", "responses", "anthropic", "gemini", "mistral", "ollama")
OTHERS = ("unlisted", "failing", "mute", "liar", "unasked", "changed")
PROBE = {"interval": "1s", "timeout": "300ms"}
TRIPS = {"failures": 2, "window": "30s", "cooldown": "60s"}
SECRET = "sk-probing"


def _document(upstream: FakeUpstream) -> dict[str, Any]:
    pool = [{"name": "main", "secret": SECRET}]
    more = {"breaker": TRIPS, "credentials": pool, "probe": PROBE}
    providers = {
        **{
            name: provider(upstream.url(name), **more, dialect=name, inject_headers=HEADERS)
            for name in DIALECTS
        },
        **{name: provider(upstream.url(name), **more) for name in OTHERS},
    }
    del providers["unasked"]["probe"]
    return {
        "version": 1,
        "providers": providers,
        "models": {name: {"provider": name, "upstream": f"gpt-{name}"} for name in providers},
        "price_books": books(**{name: {"input": "1", "output": "1"} for name in providers}),
        "aliases": {name: {"routes": [{"targets": [{"model": name}]}]} for name in providers},
        "tenants": {"acme": {"price_book": "standard"}},
    }


HEADERS = {"x-organisation": "ours", "x-user-id": "{user}"}
"""One is the same for every request, the other is about callers."""


@pytest.fixture(scope="module")
def asking(
    upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("asking")
    with GatewayProcess(folder, configuration=_document(upstream_server)) as process:
        yield process


@pytest.fixture(scope="module")
def asking_key(asking: GatewayProcess) -> IssuedKey:
    return asking.issue_key("acme")


@pytest.fixture
def caller(
    asking: GatewayProcess, asking_key: IssuedKey, upstream: FakeUpstream
) -> Iterator[httpx.Client]:
    _answer_everywhere(upstream, LISTED)
    with calling(asking, asking_key) as client:
        yield client
    _answer_everywhere(upstream, LISTED)


def _answer_everywhere(upstream: FakeUpstream, get: Script) -> None:
    for name in (*DIALECTS, *OTHERS):
        upstream.at(name).always_answers(by_method(get=get, post=whole(completion())))


def _asked(upstream: FakeUpstream, name: str) -> list[Received]:
    return [request for request in upstream.at_path(name) if request.method == "GET"]


@pytest.mark.parametrize(
    ("dialect", "path", "header", "value"),
    [
        ("openai", "/models", "authorization", f"Bearer {SECRET}"),
        ("responses", "/models", "authorization", f"Bearer {SECRET}"),
        ("anthropic", "/v1/models", "x-api-key", SECRET),
        ("gemini", "/models", "x-goog-api-key", SECRET),
        ("mistral", "/models", "authorization", f"Bearer {SECRET}"),
        ("ollama", "/api/tags", "authorization", f"Bearer {SECRET}"),
    ],
)
def test_each_dialect_is_asked_where_it_lists_its_models(
    caller: httpx.Client,
    upstream: FakeUpstream,
    dialect: str,
    path: str,
    header: str,
    value: str,
) -> None:
    asked = eventually(lambda: _asked(upstream, dialect) or None, within=5)[0]
    assert asked.path == f"/{dialect}/v1{path}"
    assert asked.header(header) == value
    assert asked.body == b""
    assert asked.header("x-organisation") == "ours"
    assert "x-user-id" not in asked.names


def test_every_dialect_of_providers_has_its_list() -> None:
    assert set(LISTS) == set(OUTBOUND) == set(DIALECTS)


def test_who_does_not_say_so_is_not_asked(caller: httpx.Client, upstream: FakeUpstream) -> None:
    eventually(lambda: len(_asked(upstream, "openai")) > 1 or None, within=5)
    assert _asked(upstream, "unasked") == []


def test_a_change_of_the_configuration_begins_and_ends_the_asking(
    asking: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    document = _document(upstream)
    eventually(lambda: _asked(upstream, "changed") or None, within=5)
    del document["providers"]["changed"]["probe"]
    asking.apply(document)
    time.sleep(1.0)
    before = len(_asked(upstream, "changed"))
    time.sleep(2.0)
    assert len(_asked(upstream, "changed")) == before
    asking.apply(_document(upstream))
    eventually(lambda: len(_asked(upstream, "changed")) > before or None, within=5)


def test_an_answer_that_there_is_no_list_shows_that_the_provider_lives_and_no_more(
    asking: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("unlisted").always_answers(by_method(get=failing(404), post=failing(500)))
    for _ in range(2):
        assert caller.post("/chat/unlisted", json=ask()).status_code == 502
    before = len(_asked(upstream, "unlisted"))
    eventually(lambda: len(_asked(upstream, "unlisted")) > before + 2 or None, within=6)
    assert [one["subject"] for one in asking.taken_out("unlisted")] == ["model:unlisted"]


@pytest.mark.parametrize(
    ("place", "answer", "reason"),
    [("failing", failing(503), "server_error"), ("mute", silent, "timeout")],
)
def test_a_list_that_fails_again_and_again_takes_the_provider_out(
    asking: GatewayProcess,
    caller: httpx.Client,
    upstream: FakeUpstream,
    place: str,
    answer: Script,
    reason: str,
) -> None:
    upstream.at(place).always_answers(by_method(get=answer, post=whole(completion())))
    [out] = eventually(lambda: asking.taken_out(place) or None, within=8)
    assert (out["subject"], out["reason"]) == (f"provider:{place}", reason)
    assert caller.post(f"/chat/{place}", json=ask()).status_code == 503
    upstream.at(place).always_answers(by_method(get=LISTED, post=whole(completion())))
    eventually(lambda: not asking.taken_out(place) or None, within=6)
    assert caller.post(f"/chat/{place}", json=ask()).status_code == 200


def test_a_list_that_spoke_for_a_model_that_fails_is_not_believed_again(
    asking: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream
) -> None:
    upstream.at("liar").always_answers(by_method(get=LISTED, post=failing(500)))

    def status() -> int:
        return caller.post("/chat/liar", json=ask()).status_code

    assert [status() for _ in range(2)] == [502, 502]
    eventually(lambda: not asking.taken_out("liar") or None, within=5)
    assert [status() for _ in range(2)] == [502, 503]
    before = len(_asked(upstream, "liar"))
    eventually(lambda: len(_asked(upstream, "liar")) > before + 2 or None, within=6)
    assert [one["subject"] for one in asking.taken_out("liar")] == ["model:liar"]
    posts = [one for one in upstream.at_path("liar") if one.method == "POST"]
    assert len(posts) == 3
