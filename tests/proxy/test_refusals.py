"""What a caller is told of limits and budgets."""

from typing import Any

import pytest

from billing.budgets import period_at, read_purses
from billing.claims import Claim
from billing.counters.asks import Short
from billing.limits import read_limits
from billing.scopes import Scope
from proxy.errors import InvalidRequest
from proxy.refusals import check_size, left_headers, over_budget, over_limit
from tests.proxy.asking import STARTED, exchange

ACME, GATEWAY = Scope("acme"), Scope("")


def limited(name: str, value: Any, scope: Scope = ACME) -> Claim:
    (limit,) = read_limits(scope, {name: value})
    return Claim(limit, scope, None, limit.ask(scope))


def budgeted(*entries: Any, owner: Scope = ACME, moment: float = STARTED) -> Claim:
    (purse,) = read_purses(owner, entries, timezone="UTC")
    period = period_at(purse.period, purse.timezone, moment)
    return Claim(purse, purse.scope, period, purse.ask(purse.scope, period, 0))


def month(amount: str = "10", **fields: Any) -> dict[str, Any]:
    return {"amount": amount, "period": "month", **fields}


# ---- limits


def test_a_limit_is_named_with_its_scope_and_window() -> None:
    claim = limited("requests_per_minute", {"amount": 60, "burst": 10})
    error = over_limit(claim, Short(0, 1_500, 0))
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 1.5)
    assert error.message == (
        "The limit of 60 requests per minute (at most 10 at once) of the tenant acme is used up."
    )
    assert error.headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "10.000s",
    }


def test_a_limit_of_a_user_names_the_user() -> None:
    (limit,) = read_limits(ACME._replace(per_user=True), {"tokens_per_day": 5})
    ann = ACME.of_user("acme", "ann")
    error = over_limit(Claim(limit, ann, None, limit.ask(ann)), Short(0, 0, 3))
    assert "5 tokens per day of the user ann of the tenant acme" in error.message
    assert error.headers["x-ratelimit-remaining-tokens"] == "3"


def test_who_waits_for_a_slot_may_ask_again_in_a_second() -> None:
    error = over_limit(limited("concurrency", 5), Short(0, -1, 0))
    assert error.message == "The limit of 5 concurrent requests of the tenant acme is used up."
    assert error.retry_after == 1.0
    assert error.headers == {}


def test_how_much_the_gateway_has_left_is_nobodys_business() -> None:
    assert over_limit(limited("requests_per_day", 5, GATEWAY), Short(0, 9, 2)).headers == {}


def test_a_request_larger_than_a_whole_bucket_is_refused_by_name() -> None:
    claim = limited("tokens_per_hour", {"amount": 900, "burst": 300})
    check_size(claim, 300)
    with pytest.raises(InvalidRequest) as refused:
        check_size(claim, 301)
    assert refused.value.message == (
        "This request takes about 301 tokens, more than the limit of 900 tokens per hour "
        "(at most 300 at once) of the tenant acme ever allows at once."
    )


# ---- budgets


def test_a_budget_is_named_with_its_amount_period_and_reset() -> None:
    claim = budgeted(month("10.5"))
    assert claim.period is not None
    error = over_budget(claim, Short(0, -1, 250_000_000), "EUR", STARTED)
    assert (error.status, error.code) == (429, "insufficient_quota")
    assert error.message == (
        "The budget of 10.5 EUR per month of the tenant acme has no room for this request: "
        "0.25 EUR left; it resets at 2026-11-01T00:00:00Z."
    )
    assert error.retry_after == claim.period.end - STARTED
    assert error.headers == {"x-should-retry": "false"}


def test_a_budget_that_is_overdrawn_has_nothing_left() -> None:
    assert ": 0 USD left" in over_budget(budgeted(month()), Short(0, -1, -7), "USD", 0.0).message


def test_a_budget_of_tokens_has_no_currency() -> None:
    claim = budgeted({"tokens": 500, "period": "day", "scope": "alias:pro"})
    message = over_budget(claim, Short(0, -1, 20), "EUR", STARTED).message
    assert "The budget of 500 tokens per day of the alias pro of the tenant acme" in message
    assert ": 20 tokens left;" in message


def test_a_budget_in_all_never_resets() -> None:
    error = over_budget(budgeted({"amount": "1", "period": "total"}), Short(0, -1, 0), "USD", 0.0)
    assert error.message.endswith(
        "1 USD in all of the tenant acme has no room for this request: "
        "0 USD left; it does not reset."
    )
    assert error.retry_after is None


def test_the_amounts_of_the_gateway_are_nobodys_business() -> None:
    claim = budgeted(month("12345"), owner=GATEWAY)
    message = over_budget(claim, Short(0, -1, 777), "USD", STARTED).message
    assert message.startswith("The budget per month of the gateway has no room for this request;")
    assert not {"12345", "777"} & set(message.replace(";", " ").split())


def test_of_several_budgets_the_least_hard_one_is_named() -> None:
    claim = budgeted(month("30"), month("20"), month("5", hard=False))
    assert "The budget of 20 USD" in over_budget(claim, Short(0, -1, 0), "USD", 0.0).message


# ---- what is left


def headers(*pairs: tuple[Claim, int], clamped_to: int | None = None) -> dict[str, str]:
    asked = exchange("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    asked.claims = [claim for claim, _ in pairs]
    asked.levels = [level for _, level in pairs]
    asked.clamped_to = clamped_to
    return {name.decode(): value.decode() for name, value in left_headers(asked)}


def test_nothing_asked_is_nothing_told() -> None:
    assert headers() == {}


def test_the_tightest_limit_of_each_unit_is_told() -> None:
    found = headers(
        (limited("requests_per_minute", 60), 30),
        (limited("requests_per_day", {"amount": 1_000, "burst": 100}), 10),
        (limited("tokens_per_hour", 3_600), 1_800),
        (limited("concurrency", 5), 0),
    )
    assert found == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "10",
        "x-ratelimit-reset-requests": "7776.000s",
        "x-ratelimit-limit-tokens": "3600",
        "x-ratelimit-remaining-tokens": "1800",
        "x-ratelimit-reset-tokens": "1800.000s",
    }


def test_a_bucket_below_nothing_has_nothing_left_and_is_full_later() -> None:
    found = headers((limited("tokens_per_minute", 600), -300))
    assert found["x-ratelimit-remaining-tokens"] == "0"
    assert found["x-ratelimit-reset-tokens"] == "90.000s"


def test_a_full_bucket_resets_at_once() -> None:
    found = headers((limited("requests_per_second", 600), 600))
    assert found["x-ratelimit-reset-requests"] == "0.000s"


@pytest.mark.parametrize(
    ("pairs", "left"),
    [
        ([(budgeted(month("10")), 4 * 10**9)], "6"),
        (
            [(budgeted(month("10")), 0), (budgeted(month("9", period="day")), 8_999_999_999)],
            "0.000000001",
        ),
        ([(budgeted(month("10")), 11 * 10**9)], "0"),
        ([(budgeted(month("10"), month("2", hard=False)), 10**9)], "1"),
    ],
)
def test_the_tightest_budget_of_money_is_told(pairs: list[tuple[Claim, int]], left: str) -> None:
    assert headers(*pairs) == {"x-gateway-budget-remaining": left}


def test_neither_tokens_nor_the_gateways_are_told() -> None:
    found = headers(
        (budgeted({"tokens": 500, "period": "day"}), 3),
        (budgeted(month(), owner=GATEWAY), 3),
        (limited("requests_per_day", 5, GATEWAY), 2),
    )
    assert found == {}


def test_an_answer_that_is_held_to_less_says_so() -> None:
    assert headers(clamped_to=16) == {"x-gateway-max-tokens-clamped": "16"}
