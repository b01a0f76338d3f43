"""What a draft would have made of the requests of the past."""

import datetime
import uuid
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing.models import UsageRecord
from billing.scopes import Scope
from billing.simulation.draft import Draft
from billing.simulation.past import COLUMNS, Past
from billing.simulation.replay import Outcome, Replay
from routing import config
from tenants.outside_credentials import key_id
from tests.billing.simulation.installation import (
    FILE,
    add,
    decision_of_gateway,
    install,
    make_record,
    of_acme,
    of_pro,
    simulated,
)
from tests.factories import AttemptFactory, BudgetAdjustmentFactory, KeyFactory

pytestmark = pytest.mark.django_db


def small_when(when: str) -> str:
    return f"{{when: {when}, targets: [{{model: small}}]}}"


def refusals(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(one["code"], one["rule"]): one["requests"] for one in found["refusals"]}


# ---- the control: nothing changed


def test_what_is_in_force_gives_what_the_records_say() -> None:
    configured = install()
    add(configured, 20, cached_input_tokens=300, reasoning_tokens=70)
    add(configured, 5, tenant="globex", alias="mini")
    add(configured, 3, alias="embed", endpoint="embeddings", output_tokens=0)
    add(configured, 2, outcome="failed", charge_policy="nothing")
    found = simulated(config.export(), prune=True)
    assert found["changes"] == []
    for sums in (found["total"], *found["rows"]):
        assert sums["before"] == sums["after"]
        assert (sums["refused"], sums["moved"]) == (0, 0)
        assert (sums["delta"]["cost"], sums["delta"]["charge"]) == ("0", "0")
    assert found["total"]["before"]["requests"] == 30


def control(text: str = "") -> None:
    """Nothing changes where the draft is what is in force."""
    found = simulated(text or config.export(), prune=True)
    assert found["changes"] == []
    assert found["total"]["before"] == found["total"]["after"]
    assert (found["total"]["refused"], found["total"]["moved"]) == (0, 0)


def test_draws_come_out_as_they_did_where_the_route_is_the_same() -> None:
    configured = install(SPLIT)
    records = add(configured, 15, model="small") + add(configured, 25, model="large")
    assert records[0].decision["route"]["targets"] == {"large": 3, "small": 1}
    control()


def test_a_target_that_failed_then_does_so_again_on_the_same_route() -> None:
    configured = install(of_pro("routes: [{targets: [{model: large}]}], fallbacks: [small]"))
    add(configured, 3, model="small", attempts=2)
    control()
    found = simulated(of_pro("routes: [{targets: [{model: large}], sticky: tenant}]"))
    assert found["total"]["moved"] == 3, "on another route every upstream is well"


ORDER = of_pro("routes: [{targets: [{model: large}, {model: small}], strategy: priority}]")


def test_another_order_of_the_same_targets_is_another_route() -> None:
    add(install(ORDER), 2)
    control()
    turned = ORDER.replace("{model: large}, {model: small}", "{model: small}, {model: large}")
    assert simulated(turned)["total"]["moved"] == 2


@pytest.mark.parametrize("won", ["first", "hedge"])
def test_what_a_hedge_that_lost_came_to_stays_as_it_was(won: str) -> None:
    configured = install(
        of_pro(
            "routes: [{targets: [{model: large}, {model: small, weight: 0}]}], hedge: {after: 1s}"
        )
    )
    records = [
        make_record(configured, model="large" if won == "first" else "small", attempts=2)
        for _ in range(3)
    ]
    for record in records:
        assert record.cost is not None
        assert record.charge is not None
        record.cost, record.charge = record.cost + 1_000_007, record.charge + 500_003
        lost = "hedge" if won == "first" else "first"
        AttemptFactory.create(record_id=record.record_id, started_at=record.started_at, role=won)
        AttemptFactory.create(
            record_id=record.record_id,
            started_at=record.started_at,
            ordinal=2,
            role=lost,
            error_kind="lost",
            cost=1_000_007,
            charge=500_003,
        )
        AttemptFactory.create(
            record_id=record.record_id,
            started_at=record.started_at,
            ordinal=3,
            role="mirror",
            cost=77,
            charge=0,
        )
    held = records[1]
    held.reserved = held.charge = (held.charge or 0) - 400_000
    held.absorbed = 400_000
    UsageRecord.objects.bulk_create(records)
    control()


_TOKENS = st.integers(0, 2_000_000)
_ENDS = st.sampled_from(
    [
        ("completed", "upstream", "usage"),
        ("failed", "upstream", "nothing"),
        ("interrupted", "caller", "delivered"),
        ("interrupted", "upstream", "delivered"),
        ("interrupted", "gateway", "input"),
    ]
)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Any:
    """What is in force, read once: the examples below ask no database."""
    with django_db_blocker.unblock(), transaction.atomic():
        configured = install()
        transaction.set_rollback(True)
    return configured


@given(
    alias=st.sampled_from(["pro", "mini"]),
    tokens=st.tuples(_TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS),
    ends=_ENDS,
    endpoint=st.sampled_from(["chat", "messages", "count_tokens"]),
    number=st.integers(0, 2**128 - 1),
)
def test_any_record_costs_and_is_charged_what_it_was(
    world: Any,
    alias: str,
    tokens: tuple[int, ...],
    ends: tuple[str, ...],
    endpoint: str,
    number: int,
) -> None:
    outcome, ended_by, policy = ends
    names = ("input", "cached_input", "cache_write", "output", "reasoning")
    record = make_record(
        world,
        record_id=uuid.UUID(int=number),
        alias=alias,
        endpoint=endpoint,
        outcome=outcome,
        ended_by=ended_by,
        charge_policy=policy,
        **{f"{name}_tokens": used for name, used in zip(names, tokens, strict=True)},
    )
    past = Past(*(getattr(record, name) for name in COLUMNS))
    draft = Draft(world, [], [], {})
    after = Replay(draft, record.started_at - datetime.timedelta(hours=1)).replay(past)
    assert after == Outcome(None, record.model, record.cost, "USD", record.charge, "USD")


# ---- other prices


def test_a_dearer_price_book_charges_more_and_costs_the_same() -> None:
    configured = install()
    add(configured, 10)
    found = simulated(FILE.replace("markup: 20%", "markup: 50%"))
    total = found["total"]
    assert (total["before"]["charge"], total["after"]["charge"]) == ("0.09", "0.1125")
    assert total["delta"] == {
        "cost": "0",
        "cost_percent": "0",
        "charge": "0.0225",
        "charge_percent": "25",
    }


def test_prices_hold_from_their_date_on() -> None:
    add(install(), 10)
    tomorrow = (timezone.now() + datetime.timedelta(days=1)).date()
    version = (
        f"    versions:\n      - effective: {tomorrow}\n        prices: {{large: {{input: 99}}}}\n"
    )
    found = simulated(FILE.replace("    versions:\n", version, 1))
    assert found["changes"]
    assert found["total"]["delta"]["cost"] == "0"


def test_a_model_without_a_price_would_be_refused() -> None:
    add(install(), 4)
    text = FILE.replace(
        "large: {provider", "new: {provider: demo, upstream: new}\n  large: {provider"
    )
    text = text.replace("[{model: large}]", "[{model: new}]")
    found = simulated(text)
    assert refusals(found) == {("price_unknown", ""): 4}
    assert found["total"]["after"]["cost"] == "0"


def test_where_the_tenant_lets_records_wait_a_model_without_a_price_answers() -> None:
    add(install(), 4)
    text = FILE.replace(
        "large: {provider", "new: {provider: demo, upstream: new}\n  large: {provider"
    )
    text = text.replace("[{model: large}]", "[{model: new}]")
    text = of_acme("unpriced: quarantine", text)
    found = simulated(text)
    assert found["refusals"] == []
    assert (found["total"]["after"]["requests"], found["total"]["after"]["unpriced"]) == (4, 4)


def test_two_currencies_are_kept_apart() -> None:
    add(install(), 1)
    text = FILE.replace(
        "aliases:\n",
        "  euro:\n    currency: EUR\n    versions: [{effective: 2026-01-01, "
        "prices: {large: {input: 3, output: 12}}}]\naliases:\n",
        1,
    ).replace(
        'acme: {aliases: ["*"], price_book: standard', 'acme: {aliases: ["*"], price_book: euro'
    )
    delta = simulated(text)["total"]["delta"]
    assert delta["charge"] is None
    assert delta["charges"] == {
        "EUR": {"amount": "0.009", "percent": None},
        "USD": {"amount": "-0.009", "percent": "-100"},
    }


def test_what_a_caller_who_hung_up_pays_is_the_drafts_to_say() -> None:
    add(install(), 1, outcome="interrupted", ended_by="caller", charge_policy="delivered")
    found = simulated(of_acme("on_disconnect: input"))
    assert (found["total"]["before"]["charge"], found["total"]["after"]["charge"]) == (
        "0.009",
        "0.003",
    )


# ---- other routes


def test_a_cheaper_model_costs_less_and_takes_the_share() -> None:
    add(install(), 10)
    found = simulated(of_pro("routes: [{targets: [{model: small}]}]"))
    total = found["total"]
    assert (total["before"]["cost"], total["after"]["cost"]) == ("0.075", "0.0045")
    assert total["moved"] == 10
    assert found["models"] == [
        {"model": "large", "before": 10, "before_percent": "100", "after": 0, "after_percent": "0"},
        {"model": "small", "before": 0, "before_percent": "0", "after": 10, "after_percent": "100"},
    ]


SPLIT = of_pro("routes: [{targets: [{model: large, weight: 3}, {model: small, weight: 1}]}]")


def test_weights_are_kept_and_every_run_draws_alike() -> None:
    add(install(), 400)
    first, second = simulated(SPLIT), simulated(SPLIT)
    assert first["models"] == second["models"]
    shares = {one["model"]: one["after"] for one in first["models"]}
    assert 250 < shares["large"] < 350


@pytest.mark.parametrize(
    ("when", "model"),
    [
        ("{tier: gold}", "small"),
        ("{project: search}", "small"),
        ("{user: ada}", "small"),
        ("{label: {team: a}}", "small"),
        ("{input_tokens: {max: 1000}}", "small"),
        ("{input_tokens: {max: 999}}", "large"),
        ("{tenant: globex}", "large"),
        ("{has: [images]}", "large"),
    ],
)
def test_routes_go_by_what_the_record_says(when: str, model: str) -> None:
    configured = install()
    KeyFactory.create(key_id="key-of-gold", tier="gold")
    add(configured, 1, key_id="key-of-gold", project="search", user="ada", labels={"team": "a"})
    text = of_pro(f"routes: [{small_when(when)}, {{targets: [{{model: large}}]}}]")
    found = simulated(text + "tiers: {gold: {}}\n")
    assert {one["model"]: one["after"] for one in found["models"]}[model] == 1


IMAGES = of_pro(f"routes: [{small_when('{has: [images]}')}, {{targets: [{{model: large}}]}}]")


def test_what_a_request_contained_is_known_where_its_record_pins_it() -> None:
    configured = install(IMAGES)
    for model, contents in (("small", {"images", "tools"}), ("large", {"tools"})):
        record = make_record(configured, model=model)
        record.decision = decision_of_gateway(configured, record, contents=frozenset(contents))
        record.save()
    control()
    tools = IMAGES.replace("has: [images]", "has: [tools]")
    assert {one["model"]: one["after"] for one in simulated(tools)["models"]}["small"] == 2


def test_how_complex_and_how_long_a_request_was_is_known_where_its_record_pins_it() -> None:
    when = "{complexity: complex, input_tokens: {min: 1500}}"
    text = of_pro(f"routes: [{small_when(when)}, {{targets: [{{model: large}}]}}]")
    configured = install(text)
    for model, complexity, tokens in (
        ("small", "complex", 1_500),
        ("large", "complex", 1_499),
        ("large", "simple", 9_000),
    ):
        record = make_record(configured, model=model)
        record.decision = decision_of_gateway(
            configured, record, complexity=complexity, tokens=tokens
        )
        record.save()
    control()
    simple = text.replace("complexity: complex", "complexity: simple")
    assert {one["model"]: one["after"] for one in simulated(simple)["models"]}["small"] == 1


def test_of_older_records_the_route_is_known_by_its_place() -> None:
    configured = install(IMAGES)
    add(configured, 2, model="small", decision={"route": 0})
    add(configured, 3, model="large", decision={"route": 1})
    add(configured, 1, model="large", decision={})
    control()


def test_a_route_that_goes_by_a_budget_follows_its_use() -> None:
    configured = install()
    add(configured, 10)  # 0.009 each
    text = of_acme("budgets: [{amount: 0.09, period: total}]")
    small = small_when("{budget_used: {min: 50%}}")
    text = of_pro(f"routes: [{small}, {{targets: [{{model: large}}]}}]", text)
    found = simulated(text)
    assert {one["model"]: one["after"] for one in found["models"]} == {"large": 5, "small": 5}


def test_a_removed_alias_refuses_its_requests() -> None:
    configured = install()
    add(configured, 4)
    add(configured, 2, alias="mini")
    found = simulated(
        FILE.replace("  mini: {routes: [{targets: [{model: small}]}]}\n", ""), prune=True
    )
    assert refusals(found) == {("alias_not_found", ""): 2}
    assert found["total"]["after"]["requests"] == 4


def test_a_tenant_that_may_not_use_the_alias_any_more_is_refused() -> None:
    add(install(), 4)
    found = simulated(FILE.replace('acme: {aliases: ["*"]', "acme: {aliases: [mini]"))
    assert refusals(found) == {("alias_not_allowed", ""): 4}


def test_a_removed_tenant_is_kept_suspended_as_an_apply_would() -> None:
    configured = install()
    add(configured, 4)
    add(configured, 1, tenant="globex")
    line = next(line for line in FILE.splitlines() if line.startswith("  acme:"))
    found = simulated(FILE.replace(f"{line}\n", ""), prune=True)
    assert refusals(found) == {("tenant_suspended", ""): 4}
    assert found["total"]["after"]["requests"] == 1


def test_an_alias_that_makes_embeddings_now_refuses_chats() -> None:
    add(install(), 1)
    found = simulated(of_pro("routes: [{targets: [{model: embed}]}]"))
    assert [one["code"] for one in found["refusals"]] == ["invalid_request"]


# ---- limits and budgets


def test_a_tighter_budget_refuses_the_tail() -> None:
    configured = install()
    start = timezone.now() - datetime.timedelta(hours=2)
    for number in range(10):  # 0.009 each
        add(configured, 1, started_at=start + datetime.timedelta(minutes=number), user=str(number))
    text = of_acme("budgets: [{amount: 0.04, period: total}]")
    found = simulated(text)
    assert refusals(found) == {("insufficient_quota", "0.04 (charge) in all of the tenant acme"): 6}
    assert found["total"]["after"]["charge"] == "0.036"


def test_a_budget_of_each_user_refuses_one_user_alone() -> None:
    configured = install()
    add(configured, 3, user="ada")
    add(configured, 1, user="bob")
    text = of_acme("budgets: [{amount: 0.01, period: total, scope: user}]")
    assert refusals(simulated(text)) == {
        ("insufficient_quota", "0.01 (charge) in all of each user of the tenant acme"): 2
    }


@pytest.mark.parametrize("scope", ["", ", scope: user"])
def test_a_budget_begins_with_what_was_used_before(scope: str) -> None:
    configured = install()
    long_ago = timezone.now() - datetime.timedelta(days=3)
    add(configured, 3, started_at=long_ago, user="ada")  # 0.027
    add(configured, 2, user="ada")
    text = of_acme(f"budgets: [{{amount: 0.04, period: total{scope}}}]")
    found = simulated(text)
    assert found["total"]["before"]["requests"] == 2
    assert [one["requests"] for one in found["refusals"]] == [1]


def test_adjustments_count() -> None:
    add(install(), 3)
    text = of_acme("budgets: [{amount: 0.04, period: total}]")
    assert simulated(text)["refusals"] == []
    counter = f"{Scope('acme').key}|charge|Europe/Berlin|total"
    BudgetAdjustmentFactory.create(counter=counter, amount=20_000_000)
    assert [one["requests"] for one in simulated(text)["refusals"]] == [1]


def test_a_budget_of_an_hour_ends_with_the_hour_however_long_ago() -> None:
    configured = install()
    now = timezone.now()
    for hours in (1, 2, 23):
        add(configured, 1, started_at=now - datetime.timedelta(hours=hours))
    text = of_acme("budgets: [{amount: 0.009, period: hour}]")
    assert simulated(text)["refusals"] == []


def test_a_tighter_rate_limit_refuses_what_comes_too_quickly() -> None:
    configured = install()
    start = timezone.now() - datetime.timedelta(hours=2)
    add(configured, 8, started_at=start)
    add(configured, 2, started_at=start + datetime.timedelta(minutes=5))
    text = of_acme("limits: {requests_per_minute: 5}")
    assert refusals(simulated(text)) == {
        ("rate_limit_exceeded", "5 requests per minute of the tenant acme"): 3
    }


def test_concurrency_counts_what_runs_at_the_same_time() -> None:
    configured = install()
    start = timezone.now() - datetime.timedelta(hours=2)
    for seconds in (0, 1, 11):
        add(
            configured,
            1,
            started_at=start + datetime.timedelta(seconds=seconds),
            latency_us=10_000_000,
        )
    text = of_acme("limits: {concurrency: 1}")
    assert refusals(simulated(text)) == {
        ("rate_limit_exceeded", "1 concurrent requests of the tenant acme"): 1
    }


def test_where_a_models_limit_is_used_up_the_next_target_answers() -> None:
    configured = install()
    add(configured, 5, started_at=timezone.now() - datetime.timedelta(hours=2))
    text = FILE.replace(
        "upstream: demo-large,", "upstream: demo-large, limits: {requests_per_minute: 2},"
    )
    text = of_pro("routes: [{targets: [{model: large}]}], fallbacks: [small]", text)
    found = simulated(text)
    assert found["refusals"] == []
    assert {one["model"]: one["after"] for one in found["models"]} == {"large": 2, "small": 3}


def test_the_gateways_own_budget_counts_cost_of_all_tenants() -> None:
    configured = install()
    add(configured, 2)  # cost 0.0075 each
    add(configured, 2, tenant="globex")
    text = FILE + "gateway: {budgets: [{amount: 0.02, period: total}]}\n"
    assert [one["requests"] for one in simulated(text)["refusals"]] == [2]


# ---- one tenant


def test_one_tenants_simulation_sees_nobody_elses_records() -> None:
    configured = install()
    add(configured, 2)
    add(configured, 7, tenant="globex")
    found = simulated(
        FILE + "gateway: {budgets: [{amount: 0.001, period: total}]}\n", tenant="acme"
    )
    assert {row["tenant"] for row in found["rows"]} == {"acme"}
    assert found["total"]["before"]["requests"] == 2
    assert found["refusals"] == [], "what tenants share cannot be replayed from one of them"


def test_a_tenants_own_alias_wins() -> None:
    configured = install()
    add(configured, 1)
    add(configured, 1, tenant="globex")
    text = of_acme("own_aliases: {pro: {routes: [{targets: [{model: small}]}]}}")
    moved = {row["tenant"]: row["moved"] for row in simulated(text)["rows"]}
    assert moved == {"acme": 1, "globex": 0}


def test_records_of_an_issuer_that_the_draft_lacks_are_refused() -> None:
    issuer = "https://login.acme.example/"
    with_issuer = of_acme(
        f'issuers: [{{issuer: "{issuer}", audience: gateway, jwks: {{keys: []}}, aliases: [pro]}}]'
    )
    configured = install(with_issuer)
    add(configured, 2, key_id=key_id("issuer", "acme", issuer), key="login.acme.example")
    assert simulated(with_issuer, prune=True)["refusals"] == []
    assert refusals(simulated(FILE, prune=True)) == {("invalid_api_key", ""): 2}


def test_records_do_not_name_their_users_in_refusals() -> None:
    add(install(), 2, user="ada@acme.example")
    text = of_acme("limits: {per_user: {requests_per_day: 1}}")
    assert "ada" not in str(simulated(text)["refusals"])
    assert UsageRecord.objects.count() == 2
