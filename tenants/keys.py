"""Issued keys: minting, revoking, rotating, and the key pairs that sign them.

A JWT key proves itself by its signature; an opaque key is a random token known by its hash. The
`jti` of a JWT, and the `key_id` everywhere else, name the row.
"""

import datetime
import hashlib
import secrets
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from gateway_project.names import valid_slug
from tenants.models import Key, Project, SigningKey, Tenant, Tier

ALGORITHM = "ES256"
OPAQUE_PREFIX = "gwk_"
DEFAULT_LIFETIME = datetime.timedelta(days=90)
SHORTEST_LIFETIME = datetime.timedelta(seconds=1)
LONGEST_USER = 256


class KeyRefused(Exception):
    """A key cannot be issued, rotated or revoked as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key just minted. The token is known here and nowhere else."""

    token: str = field(repr=False)
    key_id: str
    expires_at: datetime.datetime


def hash_token(token: str) -> str:
    """SHA-256 of the whole token, in hex. A token has 256 random bits, so it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def create_signing_key() -> SigningKey:
    """A fresh pair, which signs from now on; older ones go on verifying what they signed."""
    private = ec.generate_private_key(ec.SECP256R1())
    return SigningKey.objects.create(
        kid=secrets.token_hex(8),
        algorithm=ALGORITHM,
        private_key=private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        public_key=private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


def rotate_signing_key() -> SigningKey:
    """Signs with a new pair from now on. Tokens of the old pairs stay good until they expire."""
    with transaction.atomic():
        for old in SigningKey.objects.filter(retired_at=None):
            old.retired_at = timezone.now()
            old.save(update_fields=["retired_at"])
        return create_signing_key()


def _signing_key() -> SigningKey:
    return SigningKey.objects.filter(retired_at=None).first() or create_signing_key()


def _sign(key: Key) -> str:
    signing = _signing_key()
    claims = {
        "iss": settings.ENVIRONMENT.issuer,
        "aud": settings.ENVIRONMENT.audience,
        "tenant_id": key.tenant.name,
        "sub": key.user,
        "jti": key.key_id,
        "scope": " ".join(key.scopes),
        "tier": key.tier,
        "project": key.project.name if key.project else "",
        "iat": int(key.issued_at.timestamp()),
        "exp": int(key.expires_at.timestamp()),
    }
    return jwt.encode(
        claims, signing.private_key, algorithm=signing.algorithm, headers={"kid": signing.kid}
    )


def _mint(key: Key) -> Issued:
    if key.kind == Key.Kind.OPAQUE:
        token = OPAQUE_PREFIX + secrets.token_urlsafe(32)
        key.token_hash = hash_token(token)
        key.save(force_insert=True)
    else:
        key.save(force_insert=True)
        token = _sign(key)
    return Issued(token=token, key_id=key.key_id, expires_at=key.expires_at)


def _checked_name(kind: str, name: str) -> str:
    try:
        valid_slug(name)
    except ValidationError as error:
        raise KeyRefused(f"{kind} {name!r}: {error.message}") from None
    return name


def _checked_user(user: str) -> str:
    if len(user) > LONGEST_USER or not user.isprintable():
        raise KeyRefused(f"user: at most {LONGEST_USER} characters, all of them printable")
    return user


def _after(moment: datetime.datetime, span: datetime.timedelta, refusal: str) -> datetime.datetime:
    try:
        return moment + span
    except OverflowError:
        raise KeyRefused(refusal) from None


@transaction.atomic
def issue_key(
    *,
    tenant: str,
    name: str,
    project: str = "",
    aliases: list[str] | None = None,
    scopes: list[str] | None = None,
    user: str = "",
    tier: str = "",
    lifetime: datetime.timedelta = DEFAULT_LIFETIME,
    opaque: bool = False,
) -> Issued:
    """Mints a key. Raises KeyRefused for an unknown tenant or tier, or a name that is no slug.

    JWT times are whole seconds; the row says the same as the token, so a lifetime is cut to them.
    """
    owner = Tenant.objects.filter(name=tenant).first()
    if owner is None:
        raise KeyRefused(f"there is no tenant {tenant!r}")
    if tier and not Tier.objects.filter(name=tier).exists():
        raise KeyRefused(f"there is no tier {tier!r}")
    lifetime -= datetime.timedelta(microseconds=lifetime.microseconds)
    if lifetime < SHORTEST_LIFETIME:
        raise KeyRefused("a key must live for some time, a second at least")
    names = [alias if alias == "*" else _checked_name("alias", alias) for alias in aliases or ["*"]]
    for scope in scopes or []:
        if not scope or any(character.isspace() for character in scope):
            raise KeyRefused(f"scope {scope!r}: a scope is one word, like usage:read")
    cost_centre = None
    if project:
        cost_centre, _ = Project.objects.get_or_create(
            tenant=owner, name=_checked_name("project", project)
        )
    now = timezone.now().replace(microsecond=0)
    return _mint(
        Key(
            key_id=secrets.token_hex(12),
            tenant=owner,
            name=_checked_name("key", name),
            project=cost_centre,
            kind=Key.Kind.OPAQUE if opaque else Key.Kind.JWT,
            scopes=list(dict.fromkeys([f"alias:{alias}" for alias in names] + (scopes or []))),
            user=_checked_user(user),
            tier=tier,
            issued_at=now,
            expires_at=_after(now, lifetime, "the key lives too long for the calendar"),
        )
    )


def _living(key_id: str) -> Key:
    key = Key.objects.select_for_update().filter(key_id=key_id).first()
    if key is None:
        raise KeyRefused(f"there is no key {key_id!r}")
    return key


@transaction.atomic
def revoke_key(key_id: str, *, at: datetime.datetime | None = None) -> Key:
    """Ends a key now, or at a moment to come. Revoking twice keeps the earlier moment."""
    key = _living(key_id)
    moment = at or timezone.now()
    if key.revoked_at is None or moment < key.revoked_at:
        key.revoked_at = moment
        key.save(update_fields=["revoked_at"])
    return key


@transaction.atomic
def rotate_key(key_id: str, *, grace: datetime.timedelta) -> Issued:
    """A new key that may do what the old one may, for as long; the old one ends after `grace`."""
    old = _living(key_id)
    now = timezone.now().replace(microsecond=0)
    if old.revoked_at is not None and old.revoked_at <= now:
        raise KeyRefused(f"key {key_id!r} is revoked; issue a new one instead")
    ends_at = _after(timezone.now(), grace, "the grace is too long for the calendar")
    issued = _mint(
        Key(
            key_id=secrets.token_hex(12),
            tenant=old.tenant,
            name=old.name,
            project=old.project,
            kind=old.kind,
            scopes=old.scopes,
            user=old.user,
            tier=old.tier,
            issued_at=now,
            expires_at=_after(
                now, old.expires_at - old.issued_at, "the new key would live too long"
            ),
            replaces=old,
        )
    )
    revoke_key(key_id, at=ends_at)
    return issued
