"""Which limits and budgets a request meets, and whose they are."""

from typing import Any

import pytest

from billing.plans import (
    NO_TERMS,
    Asking,
    Owned,
    Plan,
    Terms,
    caller_plan,
    owners,
    target_limits,
)
from billing.scopes import Scope

ASKING = Asking(tenant="acme", project="search", key="web", tier="gold")
ACME = Scope("acme")


def terms(limits: Any = None, *budgets: Any) -> Terms:
    return Terms(limits or {}, budgets)


def money(amount: str = "10", **fields: Any) -> dict[str, Any]:
    return {"amount": amount, "period": "month", **fields}


def owned(**given: Any) -> tuple[Owned, ...]:
    nobody: dict[str, Any] = {"gateway": NO_TERMS, "tenant": NO_TERMS}
    others: dict[str, Any] = {"project": None, "key": None, "tier": None}
    return owners(ASKING, **{**nobody, **others, **given})


def plan(**given: Any) -> Plan:
    return caller_plan(owned(**given), alias="pro", timezone="Europe/Berlin")


# ---- a tier's defaults


def test_a_tenants_own_limit_wins_over_its_tiers_field_by_field() -> None:
    tier = terms({"requests_per_minute": 60, "tokens_per_day": 1_000, "concurrency": 2})
    own = terms({"requests_per_minute": 600, "tokens_per_hour": 50})
    assert own.over(tier).limits == {
        "requests_per_minute": 600,
        "tokens_per_day": 1_000,
        "tokens_per_hour": 50,
        "concurrency": 2,
    }


@pytest.mark.parametrize("field", ["per_user", "per_alias", "per_model"])
def test_limits_within_a_scope_are_one_field(field: str) -> None:
    tier = terms({field: {"a": 1, "b": 2}, "concurrency": 2})
    assert terms({field: {"a": 3}}).over(tier).limits == {field: {"a": 3}, "concurrency": 2}


def test_budgets_are_one_field() -> None:
    tier, own = terms({}, money("1")), terms({}, money("2"), money("3"))
    assert own.over(tier).budgets == own.budgets
    assert terms().over(tier).budgets == tier.budgets


def test_a_tier_is_not_changed_by_who_has_it() -> None:
    tier = terms({"concurrency": 2}, money())
    terms({"concurrency": 5}, money("7")).over(tier)
    assert tier == terms({"concurrency": 2}, money())


# ---- callers


def test_without_terms_a_plan_is_empty() -> None:
    assert plan() == Plan((), (), has_labels=False, is_hard=False)


def test_the_gateways_come_first_then_the_tenants_the_projects_the_keys_and_the_tiers() -> None:
    one = terms({"concurrency": 1}, money())
    found = plan(gateway=one, tenant=one, project=one, key=one, tier=one)
    scopes = [
        Scope(""),
        ACME,
        ACME.narrowed("project", "search"),
        ACME.narrowed("key", "web"),
        ACME._replace(per_user=True, tier="gold"),
    ]
    assert [limit.scope for limit in found.limits] == scopes
    assert [purse.scope for purse in found.purses] == scopes
    assert [purse.unit for purse in found.purses] == ["cost", *["charge"] * 4]
    assert [purse.timezone for purse in found.purses] == ["UTC", *["Europe/Berlin"] * 4]


def test_a_tier_of_a_key_holds_for_each_of_its_users() -> None:
    tier = terms(
        {"concurrency": 1, "per_user": {"concurrency": 2}, "per_alias": {"pro": {"concurrency": 3}}}
    )
    found = plan(tier=tier)
    asks = {
        user: [limit.ask(limit.scope.of_user("acme", user)).key for limit in found.limits]
        for user in ("ann", "bob")
    }
    assert all(limit.scope.per_user for limit in found.limits)
    assert not set(asks["ann"]) & set(asks["bob"])
    own, each, aliased = asks["ann"]
    assert own == each, "they count in one counter, and the narrower is asked"
    assert aliased != own


def test_limits_and_budgets_of_other_aliases_are_left_out() -> None:
    limits = {"per_alias": {"pro": {"concurrency": 1}, "mini": {"concurrency": 2}}}
    found = plan(
        tenant=terms(limits, money(scope="alias:pro"), money(scope="alias:mini"), money("5")),
        gateway=terms(limits, money(scope="alias:mini")),
    )
    assert [(limit.scope, limit.amount) for limit in found.limits] == [
        (Scope("").narrowed("alias", "pro"), 1),
        (ACME.narrowed("alias", "pro"), 1),
    ]
    assert [purse.alias for purse in found.purses] == ["pro", None]


def test_a_plan_knows_whether_labels_matter() -> None:
    assert not plan(tenant=terms({}, money(scope="user"))).has_labels
    assert plan(tenant=terms({}, money(), money(scope="label:team=search"))).has_labels


def test_a_plan_knows_whether_a_budget_is_hard() -> None:
    assert not plan(tenant=terms({"concurrency": 1}, money(hard=False))).is_hard
    assert plan(tenant=terms({}, money(hard=False), money(period="day"))).is_hard
    assert not plan(tenant=terms({}, money(hard=False), money(scope="alias:mini"))).is_hard


# ---- targets


def test_a_target_has_the_providers_limits_the_models_and_those_that_owners_give_to_its_name() -> (
    None
):
    named = {"concurrency": 9, "per_model": {"gpt-4o": {"concurrency": 3}}}
    other = {"per_model": {"other": {"concurrency": 5}}}
    found = target_limits(
        owned(gateway=terms(named), tenant=terms(other), project=terms(named), tier=terms(named)),
        provider=Scope("").narrowed("provider", "openai"),
        provider_limits={"concurrency": 1},
        model=Scope("").narrowed("model", "gpt-4o"),
        model_limits={"concurrency": 2},
    )
    assert [(limit.scope, limit.amount) for limit in found] == [
        (Scope("", (("provider", "openai"),)), 1),
        (Scope("", (("model", "gpt-4o"),)), 2),
        (Scope("", (("model", "gpt-4o"),)), 3),
        (Scope("acme", (("project", "search"), ("model", "gpt-4o"))), 3),
        (Scope("acme", (("model", "gpt-4o"),), per_user=True, tier="gold"), 3),
    ]


def test_a_tenants_own_target_counts_for_that_tenant() -> None:
    (found,) = target_limits(
        owned(),
        provider=ACME.narrowed("provider", "mine"),
        provider_limits={"requests_per_day": 1},
        model=ACME.narrowed("model", "own"),
        model_limits={},
    )
    assert found.said(found.scope) == "1 requests per day of the provider mine of the tenant acme"
