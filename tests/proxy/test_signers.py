"""Signatures and their replays, where time and memory decide."""

import time
from typing import Any

import pytest

from proxy import signers
from proxy.errors import Unauthenticated
from proxy.signers import Replays, Signature, named_signer
from tenants.outside_credentials import SignerSnapshot
from tests.proxy.outside import hmac_of

NOW = 1_800_000_000


def _signer(**options: Any) -> SignerSnapshot:
    facts: dict[str, Any] = {
        "tenant": "acme",
        "name": "app",
        "header": b"x-signature",
        "encoding": "hex",
        "timestamp_header": b"x-timestamp",
        "tolerance": 300.0,
        "scopes": frozenset({"alias:*"}),
        "key_id": "signer:app",
        "secret": b"secret",
    }
    return SignerSnapshot(**{**facts, **options})


def _signature(timestamp: int, body: bytes = b"{}", signer: SignerSnapshot | None = None) -> Any:
    stamp = str(timestamp).encode()
    digest = hmac_of("secret", stamp + b"." + body).hex().encode()
    headers = [(b"x-timestamp", stamp), (b"x-signature", digest)]
    signature = Signature(signer or _signer(), headers)
    signature.check(body)
    return signature


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(signers, "time", clock)
    return clock


def test_a_signature_is_used_once(clock: Clock) -> None:
    replays = Replays()
    replays.take(_signature(NOW))
    with pytest.raises(Unauthenticated):
        replays.take(_signature(NOW))
    replays.take(_signature(NOW, b"[]"))
    replays.take(_signature(NOW - 1))


def test_two_signers_do_not_know_each_others(clock: Clock) -> None:
    replays = Replays()
    replays.take(_signature(NOW))
    replays.take(_signature(NOW, signer=_signer(key_id="signer:other")))


def test_it_is_remembered_as_long_as_it_would_be_accepted(clock: Clock) -> None:
    replays = Replays()
    signature = _signature(NOW + 300)
    replays.take(signature)
    for second in range(600):
        clock.now = NOW + second
        with pytest.raises(Unauthenticated):
            replays.take(signature)
    clock.now = NOW + 601
    with pytest.raises(Unauthenticated, match="missing"):
        _signature(NOW + 300)


def test_what_is_remembered_ends_with_the_tolerance(clock: Clock) -> None:
    replays = Replays()
    for second in range(2_000):
        clock.now = NOW + second
        replays.take(_signature(NOW + second))
    [used] = replays._used.values()
    assert len(used.digests) <= 302
    assert used.count == sum(map(len, used.digests.values()))


def test_a_tolerance_that_grows_accepts_nothing_forgotten(clock: Clock) -> None:
    replays = Replays()
    replays.take(_signature(NOW))
    clock.now = NOW + 400
    replays.take(_signature(NOW + 400))
    patient = _signer(tolerance=3600.0)
    with pytest.raises(Unauthenticated):
        replays.take(_signature(NOW, signer=patient))


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_refused(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signers, "REMEMBERED_SIGNATURES", 100)
    replays = Replays()
    used = [_signature(NOW - 30 + n // 10, b"%d" % n) for n in range(300)]
    for signature in used:
        replays.take(signature)
        assert replays._used["signer:app"].count <= 110
    for signature in used:
        with pytest.raises(Unauthenticated):
            replays.take(signature)
    replays.take(_signature(NOW, b"fresh"))


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize(
    "text", [b"", b"0", b"\xff" * 44, b"zz" * 32, b" " * 64, b"AAAA" * 11, b"0" * 63, b"0" * 66]
)
def test_what_is_no_digest_is_refused_before_the_body(encoding: str, text: bytes) -> None:
    headers = [(b"x-signature", text), (b"x-timestamp", str(int(time.time())).encode())]
    with pytest.raises(Unauthenticated):
        Signature(_signer(encoding=encoding), headers)


def test_two_signatures_that_differ_are_none(clock: Clock) -> None:
    digest = hmac_of("secret", b"{}").hex().encode()
    plain = _signer(timestamp_header=b"")
    Signature(plain, [(b"x-signature", digest), (b"x-signature", digest)]).check(b"{}")
    with pytest.raises(Unauthenticated):
        Signature(plain, [(b"x-signature", digest), (b"x-signature", b"0" * 64)])


@pytest.mark.parametrize(
    ("query", "headers", "named"),
    [
        (b"", [], None),
        (b"alt=sse", [(b"authorization", b"Bearer x")], None),
        (b"signer=a/b", [], "a/b"),
        (b"signer=a%2Fb&alt=sse", [(b"x-gateway-signer", b"a/b")], "a/b"),
        (b"", [(b"x-gateway-signer", b" a/b ")], "a/b"),
        (b"signer=", [], ""),
        (b"designer=a/b", [], None),
    ],
)
def test_a_signer_is_named_in_the_query_or_a_header(
    query: bytes, headers: list[tuple[bytes, bytes]], named: str | None
) -> None:
    assert named_signer(query, headers) == named


@pytest.mark.parametrize("query", [b"signer=a/c", b"signer=a/b&signer=a/c", b"signer="])
def test_two_names_that_differ_are_refused(query: bytes) -> None:
    with pytest.raises(Unauthenticated):
        named_signer(query, [(b"x-gateway-signer", b"a/b")])


def test_no_secret_is_shown() -> None:
    assert "secret=" not in repr(_signer())
