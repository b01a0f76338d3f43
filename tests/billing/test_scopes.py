"""Whose use a counter counts: one key for each scope, and words for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.counters.asks import GATEWAY_TAG, tag_of, tenant_tag
from billing.scopes import Scope, Where, read_scope

slugs = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
TRICKY = [
    "",
    "a",
    "a&user=b",
    "a=b",
    "=",
    "&",
    "|",
    "%3D",
    "%",
    "}",
    "{gw}",
    "label:x",
    "~b",
    "&~b",
    "ä",
]
texts = st.sampled_from(TRICKY) | st.text(max_size=8)
columns = st.sampled_from(["project", "key", "user", "alias", "tenant", "provider", "model"])
labels = texts.map(lambda name: f"label:{name}")
wheres = st.lists(st.tuples(columns | labels, texts), max_size=3).map(tuple)
scopes = st.builds(
    Scope, st.just("") | slugs, wheres, st.just(False), st.sampled_from(["", "b", "ab"])
)


@given(scopes, scopes)
def test_keys_of_different_scopes_never_collide(one: Scope, other: Scope) -> None:
    assert (one.key == other.key) == (one == other)


@given(slugs, wheres, texts, texts)
def test_no_name_of_a_user_looks_like_more_than_a_user(
    owner: str, where: Where, one: str, other: str
) -> None:
    scope = Scope(owner, where, per_user=True)
    same = scope.of_user(owner, one).key == scope.of_user(owner, other).key
    assert same == (one == other)
    assert scope.of_user(owner, one).key != Scope(owner, where).key


@given(scopes, scopes, st.sampled_from(["requests", "tokens"]))
def test_what_follows_a_key_belongs_to_no_scope(one: Scope, other: Scope, unit: str) -> None:
    """Counters append `|unit|…`, and are told apart by it again."""
    assert f"{one.key}|{unit}".split("|")[2:] == [unit]
    assert f"{one.key}|{unit}" != other.key


@given(slugs, slugs, wheres)
def test_users_of_two_tenants_are_two_also_at_the_gateway(
    tenant: str, other: str, where: Where
) -> None:
    gateway = Scope("", where, per_user=True)
    same = gateway.of_user(tenant, "bob") == gateway.of_user(other, "bob")
    assert same == (tenant == other)


@given(slugs, texts, texts)
def test_a_tiers_users_are_not_the_tenants_whatever_they_are_called(
    owner: str, one: str, other: str
) -> None:
    each, gold = Scope(owner, per_user=True), Scope(owner, per_user=True, tier="gold")
    assert gold.of_user(owner, one).key != each.of_user(owner, other).key
    assert gold.of_user(owner, "bob").key != each.of_user(owner, "bob~gold").key
    silver = gold._replace(tier="silver")
    assert gold.of_user(owner, one).key != silver.of_user(owner, one).key


@given(scopes, texts)
def test_all_scopes_of_an_owner_live_under_its_tag(scope: Scope, user: str) -> None:
    tag = tenant_tag(scope.owner) if scope.owner else GATEWAY_TAG
    assert tag_of(scope.key) == tag
    assert tag_of(scope.of_user("acme", user).key) == tag


@pytest.mark.parametrize(
    ("scope", "rest"),
    [
        (Scope("acme"), "acme|"),
        (Scope("acme").narrowed("project", "search"), "acme|project=search"),
        (Scope("acme").of_user("acme", "bob & co"), "acme|user=bob%20%26%20co"),
        (Scope("acme").narrowed("label:team", "search"), "acme|label:team=search"),
        (Scope("", per_user=True).of_user("acme", "bob"), "|tenant=acme&user=bob"),
    ],
)
def test_a_key_can_be_read_by_people(scope: Scope, rest: str) -> None:
    assert scope.key == tag_of(scope.key) + rest


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        (Scope(""), "the gateway"),
        (Scope("acme"), "the tenant acme"),
        (Scope("acme").narrowed("project", "search"), "the project search of the tenant acme"),
        (Scope("acme").of_user("acme", "bob"), "the user bob of the tenant acme"),
        (Scope("acme").of_user("acme", ""), "requests without a user of the tenant acme"),
        (Scope("").of_user("acme", "bob"), "the user bob of the tenant acme of the gateway"),
        (
            Scope("acme").narrowed("label:team", "search").of_user("acme", "bob"),
            "the user bob of the label team=search of the tenant acme",
        ),
        (
            Scope("acme").narrowed("key", "web").narrowed("alias", "pro"),
            "the alias pro of the key web of the tenant acme",
        ),
    ],
)
def test_an_error_names_the_narrowest_first(scope: Scope, said: str) -> None:
    assert scope.said == said


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        (None, Scope("acme")),
        ("", Scope("acme")),
        ("user", Scope("acme", per_user=True)),
        ("alias:pro", Scope("acme", (("alias", "pro"),))),
        ("label:team=search", Scope("acme", (("label:team", "search"),))),
        ("label:team=a=b:c", Scope("acme", (("label:team", "a=b:c"),))),
    ],
)
def test_a_budgets_scope_is_read(text: str | None, scope: Scope) -> None:
    assert read_scope("acme", text) == scope
