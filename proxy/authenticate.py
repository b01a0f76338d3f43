"""Credential to Caller: who asks, and which aliases that caller may use.

A verified JWT is remembered under the hash of the whole token until it expires; the Caller built
from it as long as the snapshot it was built from. Neither survives a revocation: the key, and who
signed, are looked up in the snapshot in force each time. Tokens of tenants' own issuers are
verified in issuers.py, signed requests in signers.py; here they become callers too.
"""

import base64
import binascii
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import orjson

from proxy.errors import Unauthenticated
from proxy.issuers import IssuerTokens
from routing.allowed import allowed
from routing.snapshots import AliasSnapshot
from tenants.issuers import Verified
from tenants.key_sets import KeySets
from tenants.outside_credentials import IssuerSnapshot, SignerSnapshot
from tenants.snapshots import KeySnapshot, TenantSnapshot

if TYPE_CHECKING:
    from proxy.snapshot import Snapshot

CREDENTIAL_HEADERS = (b"authorization", b"x-api-key", b"x-gateway-key", b"x-goog-api-key")
REMEMBERED_TOKENS = 20_000
LONGEST_TOKEN = 8_192


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant's key at work. `aliases` are those it may use, by the name it asks for."""

    tenant: TenantSnapshot
    key_id: str
    key: str
    project: str
    user: str
    tier: str
    scopes: frozenset[str]
    aliases: Mapping[str, AliasSnapshot]


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a token says, once it is known to be true. `kid` names who signed it, if anybody did."""

    kid: str
    key_id: str
    tenant: str
    scopes: frozenset[str]
    tier: str
    project: str
    user: str
    expires_at: float


def find_tokens(headers: list[tuple[bytes, bytes]]) -> set[bytes]:
    """Whatever a request names as its key or token."""
    found = set()
    for name, value in headers:
        if name not in CREDENTIAL_HEADERS:
            continue
        token = value
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                continue  # another kind of credential, which is for somebody else
        if token.strip():
            found.add(token.strip())
    return found


def read_token(headers: list[tuple[bytes, bytes]]) -> str:
    """The one credential of a request. Raises Unauthenticated for none, or two that disagree."""
    found = find_tokens(headers)
    if not found:
        raise Unauthenticated("no credential")
    if len(found) > 1:
        raise Unauthenticated("two credentials that disagree")
    only = found.pop()
    if len(only) > LONGEST_TOKEN or not only.isascii():
        raise Unauthenticated("malformed credential")
    return only.decode()


def _verify(token: str, snapshot: "Snapshot", issuer: str, audience: str) -> _Claims:
    """The claims of a JWT that we signed. Raises Unauthenticated."""
    try:
        kid = _key_named_by(token)
        algorithm, public_key = snapshot.keys.signers[kid]
        claims: dict[str, Any] = jwt.decode(
            token,
            public_key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            options={"require": ["exp", "iat", "iss", "aud", "jti", "tenant_id", "scope"]},
        )
    except KeyError:
        raise Unauthenticated("unknown kid") from None
    except (jwt.InvalidTokenError, ValueError, TypeError) as error:
        raise Unauthenticated(f"not a token of ours: {type(error).__name__}") from None
    return _Claims(
        kid=kid,
        key_id=str(claims["jti"]),
        tenant=str(claims["tenant_id"]),
        scopes=frozenset(str(claims["scope"]).split()),
        tier=str(claims.get("tier") or ""),
        project=str(claims.get("project") or ""),
        user=str(claims.get("sub") or ""),
        expires_at=float(claims["exp"]),
    )


def _key_named_by(token: str) -> str:
    head = token.partition(".")[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, orjson.JSONDecodeError) as error:
        raise ValueError("malformed header") from error
    return str(header["kid"]) if isinstance(header, dict) else ""


def _claims_of(key: KeySnapshot) -> _Claims:
    return _Claims(
        "", key.key_id, key.tenant, key.scopes, key.tier, key.project, key.user, key.ends_at
    )


def _key_of(outside: IssuerSnapshot | SignerSnapshot, name: str) -> KeySnapshot:
    """What a credential that a tenant makes itself is, seen as a key; it ends with its entry in the
    configuration."""
    return KeySnapshot(outside.key_id, outside.tenant, name, "", outside.scopes, "", "", math.inf)


def _claims_from(said: Verified) -> _Claims:
    issuer = said.issuer
    return _Claims(
        kid="",
        key_id=issuer.key_id,
        tenant=issuer.tenant,
        scopes=issuer.scopes,
        tier=said.tier,
        project=said.project,
        user=said.user,
        expires_at=said.expires_at,
    )


def _caller(claims: _Claims, key: KeySnapshot, snapshot: "Snapshot") -> Caller:
    tenant = snapshot.tenants.get(claims.tenant)
    if tenant is None or key.tenant != claims.tenant:
        raise Unauthenticated("unknown tenant")
    policy = tenant.policies.get(key.name)
    return Caller(
        tenant=tenant,
        key_id=key.key_id,
        key=key.name,
        project=claims.project or (policy.project if policy else ""),
        user=claims.user,
        tier=claims.tier or tenant.tier,
        scopes=claims.scopes,
        aliases=allowed(snapshot.routing.aliases, tenant, key=key.name, scopes=claims.scopes),
    )


class Authenticator:
    """Remembers what it has verified. Bounded; the oldest is forgotten first."""

    def __init__(self, *, issuer: str, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._claims: dict[bytes, _Claims] = {}
        self._callers: dict[bytes, Caller] = {}
        self._snapshot: Snapshot | None = None
        """The one that the callers were built from; older ones are let go of."""
        self.key_sets = KeySets()
        self._issuer_tokens = IssuerTokens(self.key_sets, ours=issuer)

    def authenticate(self, token: str, snapshot: "Snapshot") -> Caller:
        """The Caller behind a token, of a suspended tenant too. Raises Unauthenticated; KeysWanted
        where keys must be fetched before the token can be judged."""
        digest = hashlib.sha256(token.encode()).digest()
        now = time.time()
        self._turn_to(snapshot)
        claims, key = self._proven(token, digest, snapshot)
        if now >= key.ends_at or now >= claims.expires_at:
            raise Unauthenticated("expired or revoked key")
        return self._caller_of(digest, claims, key, snapshot)

    def caller_of_signer(self, signer: SignerSnapshot, snapshot: "Snapshot") -> Caller:
        """The Caller behind a request whose signature was verified."""
        self._turn_to(snapshot)
        key = _key_of(signer, signer.name)
        return self._caller_of(key.key_id.encode(), _claims_of(key), key, snapshot)

    def _turn_to(self, snapshot: "Snapshot") -> None:
        if snapshot is not self._snapshot:
            self._callers, self._snapshot = {}, snapshot
            self._issuer_tokens.turn_to(snapshot.tenants)

    def _caller_of(
        self, name: bytes, claims: _Claims, key: KeySnapshot, snapshot: "Snapshot"
    ) -> Caller:
        caller = self._callers.get(name)
        if caller is None or caller.key_id != key.key_id:
            caller = _caller(claims, key, snapshot)
            _remember(self._callers, name, caller)
        return caller

    def _proven(
        self, token: str, digest: bytes, snapshot: "Snapshot"
    ) -> tuple[_Claims, KeySnapshot]:
        opaque = snapshot.keys.by_hash.get(digest.hex())
        if opaque is not None:
            return _claims_of(opaque), opaque
        claims = self._claims.get(digest)
        if claims is None or claims.kid not in snapshot.keys.signers:
            if token.count(".") != 2:
                raise Unauthenticated("unknown opaque key", may_be_newer=True)
            said = self._issuer_tokens.verified(token, digest)
            if said is not None:
                return _claims_from(said), _key_of(said.issuer, said.issuer.key)
            claims = _verify(token, snapshot, self._issuer, self._audience)
            _remember(self._claims, digest, claims)
        key = snapshot.keys.by_id.get(claims.key_id)
        if key is None:
            raise Unauthenticated("unknown key", may_be_newer=True)
        return claims, key


def _remember(memory: dict[bytes, Any], digest: bytes, value: Any) -> None:
    if len(memory) >= REMEMBERED_TOKENS:
        for oldest in list(memory)[: REMEMBERED_TOKENS // 10]:
            del memory[oldest]
    memory[digest] = value
