"""What the hot path is told of credentials that tenants make themselves."""

from typing import Any

import pytest
from django.db import connection

from tenants.key_sets import KeySource
from tenants.models import HmacSigner
from tenants.outside_credentials import key_name
from tenants.snapshots import TenantSnapshot, read_tenants
from tests.factories import HmacSignerFactory, IssuerFactory, TenantFactory

pytestmark = pytest.mark.django_db


def _acme() -> TenantSnapshot:
    return read_tenants()["acme"]


@pytest.fixture(autouse=True)
def tenants() -> dict[str, Any]:
    return {name: TenantFactory(name=name) for name in ("acme", "globex")}


def test_an_issuer_is_told_whole(tenants: dict[str, Any]) -> None:
    IssuerFactory(
        tenant=tenants["acme"],
        claims={"user": "email", "tier": "app.plan"},
        allowed_tiers=["gold"],
        aliases=["pro", "mini"],
    )
    [issuer] = _acme().issuers
    assert (issuer.tenant, issuer.audience) == ("acme", "gateway")
    assert issuer.issuer == "https://login.acme.example/"
    assert issuer.source == KeySource("jwks_url", "https://login.acme.example/jwks.json")
    assert (issuer.user_claim, issuer.tier_claim, issuer.project_claim) == ("email", "app.plan", "")
    assert issuer.allowed_tiers == {"gold"}
    assert issuer.scopes == {"alias:pro", "alias:mini"}
    assert read_tenants()["globex"].issuers == ()


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ({"jwks": {"keys": [], "a": 1}}, ("jwks", '{"a":1,"keys":[]}')),
        ({"public_key": "PEM"}, ("public_key", "PEM")),
    ],
)
def test_keys_may_stand_in_the_configuration(
    tenants: dict[str, Any], keys: dict[str, Any], source: tuple[str, str]
) -> None:
    IssuerFactory(tenant=tenants["acme"], jwks_url="", **keys)
    assert _acme().issuers[0].source == source


def test_two_readings_of_one_issuer_are_equal(tenants: dict[str, Any]) -> None:
    """By that it is known that nothing has changed."""
    IssuerFactory(tenant=tenants["acme"])
    assert _acme().issuers == _acme().issuers


def test_ids_are_stable_and_fit_a_record(tenants: dict[str, Any]) -> None:
    for tenant in tenants.values():
        IssuerFactory(tenant=tenant)
        HmacSignerFactory(tenant=tenant, name="s" * 64)
    ids = {
        one.key_id
        for tenant in read_tenants().values()
        for one in (*tenant.issuers, *tenant.signers.values())
    }
    assert len(ids) == 4
    assert all(len(one) <= 40 for one in ids)
    assert _acme().issuers[0].key_id == "issuer:f6d771d1d932ad212a7c40d1"


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        ("https://login.acme.example/", "login.acme.example"),
        ("https://Login.ACME.example:8443/Realms/My_Apps", "login.acme.example-realms-my_apps"),
        ("acme-batch", "acme-batch"),
        ("urn:acme:idp", "urn-acme-idp"),
        ("https://" + "a" * 100 + "/", "a" * 64),
        ("https://" + "a" * 63 + ".example/", "a" * 63),
        ("https://[::1", "https-1"),
        ("***", "issuer"),
    ],
)
def test_an_issuers_callers_go_by_its_host(issuer: str, name: str) -> None:
    assert key_name(issuer) == name


def test_a_signer_is_told_whole(tenants: dict[str, Any]) -> None:
    HmacSignerFactory(
        tenant=tenants["acme"],
        encoding="hex",
        timestamp_header="X-Timestamp",
        tolerance="90s",
        aliases=["*"],
    )
    signer = _acme().signers["shopify"]
    assert (signer.tenant, signer.name, signer.encoding) == ("acme", "shopify", "hex")
    assert (signer.header, signer.timestamp_header) == (b"x-shopify-hmac-sha256", b"x-timestamp")
    assert (signer.tolerance, signer.secret) == (90.0, b"shared-hmac-secret")
    assert signer.scopes == {"alias:*"}
    assert "shared-hmac-secret" not in repr(_acme())
    assert read_tenants()["globex"].signers == {}


def test_a_secret_of_the_workers_environment_is_found(
    tenants: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    HmacSignerFactory(tenant=tenants["acme"], secret="", secret_reference="env:LATER")
    monkeypatch.delenv("LATER", raising=False)
    assert _acme().signers == {}
    monkeypatch.setenv("LATER", "is here")
    assert _acme().signers["shopify"].secret == b"is here"


def test_a_secret_that_cannot_be_read_takes_nobody_else_out(tenants: dict[str, Any]) -> None:
    HmacSignerFactory(tenant=tenants["globex"], name="other")
    HmacSignerFactory(tenant=tenants["acme"])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_hmacsigner SET secret = 'not ours' WHERE name = 'shopify'")
    assert HmacSigner.objects.defer("secret").count() == 2
    assert _acme().signers == {}
    assert read_tenants()["globex"].signers.keys() == {"other"}
