"""What the hot path knows of credentials that a tenant makes itself: tokens of its own issuers, and
requests that a holder of a shared secret signs."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

import orjson

from gateway_project.units import parse_duration
from routing.config.rows import secret_of, with_sealed_secret
from tenants.key_sets import KeySource
from tenants.models import HmacSigner, Issuer

LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class IssuerSnapshot:
    """An identity provider of one tenant. `*_claim` name claims; an empty one is not mapped.
    `key_id` and `key` stand on the records of its callers."""

    tenant: str
    issuer: str
    audience: str
    source: KeySource
    user_claim: str
    tier_claim: str
    project_claim: str
    allowed_tiers: frozenset[str]
    scopes: frozenset[str]
    key_id: str
    key: str


@dataclass(frozen=True, slots=True)
class SignerSnapshot:
    """A holder of a shared secret. Header names are in lower case, and bytes as ASGI has them;
    `timestamp_header` may be empty; `tolerance` is in seconds."""

    tenant: str
    name: str
    header: bytes
    encoding: str
    timestamp_header: bytes
    tolerance: float
    scopes: frozenset[str]
    key_id: str
    secret: bytes = field(repr=False)


def key_id(kind: str, tenant: str, name: str) -> str:
    """31 characters that stay the same as long as tenant and name do, on every installation."""
    digest = hashlib.sha256(f"{tenant} {name}".encode()).hexdigest()  # a tenant's name has no blank
    return f"{kind}:{digest[:24]}"


def key_name(issuer: str) -> str:
    """A slug of host and path: `https://login.acme.example/` is `login.acme.example`."""
    try:
        parts = urlsplit(issuer)
        named = f"{parts.hostname or ''}{parts.path}" if parts.hostname else issuer
    except ValueError:
        named = issuer
    slug = re.sub(r"[^a-z0-9._]+", "-", named.lower()).strip("-._")
    return slug[:LONGEST_NAME].rstrip("-._") or "issuer"


def read_issuers() -> Mapping[str, tuple[IssuerSnapshot, ...]]:
    """Every issuer by the name of its tenant."""
    found: dict[str, tuple[IssuerSnapshot, ...]] = {}
    for row in Issuer.objects.select_related("tenant"):
        found[row.tenant.name] = (*found.get(row.tenant.name, ()), _issuer(row))
    return MappingProxyType(found)


def read_signers() -> Mapping[str, Mapping[str, SignerSnapshot]]:
    """Every signer that has a secret, by the name of its tenant and its own."""
    found: dict[str, dict[str, SignerSnapshot]] = {}
    for row in with_sealed_secret(HmacSigner.objects.select_related("tenant")):
        if secret := _secret(row):
            found.setdefault(row.tenant.name, {})[row.name] = _signer(row, secret)
    return MappingProxyType({name: MappingProxyType(signers) for name, signers in found.items()})


def _scopes(aliases: list[str]) -> frozenset[str]:
    """All that such a credential may: no scope that its own token names is believed."""
    return frozenset(f"alias:{name}" for name in aliases)


def _source(row: Issuer) -> KeySource:
    if row.jwks_url:
        return KeySource("jwks_url", row.jwks_url)
    if row.public_key:
        return KeySource("public_key", row.public_key)
    return KeySource("jwks", orjson.dumps(row.jwks, option=orjson.OPT_SORT_KEYS).decode())


def _issuer(row: Issuer) -> IssuerSnapshot:
    tenant = row.tenant.name
    return IssuerSnapshot(
        tenant=tenant,
        issuer=row.issuer,
        audience=row.audience,
        source=_source(row),
        user_claim=row.claims.get("user", ""),
        tier_claim=row.claims.get("tier", ""),
        project_claim=row.claims.get("project", ""),
        allowed_tiers=frozenset(row.allowed_tiers),
        scopes=_scopes(row.aliases),
        key_id=key_id("issuer", tenant, row.issuer),
        key=key_name(row.issuer),
    )


def _secret(row: HmacSigner) -> str:
    """The stored secret; for an `env:` that was unset when it was applied, what it is now. Empty
    for one that none of the encryption keys opens: its requests are refused, nobody else's."""
    reference = row.secret_reference
    stored = secret_of(row).value or ""
    if not stored and reference.startswith("env:"):
        return os.environ.get(reference.removeprefix("env:"), "")
    return stored


def _signer(row: HmacSigner, secret: str) -> SignerSnapshot:
    tenant = row.tenant.name
    return SignerSnapshot(
        tenant=tenant,
        name=row.name,
        header=row.header.lower().encode(),
        encoding=row.encoding,
        timestamp_header=row.timestamp_header.lower().encode(),
        tolerance=parse_duration(row.tolerance),
        scopes=_scopes(row.aliases),
        key_id=key_id("signer", tenant, row.name),
        secret=secret.encode(),
    )
