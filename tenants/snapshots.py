"""What the hot path knows of tenants and keys: frozen, read in one go, swapped whole."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.utils import timezone

from billing.plans import NO_TERMS, Terms
from tenants.models import Key, KeyPolicy, Project, SigningKey, Tenant, Tier
from tenants.outside_credentials import (
    IssuerSnapshot,
    SignerSnapshot,
    read_issuers,
    read_signers,
)

HEDGE_LOSER = Fraction(1)
"""Providers bill what they were asked, whoever was quicker."""


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """What keys of one name may do at most."""

    project: str
    aliases: frozenset[str]
    terms: Terms = NO_TERMS


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """One tenant. `aliases` holds names of the gateway's aliases, or `*`."""

    name: str
    tier: str
    suspended: bool
    aliases: frozenset[str]
    price_book: str
    timezone: str
    cors_origins: frozenset[str]
    on_disconnect: str
    quarantines_unpriced: bool
    policies: Mapping[str, PolicySnapshot]
    terms: Terms = NO_TERMS
    """Its own over its tier's."""
    projects: Mapping[str, Terms] = field(default_factory=dict)
    weight: int = 1
    """Its share when requests wait for a provider."""
    hedge_loser: Fraction = HEDGE_LOSER
    """The share of its price that is charged for a hedge that lost."""
    issuers: tuple[IssuerSnapshot, ...] = ()
    signers: Mapping[str, SignerSnapshot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """One issued key. Times are seconds since the epoch; `ends_at` is expiry or revocation."""

    key_id: str
    tenant: str
    name: str
    project: str
    scopes: frozenset[str]
    user: str
    tier: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class KeysSnapshot:
    """Every key that has not expired, by id and (opaque ones) by hash, and who signs them."""

    by_id: Mapping[str, KeySnapshot]
    by_hash: Mapping[str, KeySnapshot]
    signers: Mapping[str, tuple[str, EllipticCurvePublicKey]]


def _terms(row: Tenant | Tier | Project | KeyPolicy) -> Terms:
    return Terms(row.limits, tuple(row.budgets))


def _tenant(
    tenant: Tenant,
    policies: dict[str, PolicySnapshot],
    projects: dict[str, Terms],
    issuers: tuple[IssuerSnapshot, ...],
    signers: Mapping[str, SignerSnapshot],
) -> TenantSnapshot:
    return TenantSnapshot(
        name=tenant.name,
        tier=tenant.tier.name if tenant.tier else "",
        suspended=tenant.status == Tenant.Status.SUSPENDED,
        aliases=frozenset(tenant.aliases),
        price_book=tenant.price_book.name if tenant.price_book else "cost",
        timezone=tenant.timezone,
        cors_origins=frozenset(tenant.cors_origins),
        on_disconnect=tenant.on_disconnect,
        quarantines_unpriced=tenant.unpriced == Tenant.Unpriced.QUARANTINE,
        policies=MappingProxyType(policies),
        terms=_terms(tenant).over(_terms(tenant.tier) if tenant.tier else NO_TERMS),
        projects=MappingProxyType(projects),
        weight=tenant.tier.weight if tenant.tier else 1,
        hedge_loser=Fraction(str(tenant.price_factors.get("hedge_loser", HEDGE_LOSER))),
        issuers=issuers,
        signers=signers,
    )


def read_tenants() -> Mapping[str, TenantSnapshot]:
    """Every tenant by name."""
    policies: dict[int, dict[str, PolicySnapshot]] = {}
    for policy in KeyPolicy.objects.select_related("project"):
        policies.setdefault(policy.tenant_id, {})[policy.name] = PolicySnapshot(
            project=policy.project.name if policy.project else "",
            aliases=frozenset(policy.aliases),
            terms=_terms(policy),
        )
    projects: dict[int, dict[str, Terms]] = {}
    for project in Project.objects.all():
        projects.setdefault(project.tenant_id, {})[project.name] = _terms(project)
    issuers, signers = read_issuers(), read_signers()
    return MappingProxyType(
        {
            row.name: _tenant(
                row,
                policies.get(row.pk, {}),
                projects.get(row.pk, {}),
                issuers.get(row.name, ()),
                signers.get(row.name, {}),
            )
            for row in Tenant.objects.select_related("tier", "price_book")
        }
    )


def read_tiers() -> Mapping[str, Terms]:
    """What each tier gives, by its name."""
    return MappingProxyType({row.name: _terms(row) for row in Tier.objects.all()})


def _key(key: Key) -> KeySnapshot:
    ends_at = min(key.expires_at, key.revoked_at or key.expires_at)
    return KeySnapshot(
        key_id=key.key_id,
        tenant=key.tenant.name,
        name=key.name,
        project=key.project.name if key.project else "",
        scopes=frozenset(key.scopes),
        user=key.user,
        tier=key.tier,
        ends_at=ends_at.timestamp(),
    )


def read_keys() -> KeysSnapshot:
    """Keys that have not expired; a revoked one stays, so that it is known to have ended."""
    recently = timezone.now() - datetime.timedelta(minutes=5)
    by_id, by_hash = {}, {}
    rows = Key.objects.select_related("tenant", "project").filter(expires_at__gt=recently)
    for row in rows.iterator(chunk_size=2000):
        by_id[row.key_id] = snapshot = _key(row)
        if row.token_hash:
            by_hash[row.token_hash] = snapshot
    signers = {}
    for signer in SigningKey.objects.defer("private_key"):
        public = load_pem_public_key(signer.public_key.encode())
        assert isinstance(public, EllipticCurvePublicKey)
        signers[signer.kid] = (signer.algorithm, public)
    return KeysSnapshot(
        by_id=MappingProxyType(by_id),
        by_hash=MappingProxyType(by_hash),
        signers=MappingProxyType(signers),
    )
