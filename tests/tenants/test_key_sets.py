"""Keys behind a URL: fetched once for all who wait, kept while it is away, and never in a flood."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import settings

from tenants import key_sets
from tenants.jwks import KeySet
from tenants.key_sets import KeySets, KeySource, KeysUnavailable
from tests.fake_upstream import FakeUpstream, Script, Wire, silent, whole
from tests.issuing import jwks, new_pair

OLD, NEW = new_pair("old"), new_pair("new")
OLD_SET, NEW_SET = jwks(OLD), jwks(NEW, OLD)


class Clock:
    """The time that the key sets go by."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(key_sets, "time", clock)
    return clock


@pytest.fixture
def idp(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUpstream]:
    monkeypatch.setattr(settings.ENVIRONMENT, "allowed_private_hosts", ["127.0.0.1"])
    with FakeUpstream() as server:
        server.at("jwks").always_answers(whole(OLD_SET))
        yield server


@pytest.fixture
def source(idp: FakeUpstream) -> KeySource:
    return KeySource("jwks_url", f"http://127.0.0.1:{idp.port}/jwks/keys.json")


@pytest.fixture
async def sets(clock: Clock) -> AsyncIterator[KeySets]:
    sets = KeySets()
    yield sets
    for found in sets._fetched.values():
        if found.fetching is not None:
            await found.fetching


async def _fetched(sets: KeySets, source: KeySource) -> KeySet:
    await sets.fetch(source)
    keys = sets.known(source)
    assert keys is not None
    return keys


async def _settled(sets: KeySets, source: KeySource) -> None:
    """Until no fetch is under way."""
    if (fetching := sets._fetched[source.text].fetching) is not None:
        await fetching


async def test_all_who_wait_share_one_fetch(
    sets: KeySets, source: KeySource, idp: FakeUpstream
) -> None:
    assert sets.known(source) is None
    await asyncio.gather(*(sets.fetch(source) for _ in range(50)))
    assert sets.known(source).kids == {"old"}  # type: ignore[union-attr]
    assert len(idp.received) == 1
    assert idp.received[0].names == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    }


async def test_what_is_fresh_is_not_fetched_again(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    keys = await _fetched(sets, source)
    clock.passes(key_sets.REFRESH - 1)
    assert sets.known(source) is keys
    assert len(idp.received) == 1


async def test_it_is_fetched_beside_the_requests_before_it_expires(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    keys = await _fetched(sets, source)
    idp.at("jwks").always_answers(whole(NEW_SET))
    clock.passes(key_sets.REFRESH + 1)
    for _ in range(20):
        assert sets.known(source) is keys
    await _settled(sets, source)
    assert sets.known(source).kids == {"old", "new"}  # type: ignore[union-attr]
    assert len(idp.received) == 2


async def test_the_same_document_stays_the_same_set(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    keys = await _fetched(sets, source)
    clock.passes(key_sets.REFRESH + 1)
    sets.known(source)
    await _settled(sets, source)
    assert len(idp.received) == 2
    assert sets.known(source) is keys


async def test_what_has_expired_unused_is_fetched_before_it_is_used(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    """A key that was withdrawn meanwhile verifies nothing more."""
    await _fetched(sets, source)
    idp.at("jwks").always_answers(whole(jwks(NEW)))
    clock.passes(key_sets.TTL + 1)
    assert sets.known(source) is None
    assert (await _fetched(sets, source)).kids == {"new"}


async def test_what_has_expired_serves_on_while_the_url_is_away(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    keys = await _fetched(sets, source)
    idp.at("jwks").always_answers(whole(b"", status=503))
    clock.passes(key_sets.TTL + 1)
    assert await _fetched(sets, source) is keys
    for _ in range(3):
        clock.passes(3600)
        assert sets.known(source) is keys
        await _settled(sets, source)
    assert len(idp.received) == 5
    clock.passes(key_sets.LONGEST_STALE)
    assert sets.known(source) is None
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)


async def test_it_recovers_as_soon_as_the_url_does(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    idp.at("jwks").answers(whole(b"", status=500))
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)
    assert len(idp.received) == 1
    clock.passes(key_sets.RETRY_SECONDS)
    assert (await _fetched(sets, source)).kids == {"old"}


async def test_an_unknown_kid_brings_the_new_key_at_once(
    sets: KeySets, source: KeySource, idp: FakeUpstream
) -> None:
    keys = await _fetched(sets, source)
    idp.at("jwks").always_answers(whole(NEW_SET))
    await asyncio.gather(*(sets.fetch(source, lacking=keys) for _ in range(20)))
    assert sets.known(source).kids == {"old", "new"}  # type: ignore[union-attr]
    assert len(idp.received) == 2


async def test_a_flood_of_unknown_kids_costs_one_fetch_in_a_while(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock
) -> None:
    await _fetched(sets, source)
    for _ in range(5):
        for _ in range(200):
            await sets.fetch(source, lacking=sets.known(source))
        clock.passes(key_sets.UNKNOWN_SECONDS / 4)
    assert len(idp.received) == 1 + 2


def _redirected(wire: Wire) -> None:
    whole(b"", status=302, headers={"location": wire.request.path})(wire)


BROKEN: dict[str, Script] = {
    "not found": whole(b"", status=404),
    "a redirect": _redirected,
    "no JSON": whole(b"<html>"),
    "no object": whole(b"[]"),
    "no keys": whole({"keys": []}),
    "none that verifies": whole({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}),
    "too large": whole(json.dumps(OLD_SET).encode() + b" " * key_sets.LARGEST),
    "compressed": whole(OLD_SET, gzipped=True),
    "nested too deeply": whole(b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}"),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_jwks_brings_nothing_and_leaves_what_was_there(
    sets: KeySets, source: KeySource, idp: FakeUpstream, clock: Clock, script: Script
) -> None:
    idp.at("jwks").answers(script)
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)
    assert len(idp.received) == 1
    clock.passes(key_sets.RETRY_SECONDS)
    keys = await _fetched(sets, source)
    idp.at("jwks").answers(script)
    clock.passes(key_sets.REFRESH)
    sets.known(source)
    await _settled(sets, source)
    assert sets.known(source) is keys


async def test_one_that_never_answers_is_given_up(
    sets: KeySets, source: KeySource, idp: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "FETCH_SECONDS", 0.2)
    idp.at("jwks").answers(silent)
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)


async def test_one_that_trickles_is_given_up(
    sets: KeySets, source: KeySource, idp: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trickle(wire: Wire) -> None:
        wire.head(200, {"content-type": "application/json"})
        for _ in range(100):
            wire.send(b" ")
            wire.wait(0.05)

    monkeypatch.setattr(key_sets, "FETCH_SECONDS", 0.3)
    idp.at("jwks").answers(trickle)
    with pytest.raises(KeysUnavailable):
        await asyncio.wait_for(sets.fetch(source), 2)


async def test_a_waiter_who_leaves_does_not_end_the_fetch_of_the_others(
    sets: KeySets, source: KeySource, idp: FakeUpstream
) -> None:
    go = threading.Event()
    idp.at("jwks").answers(whole(OLD_SET, after=go))
    leaving = asyncio.create_task(sets.fetch(source))
    staying = asyncio.create_task(sets.fetch(source))
    await asyncio.sleep(0.05)
    leaving.cancel()
    go.set()
    await staying
    assert len(idp.received) == 1


async def test_a_private_address_is_not_asked(
    sets: KeySets, source: KeySource, idp: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.ENVIRONMENT, "allowed_private_hosts", ["10.0.0.0/8"])
    with pytest.raises(KeysUnavailable):
        await sets.fetch(source)
    assert idp.connections == []


async def test_what_no_issuer_names_any_more_is_forgotten(
    sets: KeySets, source: KeySource, idp: FakeUpstream
) -> None:
    await _fetched(sets, source)
    sets.keep_only([source])
    assert sets.known(source) is not None
    sets.keep_only([])
    assert sets.known(source) is None


@pytest.mark.parametrize(("kind", "text"), [("jwks", json.dumps(OLD_SET)), ("public_key", OLD.pem)])
def test_what_stands_in_the_configuration_is_at_hand(kind: Any, text: str) -> None:
    sets, source = KeySets(), KeySource(kind, text)
    keys = sets.known(source)
    assert keys is not None
    assert keys.find("old", "ES256") is not None
    assert sets.known(source) is keys


@pytest.mark.parametrize(("kind", "text"), [("jwks", "null"), ("jwks", "{"), ("public_key", "x")])
def test_what_cannot_be_read_verifies_nothing(kind: Any, text: str) -> None:
    keys = KeySets().known(KeySource(kind, text))
    assert keys is not None
    assert keys.find("old", "ES256") is None
