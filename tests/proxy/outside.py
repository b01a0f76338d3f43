"""An installation whose tenants bring their own credentials: what the tests of them share."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fake_upstream import FakeUpstream
from tests.issuing import Claims, Pair, claims, jwks, new_pair
from tests.proxy.configuration import FIRST_COST, Document, alias, books, provider

ACME = "https://login.acme.example/"
INLINE = "https://inline.acme.example/realms/apps"
PEM = "acme-batch"
FLOODED = "https://flooded.acme.example/"
ROTATING = "https://rotating.acme.example/"
AWAY = "https://away.acme.example/"
PRIVATE = "https://private.acme.example/"
SHARED = "https://idp.shared.example/"
SLEEPING = "https://login.sleeping.example/"

SECRET, STAMPED_SECRET, GLOBEX_SECRET = "shared-secret", "stamped-secret", "globex-secret"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Who signs for whom. `stranger` is nobody's."""

    acme: Pair = field(default_factory=lambda: new_pair("acme-1", "RS256"))
    inline: Pair = field(default_factory=lambda: new_pair("inline-1", "ES384"))
    other: Pair = field(default_factory=lambda: new_pair("inline-2", "EdDSA"))
    pem: Pair = field(default_factory=lambda: new_pair("pem", "PS256"))
    flooded: Pair = field(default_factory=lambda: new_pair("flooded-1"))
    before: Pair = field(default_factory=lambda: new_pair("before"))
    after: Pair = field(default_factory=lambda: new_pair("after"))
    globex: Pair = field(default_factory=lambda: new_pair("globex-1"))
    twin: Pair = field(default_factory=lambda: new_pair("twin-1"))
    stranger: Pair = field(default_factory=lambda: new_pair("acme-1", "RS256"))


def _acme(pairs: Pairs, idp: FakeUpstream) -> Document:
    def at(name: str) -> str:
        return f"http://127.0.0.1:{idp.port}/{name}/jwks.json"

    return {
        "price_book": "standard",
        "tier": "free",
        "keys": [{"name": "inline.acme.example-realms-apps", "aliases": ["pro", "told"]}],
        "issuers": [
            {
                "issuer": ACME,
                "audience": "gateway",
                "jwks_url": at("acme"),
                "claims": {"user": "sub", "tier": "app.plan", "project": "https://acme/cost"},
                "allowed_tiers": ["gold"],
                "aliases": ["pro", "told", "golden"],
            },
            {"issuer": INLINE, "audience": "apps", "jwks": jwks(pairs.inline, pairs.other)},
            {"issuer": PEM, "audience": "batch", "public_key": pairs.pem.pem},
            {"issuer": FLOODED, "audience": "gateway", "jwks_url": at("flooded")},
            {"issuer": ROTATING, "audience": "gateway", "jwks_url": at("rotating")},
            {"issuer": AWAY, "audience": "gateway", "jwks_url": at("away")},
            {
                "issuer": PRIVATE,
                "audience": "gateway",
                "jwks_url": f"http://127.0.0.2:{idp.port}/private/jwks.json",
            },
            {"issuer": SHARED, "audience": "acme-app", "jwks_url": at("acme")},
        ],
        "hmac": [
            {
                "name": "shopify",
                "header": "X-Shopify-Hmac-Sha256",
                "secret": SECRET,
                "aliases": ["pro", "told"],
            },
            {
                "name": "stamped",
                "header": "X-Signature",
                "encoding": "hex",
                "secret": STAMPED_SECRET,
                "timestamp_header": "X-Timestamp",
                "tolerance": "2m",
            },
        ],
    }


def _globex(pairs: Pairs) -> Document:
    return {
        "price_book": "standard",
        "aliases": ["pro", "told"],
        "providers": {},
        "issuers": [
            {"issuer": ACME, "audience": "globex", "jwks": jwks(pairs.globex)},
            {"issuer": INLINE, "audience": "apps", "jwks": jwks(pairs.twin)},
            {"issuer": SHARED, "audience": "globex-app", "public_key": pairs.acme.pem},
        ],
        "hmac": [{"name": "shopify", "header": "X-Shopify-Hmac-Sha256", "secret": GLOBEX_SECRET}],
        "models": {"own-model": {"provider": "first", "upstream": "gpt-own"}},
        "own_aliases": {"own": alias("own-model")},
    }


def configuration(pairs: Pairs, idp: FakeUpstream, upstream: FakeUpstream) -> Document:
    told = {
        "x-tenant-id": "{tenant}",
        "x-user-id": "{user}",
        "x-who": "{project}/{key}/{tier}",
    }
    names = ("first", "told")
    return {
        "version": 1,
        "gateway": {"max_request_bytes": "100KB"},
        "providers": {
            "first": provider(upstream.url("first")),
            "told": provider(upstream.url("told"), inject_headers=told),
        },
        "models": {
            f"{name}-model": {"provider": name, "upstream": f"gpt-{name}"} for name in names
        },
        "price_books": books(
            **{f"{name}-model": FIRST_COST for name in names}, **{"own-model": FIRST_COST}
        ),
        "aliases": {
            "pro": alias("first-model"),
            "told": alias("told-model"),
            "safe": alias("first-model"),
            "golden": {
                "routes": [{"when": {"tier": "gold"}, "targets": [{"model": "first-model"}]}]
            },
        },
        "tiers": {"gold": {}, "free": {}, "platinum": {}},
        "tenants": {
            "acme": _acme(pairs, idp),
            "globex": _globex(pairs),
            "sleeping": {
                "price_book": "standard",
                "status": "suspended",
                "issuers": [{"issuer": SLEEPING, "audience": "gateway", "jwks": jwks(pairs.acme)}],
                "hmac": [{"name": "shop", "header": "X-Hmac", "secret": SECRET}],
            },
        },
    }


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def acme_claims(**changed: Any) -> Claims:
    return claims(ACME, **changed)


def body(**fields: Any) -> bytes:
    """What is signed: spaced as its author spaces it."""
    messages = [{"role": "user", "content": "Say hello, please."}]
    return json.dumps({"messages": messages, **fields}, indent=1).encode()


def hmac_of(secret: str, signed: bytes) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def shopify(signed: bytes, secret: str = SECRET, signer: str = "acme/shopify") -> dict[str, str]:
    """The headers of a request whose body alone is signed."""
    digest = base64.b64encode(hmac_of(secret, signed)).decode()
    return {"x-gateway-signer": signer, "x-shopify-hmac-sha256": digest}


def stamped(
    signed: bytes, *, age: float = 0.0, secret: str = STAMPED_SECRET, **changed: str | None
) -> Mapping[str, str]:
    """The headers of a request whose timestamp is signed with its body. Underscores in `changed`
    are dashes; None leaves a header out."""
    timestamp = str(int(time.time() - age))
    headers: dict[str, str | None] = {
        "x-gateway-signer": "acme/stamped",
        "x-timestamp": timestamp,
        "x-signature": hmac_of(secret, timestamp.encode() + b"." + signed).hex(),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    return {name: value for name, value in headers.items() if value is not None}
