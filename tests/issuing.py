"""An identity provider for tests: key pairs, JWKS documents, tokens as right or wrong as wanted."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

Claims = dict[str, Any]

_MAKERS: dict[str, Any] = {
    "RS": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "PS": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair, by the algorithm that it is for and the `kid` that it goes by."""

    kid: str
    algorithm: str
    private: Any

    @property
    def pem(self) -> str:
        encoding, shape = serialization.Encoding.PEM, serialization.PublicFormat
        public = self.private.public_key()
        return str(public.public_bytes(encoding, shape.SubjectPublicKeyInfo).decode())

    @property
    def private_pem(self) -> str:
        encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat
        plain = serialization.NoEncryption()
        return str(self.private.private_bytes(encoding, shape.PKCS8, plain).decode())

    @property
    def jwk(self) -> dict[str, Any]:
        public: Any = jwt.get_algorithm_by_name(self.algorithm)
        described = json.loads(public.to_jwk(self.private.public_key()))
        return {**described, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Claims, **header: Any) -> str:
        """A token; a header of None is left out."""
        given = {"kid": self.kid, **header}
        headers = {name: value for name, value in given.items() if value is not None}
        payload = json.dumps(claims).encode()  # jwt.encode would refuse what a forger may say
        return jwt.PyJWS().encode(payload, self.private, self.algorithm, headers)


def new_pair(kid: str, algorithm: str = "ES256") -> Pair:
    make = _MAKERS.get(algorithm) or _MAKERS[algorithm[:2]]
    return Pair(kid, algorithm, make())


def jwks(*pairs: Pair) -> dict[str, Any]:
    return {"keys": [pair.jwk for pair in pairs]}


def claims(issuer: str, audience: Any = "gateway", **changed: Any) -> Claims:
    """What a good token says; a claim that is changed to None is left out."""
    now = int(time.time())
    told = {"iss": issuer, "aud": audience, "sub": "ada", "iat": now, "exp": now + 600, **changed}
    return {name: value for name, value in told.items() if value is not None}


def part(data: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def handmade(header: Claims, told: Claims, secret: bytes | None) -> str:
    """A token whose header says what it likes, signed by HMAC with a secret, or by nothing."""
    signed = f"{part(header)}.{part(told)}"
    if secret is None:
        return f"{signed}."
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
