"""Public keys of an issuer, from a JWKS (RFC 7517) or a PEM, and the algorithms that fit each.

Which algorithm a token may use follows from the key, never from the token: an RSA key verifies RS*
and PS*, a curve its own ES*, Ed25519 and Ed448 EdDSA. There is no entry for HS* or `none`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

SHORTEST_RSA = 2048
"""Bits (RFC 7518, section 3.3)."""
MOST_KEYS = 100

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = frozenset({*_RSA, *_CURVES.values(), "EdDSA"})

_READERS: Mapping[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """Keys by `kid` and algorithm. A PEM has no `kid`, and verifies whatever one a token names."""

    keys: Mapping[tuple[str, str], PublicKey]
    kids: frozenset[str]
    is_pem: bool = False

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """A token without a `kid` means the only key there is."""
        if self.is_pem:
            return self.keys.get(("", algorithm))
        if kid is None:
            [kid] = self.kids if len(self.kids) == 1 else [""]
        return self.keys.get((kid, algorithm))

    def lacks(self, kid: str | None) -> bool:
        """Whether a token's `kid` is one that a newer set may have."""
        return kid is not None and not self.is_pem and kid not in self.kids


NO_KEYS = KeySet(MappingProxyType({}), frozenset())


def parse_jwks(document: Any) -> KeySet:
    """The keys of a JWKS that can verify signatures; others are passed over. Raises ValueError for
    what is no JWKS."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("a JWKS is a mapping with a list of 'keys'")
    keys: dict[tuple[str, str], PublicKey] = {}
    for entry in entries[:MOST_KEYS]:
        for kid, algorithm, key in _usable(entry):
            keys.setdefault((kid, algorithm), key)
    return KeySet(MappingProxyType(keys), frozenset(kid for kid, _ in keys))


def parse_pem(text: str) -> KeySet:
    """One public key. Raises ValueError."""
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is no public key in PEM") from None
    algorithms = _algorithms(key)
    if not algorithms:
        raise ValueError("is a key of a kind, curve or size that is not accepted")
    keys: dict[tuple[str, str], Any] = {("", algorithm): key for algorithm in algorithms}
    return KeySet(MappingProxyType(keys), frozenset(), is_pem=True)


def is_private(entry: Any) -> bool:
    """Whether a key of a JWKS holds what only its owner should."""
    return isinstance(entry, dict) and any(member in entry for member in _PRIVATE_MEMBERS)


def _usable(entry: Any) -> Iterator[tuple[str, str, PublicKey]]:
    if not isinstance(entry, dict) or not _is_for_signatures(entry):
        return
    kid, reader = entry.get("kid", ""), _READERS.get(str(entry.get("kty")))
    if reader is None or not isinstance(kid, str):
        return
    public = {name: entry[name] for name in _PUBLIC_MEMBERS if name in entry}
    try:
        key = reader.from_jwk(json.dumps(public))
    except (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return
    for algorithm in _algorithms(key):
        if entry.get("alg", algorithm) == algorithm:
            yield kid, algorithm, key


def _is_for_signatures(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops")
    return entry.get("use", "sig") == "sig" and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )


def _algorithms(key: Any) -> tuple[str, ...]:
    """The algorithms that fit a public key; none for what is too weak or of another kind."""
    if isinstance(key, RSAPublicKey):
        return _RSA if key.key_size >= SHORTEST_RSA else ()
    if isinstance(key, EllipticCurvePublicKey):
        name = _CURVES.get(key.curve.name)
        return (name,) if name else ()
    return ("EdDSA",) if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else ()
