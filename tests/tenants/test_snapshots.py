"""What the hot path is told of tenants and keys."""

import dataclasses
import datetime
from typing import Any

import jwt
import pytest
from django.utils import timezone

from tenants.keys import hash_token, issue_key, revoke_key, rotate_signing_key
from tenants.models import SigningKey, Tenant
from tenants.snapshots import read_keys, read_tenants
from tests.factories import (
    HmacSignerFactory,
    IssuerFactory,
    KeyFactory,
    KeyPolicyFactory,
    PriceBookFactory,
    ProjectFactory,
    TenantFactory,
    TierFactory,
)

pytestmark = pytest.mark.django_db


def test_a_tenant_is_told_whole() -> None:
    TenantFactory(
        name="acme",
        tier=TierFactory(
            name="pro", limits={"concurrency": 5, "requests_per_minute": 60}, weight=4
        ),
        limits={"concurrency": 2},
        status="suspended",
        aliases=["fast", "pro"],
        price_book=PriceBookFactory(name="standard"),
        timezone="Europe/Berlin",
        cors_origins=["https://app.acme.example"],
        on_disconnect="input",
        unpriced="quarantine",
    )
    tenant = read_tenants()["acme"]
    assert dataclasses.asdict(dataclasses.replace(tenant, policies={}, projects={})) == {
        "name": "acme",
        "tier": "pro",
        "suspended": True,
        "aliases": frozenset({"fast", "pro"}),
        "price_book": "standard",
        "timezone": "Europe/Berlin",
        "cors_origins": frozenset({"https://app.acme.example"}),
        "on_disconnect": "input",
        "quarantines_unpriced": True,
        "policies": {},
        "projects": {},
        "terms": {"limits": {"concurrency": 2, "requests_per_minute": 60}, "budgets": ()},
        "weight": 4,
        "hedge_loser": 1,
        "issuers": (),
        "signers": {},
    }


def test_a_tenant_that_says_nothing_gets_the_defaults() -> None:
    Tenant.objects.create(name="acme")
    tenant = read_tenants()["acme"]
    assert tenant.price_book == "cost"
    assert tenant.tier == ""
    assert not tenant.suspended
    assert not tenant.quarantines_unpriced
    assert tenant.on_disconnect == "delivered"
    assert tenant.aliases == {"*"}
    assert tenant.policies == {}


def test_a_policy_is_its_own_tenants_alone() -> None:
    acme, globex = TenantFactory(name="acme"), TenantFactory(name="globex")
    project = ProjectFactory(tenant=acme, name="search")
    KeyPolicyFactory(tenant=acme, name="frontend", project=project, aliases=["pro"])
    KeyPolicyFactory(tenant=globex, name="frontend", aliases=["*"])
    tenants = read_tenants()
    ours, theirs = tenants["acme"].policies, tenants["globex"].policies
    assert (ours["frontend"].project, ours["frontend"].aliases) == ("search", {"pro"})
    assert (theirs["frontend"].project, theirs["frontend"].aliases) == ("", {"*"})


def test_a_key_is_told_as_it_was_issued() -> None:
    TenantFactory(name="acme")
    issued = issue_key(
        tenant="acme", name="frontend", project="search", scopes=["usage:read"], user="ada"
    )
    key = read_keys().by_id[issued.key_id]
    assert dataclasses.asdict(key) == {
        "key_id": issued.key_id,
        "tenant": "acme",
        "name": "frontend",
        "project": "search",
        "scopes": {"alias:*", "usage:read"},
        "user": "ada",
        "tier": "",
        "ends_at": issued.expires_at.timestamp(),
    }


def test_only_opaque_keys_are_found_by_their_hash() -> None:
    TenantFactory(name="acme")
    opaque = issue_key(tenant="acme", name="k", opaque=True)
    signed = issue_key(tenant="acme", name="k")
    keys = read_keys()
    assert keys.by_id.keys() == {opaque.key_id, signed.key_id}
    assert keys.by_hash == {hash_token(opaque.token): keys.by_id[opaque.key_id]}


def test_a_revoked_key_stays_known_and_has_ended() -> None:
    TenantFactory(name="acme")
    issued = issue_key(tenant="acme", name="k")
    revoked = revoke_key(issued.key_id).revoked_at
    assert revoked is not None
    assert read_keys().by_id[issued.key_id].ends_at == revoked.timestamp()


@pytest.mark.parametrize(("revoked_in_hours", "ends_in_hours"), [(1, 1), (2, 2), (3, 2)])
def test_a_key_ends_when_it_expires_or_is_revoked_whichever_is_first(
    revoked_in_hours: int, ends_in_hours: int
) -> None:
    now = timezone.now()
    hour = datetime.timedelta(hours=1)
    key = KeyFactory(
        issued_at=now, expires_at=now + 2 * hour, revoked_at=now + revoked_in_hours * hour
    )
    ends_at = read_keys().by_id[key.key_id].ends_at
    assert ends_at == (now + ends_in_hours * hour).timestamp()


def test_a_key_that_expired_a_while_ago_is_left_out() -> None:
    now = timezone.now()
    day, minute = datetime.timedelta(days=1), datetime.timedelta(minutes=1)
    gone = KeyFactory(issued_at=now - day, expires_at=now - 10 * minute)
    lately = KeyFactory(issued_at=now - day, expires_at=now - minute)
    known = read_keys().by_id
    assert gone.key_id not in known
    assert known[lately.key_id].ends_at < now.timestamp()


def test_every_pair_verifies_what_it_signed() -> None:
    TenantFactory(name="acme")
    tokens = []
    for _ in range(2):
        tokens.append(issue_key(tenant="acme", name="k").token)
        rotate_signing_key()
    signers = read_keys().signers
    assert len(signers) == 3
    for token in tokens:
        algorithm, public = signers[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, public, algorithms=[algorithm], audience="gateway")
        assert claims["tenant_id"] == "acme"


def test_private_keys_are_not_even_read(django_assert_num_queries: Any) -> None:
    rotate_signing_key()
    SigningKey.objects.update(private_key="")
    with django_assert_num_queries(2) as queries:
        assert len(read_keys().signers) == 1
    assert "private_key" not in " ".join(query["sql"] for query in queries.captured_queries)


def test_the_number_of_queries_does_not_grow_with_what_is_read(
    django_assert_num_queries: Any,
) -> None:
    for name in ("acme", "globex", "initech"):
        tenant = TenantFactory(name=name, tier=TierFactory(), price_book=PriceBookFactory())
        project = ProjectFactory(tenant=tenant)
        KeyPolicyFactory.create_batch(3, tenant=tenant, project=project)
        KeyFactory.create_batch(3, tenant=tenant, project=project)
        IssuerFactory(tenant=tenant)
        HmacSignerFactory(tenant=tenant)
    with django_assert_num_queries(5):
        assert len(read_tenants()) == 3
    with django_assert_num_queries(2):
        assert len(read_keys().by_id) == 9


def test_what_was_read_cannot_be_changed() -> None:
    TenantFactory(name="acme")
    KeyPolicyFactory(name="frontend")
    KeyFactory()
    tenants, keys = read_tenants(), read_keys()
    for mapping in (tenants, tenants["acme"].policies, keys.by_id, keys.by_hash, keys.signers):
        with pytest.raises(TypeError):
            mapping["new"] = None  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        tenants["acme"].suspended = False  # type: ignore[misc]
