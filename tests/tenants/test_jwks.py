"""Which keys of an issuer verify, and by which algorithms."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from tenants.jwks import ALGORITHMS, parse_jwks, parse_pem
from tests.issuing import Pair, jwks, new_pair

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
PAIRS = {name: new_pair(name, name) for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA")}
FITTING = {"RS256": RSA, **{name: {name} for name in ("ES256", "ES384", "ES512", "EdDSA")}}


def test_nothing_symmetric_is_accepted() -> None:
    assert not {name for name in ALGORITHMS if name.startswith(("HS", "none"))}
    assert len(ALGORITHMS) == 10


@pytest.mark.parametrize("name", PAIRS)
def test_a_pem_verifies_by_what_fits_its_key(name: str) -> None:
    keys = parse_pem(PAIRS[name].pem)
    fitting = {algorithm for algorithm in ALGORITHMS if keys.find("any", algorithm)}
    assert fitting == FITTING[name]
    assert keys.find("any", "HS256") is None
    assert not keys.lacks("any")


@pytest.mark.parametrize("name", PAIRS)
def test_a_jwk_without_an_algorithm_does_likewise(name: str) -> None:
    jwk = PAIRS[name].jwk
    del jwk["alg"]
    keys = parse_jwks({"keys": [jwk]})
    assert {one for one in ALGORITHMS if keys.find(name, one)} == FITTING[name]


def test_a_jwk_with_an_algorithm_verifies_by_no_other() -> None:
    keys = parse_jwks(jwks(PAIRS["RS256"]))
    assert keys.find("RS256", "RS256") is not None
    assert keys.find("RS256", "PS256") is None


def _changed(name: str, **changes: Any) -> dict[str, Any]:
    return {**PAIRS[name].jwk, **changes}


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
        {"kty": "RSA", "kid": "x"},
        {"kty": "none", "kid": "x"},
        _changed("ES256", use="enc"),
        _changed("ES256", key_ops=["encrypt"]),
        _changed("ES256", key_ops="verify"),
        _changed("ES256", alg="ES384"),
        _changed("ES256", alg="HS256"),
        _changed("ES256", alg="none"),
        _changed("ES256", crv="P-384"),
        _changed("ES256", x="AA"),
        _changed("ES256", x=7),
        _changed("ES256", kid=["x"]),
        Pair("x", "RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024)).jwk,
        "text",
        None,
        [],
    ],
)
def test_a_key_that_cannot_verify_is_passed_over(entry: Any) -> None:
    keys = parse_jwks({"keys": [entry, PAIRS["ES384"].jwk]})
    assert set(keys.keys) == {("ES384", "ES384")}


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}])
def test_what_is_no_jwks_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        parse_jwks(document)


def test_a_token_without_a_kid_means_the_only_key_there_is() -> None:
    one, two = jwks(PAIRS["ES256"]), jwks(PAIRS["ES256"], PAIRS["ES384"])
    assert parse_jwks(one).find(None, "ES256") is not None
    assert parse_jwks(two).find(None, "ES256") is None
    assert not parse_jwks(two).lacks(None)
    assert parse_jwks(two).lacks("../ES256")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
        dsa.generate_private_key(2048),
    ],
)
def test_a_weak_or_strange_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="not accepted"):
        parse_pem(Pair("x", "x", key).pem)


@pytest.mark.parametrize(
    "text", ["", "k", "-----BEGIN PUBLIC KEY-----\n", PAIRS["ES256"].private_pem]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no public key"):
        parse_pem(text)
