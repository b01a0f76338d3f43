"""Tokens of a tenant's own issuer: read before they are trusted, verified, and what they say.

Nothing of a token's header decides but which of the issuer's keys is tried: `jku`, `x5u`, `x5c` and
`jwk` are not looked at.
"""

import base64
import binascii
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson

from gateway_project.names import SLUG_PATTERN
from tenants.jwks import ALGORITHMS, PublicKey
from tenants.outside_credentials import IssuerSnapshot

SKEW_SECONDS = 5
"""How far an issuer's clock may be ahead of ours; none for `exp`."""

_SLUG = re.compile(SLUG_PATTERN)


class TokenRefused(Exception):
    """The message is for our log."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token claims to be: enough to find who could verify it, and worth nothing else."""

    kid: str | None
    algorithm: str
    issuer: str
    audiences: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verified:
    """What an issuer says of a user; `expires_at` is in seconds since the epoch."""

    issuer: IssuerSnapshot
    user: str
    tier: str
    project: str
    expires_at: float


def _part(text: str) -> dict[str, Any]:
    try:
        part = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise TokenRefused("malformed token") from None
    if not isinstance(part, dict):
        raise TokenRefused("malformed token")
    return part


def read_unverified(token: str) -> Unverified:
    """Raises TokenRefused for what no issuer's key could ever verify."""
    head, claims, _ = token.split(".")
    header, payload = _part(head), _part(claims)
    kid, algorithm, issuer = header.get("kid"), header.get("alg"), payload.get("iss")
    if not isinstance(issuer, str) or not isinstance(kid, str | None):
        raise TokenRefused("no issuer, or a kid that is none")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("an algorithm that is not accepted")
    audience = payload.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    audiences = frozenset(name for name in listed if isinstance(name, str))
    return Unverified(kid, algorithm, issuer, audiences)


def verify(token: str, issuer: IssuerSnapshot, key: PublicKey, algorithm: str) -> Verified:
    """Signature, issuer, audience and times, by a key that fits. Raises TokenRefused."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer.issuer,
            audience=issuer.audience,
            leeway=SKEW_SECONDS,
            options={"require": ["exp", "iss", "aud"]},
        )
        expires_at = float(claims["exp"])
    except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenRefused(f"not a token of {issuer.issuer}: {type(error).__name__}") from None
    if not time.time() < expires_at < float("inf"):
        raise TokenRefused("expired")
    return _mapped(claims, issuer, expires_at)


def _mapped(claims: Mapping[str, Any], issuer: IssuerSnapshot, expires_at: float) -> Verified:
    user = _claim(claims, issuer.user_claim or "sub")
    if issuer.user_claim and not user:
        # Otherwise the body could name one, and would be believed.
        raise TokenRefused("no user in the claim that is mapped")
    tier, project = _claim(claims, issuer.tier_claim), _claim(claims, issuer.project_claim)
    return Verified(
        issuer=issuer,
        user=user,
        tier=tier if tier in issuer.allowed_tiers else "",
        project=project if _SLUG.match(project) else "",
        expires_at=expires_at,
    )


def _claim(claims: Mapping[str, Any], name: str) -> str:
    """A claim by its name, or by its path with dots; empty when it is no text or number."""
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""
