"""Keys: what is minted, what is refused, when a key ends, and what the commands print."""

import datetime
import hashlib
import json
from io import StringIO
from typing import Any

import jwt
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tenants.keys import (
    DEFAULT_LIFETIME,
    OPAQUE_PREFIX,
    Issued,
    KeyRefused,
    issue_key,
    revoke_key,
    rotate_key,
    rotate_signing_key,
)
from tenants.models import Key, Project, SigningKey
from tests.factories import TenantFactory, TierFactory

pytestmark = pytest.mark.django_db

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def _acme() -> None:
    TenantFactory(name="acme")


def _claims(token: str) -> dict[str, Any]:
    """What a token says, verified as any holder of the public keys can."""
    signer = SigningKey.objects.get(kid=jwt.get_unverified_header(token)["kid"])
    claims: dict[str, Any] = jwt.decode(
        token, signer.public_key, algorithms=["ES256"], issuer="gateway", audience="gateway"
    )
    return claims


def _run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


# ---- issuing


def test_a_jwt_says_what_its_row_says() -> None:
    TierFactory(name="pro")
    issued = issue_key(
        tenant="acme",
        name="frontend",
        project="search",
        aliases=["pro", "fast"],
        scopes=["usage:read"],
        user="ada",
        tier="pro",
        lifetime=30 * DAY,
    )
    key = Key.objects.get(key_id=issued.key_id)
    claims = _claims(issued.token)
    assert claims == {
        "iss": "gateway",
        "aud": "gateway",
        "tenant_id": "acme",
        "sub": "ada",
        "jti": issued.key_id,
        "scope": "alias:pro alias:fast usage:read",
        "tier": "pro",
        "project": "search",
        "iat": int(key.issued_at.timestamp()),
        "exp": int(key.expires_at.timestamp()),
    }
    assert key.scopes == ["alias:pro", "alias:fast", "usage:read"]
    assert key.expires_at - key.issued_at == 30 * DAY
    assert issued.expires_at == key.expires_at
    assert (key.kind, key.token_hash) == ("jwt", None)


def test_times_in_row_and_token_are_the_same_whole_seconds() -> None:
    lifetime = datetime.timedelta(seconds=90, milliseconds=700)
    issued = issue_key(tenant="acme", name="frontend", lifetime=lifetime)
    key = Key.objects.get(key_id=issued.key_id)
    claims = _claims(issued.token)
    assert key.issued_at.timestamp() == claims["iat"]
    assert key.expires_at.timestamp() == claims["exp"] == claims["iat"] + 90


def test_a_key_may_use_every_alias_for_ninety_days_unless_told_otherwise() -> None:
    issued = issue_key(tenant="acme", name="frontend")
    key = Key.objects.get(key_id=issued.key_id)
    assert key.scopes == ["alias:*"]
    assert key.expires_at - key.issued_at == DEFAULT_LIFETIME == 90 * DAY
    assert (key.user, key.tier, key.project) == ("", "", None)


def test_an_opaque_token_is_stored_as_its_hash_alone() -> None:
    issued = issue_key(tenant="acme", name="frontend", opaque=True)
    key = Key.objects.get(key_id=issued.key_id)
    assert issued.token.startswith(OPAQUE_PREFIX)
    assert key.token_hash == hashlib.sha256(issued.token.encode()).hexdigest()
    assert issued.token not in str(Key.objects.values().get())


def test_no_two_tokens_are_alike() -> None:
    tokens = [issue_key(tenant="acme", name="k", opaque=True).token for _ in range(5)]
    tokens += [issue_key(tenant="acme", name="k").token for _ in range(5)]
    assert len(set(tokens)) == 10
    assert Key.objects.count() == 10


def test_a_project_that_was_not_declared_is_made() -> None:
    issue_key(tenant="acme", name="frontend", project="search")
    issue_key(tenant="acme", name="backend", project="search")
    assert Project.objects.filter(tenant__name="acme", name="search").count() == 1


def test_a_project_belongs_to_its_tenant_alone() -> None:
    TenantFactory(name="globex")
    issue_key(tenant="acme", name="frontend", project="search")
    issued = issue_key(tenant="globex", name="frontend", project="search")
    project = Key.objects.get(key_id=issued.key_id).project
    assert project is not None
    assert project.tenant.name == "globex"


def test_a_scope_given_twice_is_held_once() -> None:
    issued = issue_key(
        tenant="acme", name="k", aliases=["pro", "pro"], scopes=["alias:pro", "usage:read"]
    )
    assert Key.objects.get(key_id=issued.key_id).scopes == ["alias:pro", "usage:read"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tenant": "nobody"}, "there is no tenant 'nobody'"),
        ({"tier": "gold"}, "there is no tier 'gold'"),
        ({"name": "Front End"}, "key 'Front End': A name is 1-64 of"),
        ({"name": ""}, "key '': A name is"),
        ({"name": "a" * 65}, "A name is"),
        ({"name": "frontend\n"}, "A name is"),
        ({"project": "../etc"}, "project '../etc': A name is"),
        ({"aliases": ["Pro"]}, "alias 'Pro': A name is"),
        ({"aliases": ["pro "]}, "alias 'pro ': A name is"),
        ({"aliases": ["pro usage:read"]}, "A name is"),
        ({"scopes": ["usage:read keys:write"]}, "a scope is one word"),
        ({"scopes": [""]}, "a scope is one word"),
        ({"lifetime": datetime.timedelta()}, "must live for some time"),
        ({"lifetime": -HOUR}, "must live for some time"),
        ({"lifetime": datetime.timedelta(milliseconds=999)}, "must live for some time"),
        ({"lifetime": datetime.timedelta.max}, "lives too long"),
        ({"user": "a" * 257}, "user: at most 256"),
        ({"user": "ada\n"}, "user: at most 256"),
        ({"user": "ada\x00"}, "user: at most 256"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(KeyRefused) as refused:
        issue_key(**{"tenant": "acme", "name": "frontend", **asked})
    assert says in str(refused.value)
    assert not Key.objects.exists()


def test_a_refused_key_leaves_no_project_behind() -> None:
    with pytest.raises(KeyRefused):
        issue_key(tenant="acme", name="Not A Name", project="search")
    assert not Project.objects.exists()


# ---- signing


def test_the_same_pair_signs_until_it_is_rotated() -> None:
    first, second = (issue_key(tenant="acme", name="k").token for _ in range(2))
    assert jwt.get_unverified_header(first)["kid"] == jwt.get_unverified_header(second)["kid"]
    assert SigningKey.objects.count() == 1


def test_a_rotated_pair_signs_no_more_but_goes_on_verifying() -> None:
    before = issue_key(tenant="acme", name="k").token
    fresh = rotate_signing_key()
    after = issue_key(tenant="acme", name="k").token
    assert jwt.get_unverified_header(after)["kid"] == fresh.kid
    assert jwt.get_unverified_header(before)["kid"] != fresh.kid
    assert _claims(before)["tenant_id"] == _claims(after)["tenant_id"] == "acme"
    assert SigningKey.objects.filter(retired_at=None).get().kid == fresh.kid


# ---- revoking


def test_a_revoked_key_ends_now() -> None:
    issued = issue_key(tenant="acme", name="k")
    before = timezone.now()
    revoke_key(issued.key_id)
    revoked_at = Key.objects.get(key_id=issued.key_id).revoked_at
    assert revoked_at is not None
    assert before <= revoked_at <= timezone.now()


@pytest.mark.parametrize(("first", "second"), [(HOUR, DAY), (DAY, HOUR)])
def test_revoking_twice_keeps_the_earlier_moment(
    first: datetime.timedelta, second: datetime.timedelta
) -> None:
    issued = issue_key(tenant="acme", name="k")
    now = timezone.now()
    revoke_key(issued.key_id, at=now + first)
    revoke_key(issued.key_id, at=now + second)
    assert Key.objects.get(key_id=issued.key_id).revoked_at == now + HOUR


def test_a_key_that_does_not_exist_is_neither_revoked_nor_rotated() -> None:
    with pytest.raises(KeyRefused, match="there is no key 'nothing'"):
        revoke_key("nothing")
    with pytest.raises(KeyRefused, match="there is no key 'nothing'"):
        rotate_key("nothing", grace=HOUR)


# ---- rotating


@pytest.mark.parametrize("opaque", [False, True])
def test_a_rotated_key_may_do_what_the_old_one_may_for_as_long(opaque: bool) -> None:
    TierFactory(name="pro")
    old = issue_key(
        tenant="acme",
        name="frontend",
        project="search",
        aliases=["pro"],
        scopes=["usage:read"],
        user="ada",
        tier="pro",
        lifetime=7 * DAY,
        opaque=opaque,
    )
    new = rotate_key(old.key_id, grace=HOUR)
    before, after = Key.objects.get(key_id=old.key_id), Key.objects.get(key_id=new.key_id)
    same = ("tenant", "name", "project", "kind", "scopes", "user", "tier")
    assert [getattr(after, field) for field in same] == [getattr(before, field) for field in same]
    assert after.expires_at - after.issued_at == 7 * DAY
    assert after.replaces == before
    assert after.revoked_at is None
    assert new.token != old.token
    assert new.key_id != old.key_id
    assert before.revoked_at is not None
    assert abs(before.revoked_at - timezone.now() - HOUR) < datetime.timedelta(seconds=30)


def test_a_key_that_is_already_ending_ends_no_later_for_being_rotated() -> None:
    issued = issue_key(tenant="acme", name="k")
    moment = timezone.now() + HOUR
    revoke_key(issued.key_id, at=moment)
    rotate_key(issued.key_id, grace=DAY)
    assert Key.objects.get(key_id=issued.key_id).revoked_at == moment


def test_a_revoked_key_is_not_rotated() -> None:
    issued = issue_key(tenant="acme", name="k")
    revoke_key(issued.key_id, at=timezone.now() - HOUR)
    with pytest.raises(KeyRefused, match="is revoked; issue a new one"):
        rotate_key(issued.key_id, grace=HOUR)
    assert Key.objects.count() == 1


# ---- commands


def test_issue_key_prints_the_token_last() -> None:
    lines = _run("issue_key", "acme", "frontend", "--ttl", "30d").splitlines()
    claims = _claims(lines[-1])
    key = Key.objects.get()
    assert lines[0] == f"key_id: {key.key_id}"
    assert lines[1] == f"expires_at: {key.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    assert claims["jti"] == key.key_id
    assert claims["exp"] - claims["iat"] == 30 * 86_400


def test_issue_key_hands_over_what_it_was_told() -> None:
    TierFactory(name="pro")
    told = "--project search --alias pro --alias fast --scope usage:read --user ada --tier pro"
    _run("issue_key", "acme", "frontend", *told.split(), "--opaque")
    key = Key.objects.get()
    assert key.project is not None
    assert key.project.name == "search"
    assert key.scopes == ["alias:pro", "alias:fast", "usage:read"]
    assert (key.user, key.tier, key.kind) == ("ada", "pro", "opaque")


@pytest.mark.parametrize("flags", [[], ["--opaque"]])
def test_issue_key_prints_json(flags: list[str]) -> None:
    told = json.loads(_run("issue_key", "acme", "frontend", "--json", *flags))
    key = Key.objects.get()
    assert told.keys() == {"key_id", "expires_at", "token"}
    assert told["key_id"] == key.key_id
    assert datetime.datetime.fromisoformat(told["expires_at"]) == key.expires_at
    assert told["token"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_rotate_key_prints_the_new_token_and_id(flags: list[str]) -> None:
    old = issue_key(tenant="acme", name="frontend")
    printed = _run("rotate_key", old.key_id, "--grace", "10m", *flags)
    if flags:
        token, key_id = json.loads(printed)["token"], json.loads(printed)["key_id"]
    else:
        token, key_id = printed.splitlines()[-1], printed.splitlines()[0].split(": ")[1]
    assert _claims(token)["jti"] == key_id
    assert Key.objects.get(key_id=key_id).replaces_id == old.key_id


def test_rotate_key_gives_a_day_of_grace() -> None:
    old = issue_key(tenant="acme", name="frontend")
    _run("rotate_key", old.key_id)
    revoked_at = Key.objects.get(key_id=old.key_id).revoked_at
    assert revoked_at is not None
    assert abs(revoked_at - timezone.now() - DAY) < datetime.timedelta(seconds=30)


def test_revoke_key_says_which_key_it_ended() -> None:
    issued = issue_key(tenant="acme", name="frontend")
    assert _run("revoke_key", issued.key_id) == f"revoked acme/frontend ({issued.key_id})\n"
    assert Key.objects.get().revoked_at is not None


def test_rotate_signing_key_says_which_pair_signs() -> None:
    printed = _run("rotate_signing_key")
    assert printed == f"signing with {SigningKey.objects.get(retired_at=None).kid}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["issue_key", "nobody", "frontend"], "there is no tenant 'nobody'"),
        (["issue_key", "acme", "Front End"], "A name is 1-64 of"),
        (["issue_key", "acme", "frontend", "--tier", "gold"], "there is no tier 'gold'"),
        (["issue_key", "acme", "frontend", "--ttl", "soon"], "argument --ttl: a duration is"),
        (["issue_key", "acme", "frontend", "--ttl", "0s"], "must live for some time"),
        (["issue_key", "acme", "frontend", "--ttl", "999999999d"], "lives too long"),
        (["issue_key", "acme"], "the following arguments are required: name"),
        (["rotate_key", "nothing"], "there is no key 'nothing'"),
        (["rotate_key", "nothing", "--grace", "-1h"], "--grace"),
        (["revoke_key", "nothing"], "there is no key 'nothing'"),
    ],
)
def test_a_command_says_why_it_refuses(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError) as refused:
        _run(*arguments)
    assert says in str(refused.value)
    assert not Key.objects.exists()


def test_a_grace_beyond_the_calendar_is_refused() -> None:
    issued = issue_key(tenant="acme", name="frontend")
    with pytest.raises(CommandError, match="grace is too long"):
        _run("rotate_key", issued.key_id, "--grace", "999999999d")
    assert Key.objects.count() == 1


def test_a_token_does_not_show_where_its_key_is_logged() -> None:
    issued = Issued(token="gwk_secret", key_id="1", expires_at=timezone.now())
    assert "gwk_secret" not in repr(issued)
