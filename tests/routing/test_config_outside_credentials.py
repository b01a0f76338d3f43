"""`issuers:` and `hmac:` of a tenant: what a file may say, into the database and back."""

from typing import Any

import pytest
import yaml

from routing import config
from tenants.models import HmacSigner, Issuer
from tests.issuing import jwks, new_pair
from tests.routing.conftest import Apply, Refuse

PAIR = new_pair("one")
ISSUER = {"issuer": "https://login.example/", "audience": "gateway"}
SIGNER = {"name": "app", "header": "X-Signature", "secret": "shared"}


def _file(**acme: Any) -> str:
    document = {
        "version": 1,
        "providers": {"demo": {"dialect": "demo"}},
        "models": {"demo-chat": {"provider": "demo", "upstream": "demo-chat"}},
        "aliases": {"pro": {"routes": [{"targets": [{"model": "demo-chat"}]}]}},
        "tiers": {"gold": {}},
        "tenants": {"acme": acme},
    }
    return yaml.safe_dump(document)


WHOLE = _file(
    issuers=[
        {
            **ISSUER,
            "jwks_url": "https://login.example/jwks.json",
            "claims": {"user": "email", "tier": "app.plan", "project": "cost"},
            "allowed_tiers": ["gold"],
            "aliases": ["pro"],
        },
        {**ISSUER, "issuer": "inline", "jwks": jwks(PAIR)},
        {**ISSUER, "issuer": "pem", "public_key": PAIR.pem},
    ],
    hmac=[
        {**SIGNER, "encoding": "hex", "timestamp_header": "X-Time", "tolerance": "90s"},
        {**SIGNER, "name": "plain", "aliases": ["pro"]},
    ],
)


def test_they_come_into_the_database_and_back(apply: Apply) -> None:
    assert apply(WHOLE).warnings == []
    assert apply(WHOLE).changes == []
    exported = config.export()
    assert apply(exported, prune=True).changes == []
    assert "timestamp_header: X-Time\n" in exported
    assert "tolerance: 1m30s" not in exported
    assert "tolerance: 90s\n" in exported
    assert "shared" not in exported
    signer = HmacSigner.objects.get(name="app")
    assert (signer.timestamp_header, signer.tolerance) == ("X-Time", "90s")
    assert Issuer.objects.get(issuer="inline").jwks == jwks(PAIR)


def test_what_is_left_out_goes_to_its_default(apply: Apply) -> None:
    apply(WHOLE)
    assert apply(_file(hmac=[SIGNER])).changes == [
        "~ tenants.acme.hmac.app.encoding: hex -> base64",
        "- tenants.acme.hmac.app.timestamp_header: X-Time",
        "~ tenants.acme.hmac.app.tolerance: 90s -> 5m",
    ]
    signer = HmacSigner.objects.get(name="app")
    assert (signer.timestamp_header, signer.tolerance) == ("", "5m")


def _two_tenants(**changes: Any) -> str:
    ours = {**ISSUER, "public_key": PAIR.pem}
    theirs = {**ours, **changes}
    tenants = {"acme": {"issuers": [ours]}, "globex": {"issuers": [theirs]}}
    return yaml.safe_dump({"version": 1, "tenants": tenants})


def test_two_tenants_may_share_an_issuer_that_something_tells_apart(apply: Apply) -> None:
    apply(_two_tenants(audience="globex"))
    apply(_two_tenants(public_key=new_pair("two").pem))


def test_an_issuer_that_nothing_tells_apart_is_refused(refuse: Refuse) -> None:
    assert refuse(_two_tenants()) == [
        "tenants.globex.issuers[0].issuer: the tenant 'acme' has it too, with the same audience "
        "and keys: nothing would tell their tokens apart"
    ]


def test_they_are_in_force(apply: Apply) -> None:
    apply(WHOLE)
    assert config.not_in_force() == []


@pytest.mark.parametrize(
    ("acme", "path", "said"),
    [
        ({"issuers": [{**ISSUER, "public_key": "k"}]}, "issuers[0].public_key", "PEM"),
        (
            {"issuers": [{**ISSUER, "public_key": PAIR.private_pem}]},
            "issuers[0].public_key",
            "no public key",
        ),
        ({"issuers": [{**ISSUER, "jwks": {}}]}, "issuers[0].jwks", "list of 'keys'"),
        (
            {"issuers": [{**ISSUER, "jwks": {"keys": [{**PAIR.jwk, "d": "AA"}]}}]},
            "issuers[0].jwks",
            "private",
        ),
        (
            {"issuers": [{**ISSUER, "jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}]},
            "issuers[0].jwks",
            "shared",
        ),
        (
            {"issuers": [{**ISSUER, "jwks": {"keys": [{**PAIR.jwk, "use": "enc"}]}}]},
            "issuers[0].jwks",
            "no key in it",
        ),
        ({"hmac": [{**SIGNER, "header": "X-API-Key"}]}, "hmac[0].header", "another meaning"),
        (
            {"hmac": [{**SIGNER, "timestamp_header": "x-signature"}]},
            "hmac[0].timestamp_header",
            "another meaning",
        ),
        ({"hmac": [{**SIGNER, "tolerance": "1m"}]}, "hmac[0].tolerance", "'timestamp_header'"),
        (
            {"hmac": [{**SIGNER, "timestamp_header": "x-t", "tolerance": "0s"}]},
            "hmac[0].tolerance",
            "longer than 0s",
        ),
    ],
)
def test_a_mistake_is_named(refuse: Refuse, acme: Any, path: str, said: str) -> None:
    [problem] = refuse(_file(**acme))
    assert problem.startswith(f"tenants.acme.{path}: ")
    assert said in problem
