"""Tokens of tenants' own issuers: whose they are, verified once and remembered.

A token's `iss` and `aud` say who may be asked; each tenant that registered both is, with its own
keys. Exactly one must verify it, and that one's tenant it is: a token never names its tenant.

What is remembered holds only as long as the issuer stands in the configuration as it stood, and its
key set is the one that verified.
"""

from collections.abc import Mapping

from proxy.errors import Unauthenticated
from tenants.issuers import TokenRefused, Unverified, Verified, read_unverified, verify
from tenants.jwks import KeySet
from tenants.key_sets import KeySets, KeySource
from tenants.outside_credentials import IssuerSnapshot
from tenants.snapshots import TenantSnapshot

REMEMBERED_TOKENS = 20_000


class KeysWanted(Unauthenticated):
    """Keys must be fetched before a token can be judged; by itself a refusal. Beside each source is
    the set that lacks the token's `kid`; None where no keys are at hand."""

    def __init__(self, sources: dict[KeySource, KeySet | None]) -> None:
        super().__init__("unknown kid")
        self.sources = sources


class IssuerTokens:
    """Remembers what it has verified. Bounded; the oldest is forgotten first."""

    def __init__(self, key_sets: KeySets, *, ours: str) -> None:
        """`ours` is the gateway's own issuer, which no tenant can be."""
        self._key_sets = key_sets
        self._ours = ours
        self._tenants: object = None
        self._issuers: Mapping[str, tuple[IssuerSnapshot, ...]] = {}
        self._verified: dict[bytes, tuple[Verified, KeySet]] = {}

    def verified(self, token: str, digest: bytes) -> Verified | None:
        """What a token says; None when it names no issuer of any tenant's. `digest` is the whole
        token's. Raises Unauthenticated, and KeysWanted."""
        if not self._issuers:
            return None
        if (known := self._remembered(digest)) is not None:
            return known
        try:
            claimed = read_unverified(token)
        except TokenRefused as refusal:
            raise Unauthenticated(str(refusal)) from None
        issuers = self._issuers.get(claimed.issuer)
        if issuers is None:
            return None
        found = self._verify(token, claimed, issuers)
        if len(self._verified) >= REMEMBERED_TOKENS:
            for oldest in list(self._verified)[: REMEMBERED_TOKENS // 10]:
                del self._verified[oldest]
        self._verified[digest] = found
        return found[0]

    def turn_to(self, tenants: Mapping[str, TenantSnapshot]) -> None:
        """The configuration in force: its issuers are those that are asked."""
        if tenants is self._tenants:
            return
        found: dict[str, tuple[IssuerSnapshot, ...]] = {}
        for tenant in tenants.values():
            for issuer in tenant.issuers:
                if issuer.issuer == self._ours:
                    continue
                found[issuer.issuer] = (*found.get(issuer.issuer, ()), issuer)
        self._tenants, self._issuers = tenants, found
        self._key_sets.keep_only(one.source for several in found.values() for one in several)

    def _remembered(self, digest: bytes) -> Verified | None:
        if (found := self._verified.get(digest)) is None:
            return None
        verified, keys = found
        issuer = verified.issuer
        if issuer in self._issuers.get(issuer.issuer, ()) and (
            self._key_sets.known(issuer.source) is keys
        ):
            return verified
        del self._verified[digest]
        return None

    def _verify(
        self, token: str, claimed: Unverified, issuers: tuple[IssuerSnapshot, ...]
    ) -> tuple[Verified, KeySet]:
        found: list[tuple[Verified, KeySet]] = []
        wanted: dict[KeySource, KeySet | None] = {}
        reason = "a token for another audience"
        for issuer in issuers:
            if issuer.audience not in claimed.audiences:
                continue
            keys = self._key_sets.known(issuer.source)
            if keys is None or (keys.lacks(claimed.kid) and issuer.source.kind == "jwks_url"):
                wanted[issuer.source] = keys
                continue
            try:
                found.append((_verified_by(keys, token, claimed, issuer), keys))
            except TokenRefused as refusal:
                reason = str(refusal)
        if len(found) > 1:
            raise Unauthenticated("the issuers of several tenants verify this token")
        if found:
            return found[0]
        raise KeysWanted(wanted) if wanted else Unauthenticated(reason)


def _verified_by(keys: KeySet, token: str, claimed: Unverified, issuer: IssuerSnapshot) -> Verified:
    key = keys.find(claimed.kid, claimed.algorithm)
    if key is None:
        raise TokenRefused("no key of the issuer's has this kid and algorithm")
    return verify(token, issuer, key, claimed.algorithm)
