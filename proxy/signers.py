"""Requests signed by a shared secret: an HMAC-SHA256 of the raw body in a header.

`?signer=acme/shopify`, or the header `x-gateway-signer`, names whose secret verifies it. Where the
signer has a `timestamp_header`, `{timestamp}.{body}` is signed, with the timestamp as it stands in
that header (whole seconds since 1970); one outside of the tolerance is refused, and so is a
signature that this worker has seen within it.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from proxy.errors import Unauthenticated
from tenants.outside_credentials import SignerSnapshot

if TYPE_CHECKING:
    from proxy.snapshot import Snapshot

NAMED_BY = b"x-gateway-signer"
REMEMBERED_SIGNATURES = 100_000
"""Of one signer. Beyond that, the oldest timestamps are refused instead of remembered."""

_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_HEX = re.compile(rb"[0-9a-fA-F]{64}")

Header = tuple[bytes, bytes]


def named_signer(query: bytes, headers: Iterable[Header]) -> str | None:
    """`tenant/name` of the signer that a request names. Raises Unauthenticated for two."""
    named = {value.strip().decode("latin-1") for name, value in headers if name == NAMED_BY}
    if b"signer=" in query:
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        except ValueError:
            raise Unauthenticated("malformed query") from None
        named |= {value for name, value in pairs if name == "signer"}
    if len(named) > 1:
        raise Unauthenticated("two signers that disagree")
    return named.pop() if named else None


def find_signer(named: str, snapshot: "Snapshot") -> SignerSnapshot:
    """Raises Unauthenticated."""
    tenant, _, name = named.partition("/")
    found = snapshot.tenants.get(tenant)
    signer = found.signers.get(name) if found is not None else None
    if signer is None:
        raise Unauthenticated("unknown signer")
    return signer


class Signature:
    """What a request's headers say of its signature, before the body is read."""

    def __init__(self, signer: SignerSnapshot, headers: list[Header]) -> None:
        """Raises Unauthenticated for what no body could make right."""
        self.signer = signer
        self.digest = _digest(_only(signer.header, headers), signer.encoding)
        self.timestamp = b""
        if signer.timestamp_header:
            self.timestamp = _only(signer.timestamp_header, headers)
            if not _TIMESTAMP.fullmatch(self.timestamp):
                raise Unauthenticated("a timestamp that is none")
            if abs(time.time() - int(self.timestamp)) > signer.tolerance:
                raise Unauthenticated("a timestamp outside of the tolerance")

    def check(self, body: bytes) -> None:
        """Raises Unauthenticated."""
        computed = hmac.new(self.signer.secret, digestmod=hashlib.sha256)
        if self.signer.timestamp_header:
            computed.update(self.timestamp + b".")
        computed.update(body)
        if not hmac.compare_digest(computed.digest(), self.digest):
            raise Unauthenticated("a signature that does not fit")


def _only(name: bytes, headers: list[Header]) -> bytes:
    values = {value.strip() for header, value in headers if header == name}
    if len(values) != 1:
        raise Unauthenticated(f"not one header {name.decode('latin-1')}")
    return values.pop()


def _digest(text: bytes, encoding: str) -> bytes:
    try:
        if encoding == "hex":
            digest = bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else b""
        else:
            digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise Unauthenticated("a signature that is none")
    return digest


@dataclass(slots=True)
class _Used:
    """The digests of one signer by timestamp; `floor` is the newest that was forgotten."""

    tolerance: float
    digests: dict[int, set[bytes]] = field(default_factory=dict)
    count: int = 0
    floor: int = -1

    def forget(self, timestamp: int) -> None:
        self.count -= len(self.digests.pop(timestamp))
        self.floor = max(self.floor, timestamp)


class Replays:
    """The signatures of one worker that were used, for as long as their timestamps are accepted.

    Bounded without a hole: what is forgotten is refused, so that where too many would have to be
    remembered the tolerance becomes shorter.
    """

    def __init__(self) -> None:
        self._used: dict[str, _Used] = {}
        self._looked_at = 0

    def take(self, signature: Signature) -> None:
        """Uses a signature that was verified. Raises Unauthenticated for a second time."""
        signer, timestamp = signature.signer, int(signature.timestamp)
        used = self._used.setdefault(signer.key_id, _Used(signer.tolerance))
        used.tolerance = signer.tolerance
        if timestamp <= used.floor:
            raise Unauthenticated("a timestamp older than what is remembered")
        digests = used.digests.setdefault(timestamp, set())
        if signature.digest in digests:
            raise Unauthenticated("a signature that was used before")
        digests.add(signature.digest)
        used.count += 1
        self._forget_the_old()
        while used.count > REMEMBERED_SIGNATURES and len(used.digests) > 1:
            used.forget(min(used.digests))

    def _forget_the_old(self) -> None:
        """Once a second, of every signer."""
        now = int(time.time())
        if now == self._looked_at:
            return
        self._looked_at = now
        for used in self._used.values():
            for timestamp in [one for one in used.digests if one < now - used.tolerance]:
                used.forget(timestamp)
