"""Usage summed up: `summarise` and the command that prints it."""

import datetime
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing.usage import DIMENSIONS, Summary, summarise
from tests.factories import NOON, UsageRecordFactory

pytestmark = pytest.mark.django_db

HOUR = datetime.timedelta(hours=1)
ROW_FIELDS = [
    "key",
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "charge",
    "currency",
    "latency_ms_avg",
    "latency_ms_p95",
    "cache_hits",
]


def _summarise(by: str = "model", tenant: str | None = "acme", **options: Any) -> Summary:
    span: dict[str, Any] = {"start": NOON - HOUR, "end": NOON + HOUR}
    return summarise(by=by, tenant=tenant, **span | options)


def test_a_summary_has_the_shape_that_tenants_read() -> None:
    UsageRecordFactory.create()
    summary = _summarise()
    assert list(summary) == ["from", "to", "by", "rows", "total"]
    assert summary["from"] == "2026-10-15T11:00:00Z"
    assert summary["to"] == "2026-10-15T13:00:00Z"
    assert list(summary["rows"][0]) == ROW_FIELDS
    assert summary["rows"][0] == {
        "key": "gpt-4o",
        "requests": 1,
        "errors": 0,
        "input_tokens": 100,
        "output_tokens": 20,
        "charge": "0.00054",
        "currency": "USD",
        "latency_ms_avg": 812.5,
        "latency_ms_p95": 812.5,
        "cache_hits": 0,
    }
    assert summary["total"] == {k: v for k, v in summary["rows"][0].items() if k != "key"}


def test_no_requests_make_an_empty_summary() -> None:
    summary = _summarise(cost=True)
    assert summary["rows"] == []
    assert summary["total"]["requests"] == 0
    assert (summary["total"]["charge"], summary["total"]["currency"]) == ("0", None)
    assert (summary["total"]["cost"], summary["total"]["cost_currency"]) == ("0", None)
    assert summary["total"]["latency_ms_p95"] is None


def test_the_start_is_inclusive_and_the_end_is_exclusive() -> None:
    for minutes in (-1, 0, 59, 60):
        UsageRecordFactory.create(started_at=NOON + datetime.timedelta(minutes=minutes))
    summary = _summarise(start=NOON, end=NOON + HOUR)
    assert summary["total"]["requests"] == 2


def test_buckets_are_added_up_into_what_went_in_and_what_came_out() -> None:
    UsageRecordFactory.create(
        input_tokens=1,
        cached_input_tokens=20,
        cache_write_tokens=300,
        output_tokens=4,
        reasoning_tokens=50,
    )
    row = _summarise()["rows"][0]
    assert (row["input_tokens"], row["output_tokens"]) == (321, 54)


@pytest.mark.parametrize(
    ("outcome", "ended_by", "is_error"),
    [
        ("completed", "upstream", False),
        ("cached", "gateway", False),
        ("blocked", "gateway", False),
        ("failed", "upstream", True),
        ("failed", "gateway", True),
        ("interrupted", "caller", False),
        ("interrupted", "upstream", True),
        ("interrupted", "gateway", True),
    ],
)
def test_an_error_is_a_request_that_ended_badly_through_no_choice_of_the_caller(
    outcome: str, ended_by: str, is_error: bool
) -> None:
    UsageRecordFactory.create(outcome=outcome, ended_by=ended_by)
    assert _summarise()["rows"][0]["errors"] == int(is_error)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("provider", "openai"),
        ("model", "gpt-4o"),
        ("alias", "pro"),
        ("tenant", "acme"),
        ("project", "support-bot"),
        ("key", "frontend"),
        ("user", "ada"),
        ("label", "team=search"),
    ],
)
def test_rows_are_keyed_by_each_dimension(by: str, key: str) -> None:
    UsageRecordFactory.create(labels={"team": "search"})
    assert [row["key"] for row in _summarise(by=by)["rows"]] == [key]
    assert by in DIMENSIONS


@pytest.mark.parametrize("by", ["moon", "", 'model" FROM auth_user --'])
def test_anything_else_is_refused_before_it_reaches_the_database(by: str) -> None:
    with pytest.raises(ValueError, match="usage is summed up by provider, model"):
        _summarise(by=by)


def test_a_key_without_a_name_goes_by_its_id() -> None:
    UsageRecordFactory.create(key="", key_id="key0002")
    assert _summarise(by="key")["rows"][0]["key"] == "key0002"


def test_each_label_pair_has_a_row_and_the_total_counts_a_request_once() -> None:
    UsageRecordFactory.create(labels={"team": "search", "env": "prod"})
    UsageRecordFactory.create(labels={"team": "search"})
    UsageRecordFactory.create(labels={})
    summary = _summarise(by="label")
    assert [(row["key"], row["requests"]) for row in summary["rows"]] == [
        ("team=search", 2),
        ("env=prod", 1),
    ]
    assert summary["total"]["requests"] == 3
    assert summary["total"]["charge"] == "0.00162"


def test_the_busiest_comes_first() -> None:
    UsageRecordFactory.create(model="rare")
    UsageRecordFactory.create_batch(2, model="busy")
    assert [row["key"] for row in _summarise()["rows"]] == ["busy", "rare"]


def test_one_tenant_sees_nothing_of_another() -> None:
    UsageRecordFactory.create(tenant="globex")
    assert _summarise(tenant="acme")["total"]["requests"] == 0
    assert _summarise(tenant="globex")["total"]["requests"] == 1


def test_names_that_tenants_choose_are_not_mixed_in_a_gateway_wide_summary() -> None:
    UsageRecordFactory.create(tenant="acme", key="frontend")
    UsageRecordFactory.create(tenant="globex", key="frontend")
    rows = _summarise(by="key", tenant=None)["rows"]
    assert [(row["key"], row["tenant"]) for row in rows] == [
        ("frontend", "acme"),
        ("frontend", "globex"),
    ]
    assert "tenant" not in _summarise(by="alias", tenant=None)["rows"][0]


def test_cost_is_told_only_when_asked_for() -> None:
    UsageRecordFactory.create()
    assert "cost" not in json.dumps(_summarise())
    row = _summarise(cost=True)["rows"][0]
    assert (row["cost"], row["cost_currency"]) == ("0.00045", "USD")


def test_several_currencies_make_several_rows_and_no_single_total() -> None:
    UsageRecordFactory.create(charge=1_500_000_000, charge_currency="EUR")
    UsageRecordFactory.create(charge=2_000_000_000)
    summary = _summarise(cost=True)
    assert {(row["currency"], row["charge"]) for row in summary["rows"]} == {
        ("EUR", "1.5"),
        ("USD", "2"),
    }
    total = summary["total"]
    assert (total["charge"], total["currency"]) == (None, None)
    assert total["charges"] == {"EUR": "1.5", "USD": "2"}
    assert (total["cost"], total["cost_currency"]) == ("0.0009", "USD")
    assert total["requests"] == 2


def test_the_providers_currency_does_not_split_what_a_tenant_sees() -> None:
    UsageRecordFactory.create(cost_currency="USD")
    UsageRecordFactory.create(cost_currency="EUR")
    assert len(_summarise()["rows"]) == 1
    assert len(_summarise(cost=True)["rows"]) == 2


def test_a_request_without_an_amount_belongs_to_the_currency_of_its_key() -> None:
    UsageRecordFactory.create()
    UsageRecordFactory.create(outcome="blocked", charge=None, charge_currency="")
    rows = _summarise()["rows"]
    assert [(row["requests"], row["currency"], row["charge"]) for row in rows] == [
        (2, "USD", "0.00054")
    ]


@pytest.mark.parametrize(
    ("latencies", "p95"),
    [
        ([7], 7),
        ([1, 2], 2),
        (range(1, 21), 19),
        (range(1, 101), 95),
        (range(1, 102), 96),
        ([5] * 40, 5),
    ],
)
def test_the_95th_percentile_is_a_latency_that_was_measured(latencies: list[int], p95: int) -> None:
    for milliseconds in latencies:
        UsageRecordFactory.create(latency_us=milliseconds * 1000)
    summary = _summarise()
    assert summary["rows"][0]["latency_ms_p95"] == p95
    assert summary["total"]["latency_ms_p95"] == p95


def test_cache_hits_are_the_requests_that_the_cache_answered() -> None:
    UsageRecordFactory.create(outcome="cached", cache="HIT")
    UsageRecordFactory.create(outcome="cached", cache="SEMANTIC")
    UsageRecordFactory.create()
    assert _summarise()["rows"][0]["cache_hits"] == 2


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.datetime.now(tz=datetime.UTC)
    UsageRecordFactory.create(started_at=now - HOUR)
    UsageRecordFactory.create(started_at=now - HOUR, outcome="failed", charge=0, cost=0)
    UsageRecordFactory.create(started_at=now - 30 * HOUR, model="yesterday")
    call_command("usage_summary")
    printed = capsys.readouterr().out
    assert "gpt-4o" in printed
    assert "50.0 %" in printed
    assert "0.00054 USD" in printed
    assert "yesterday" not in printed


def test_the_table_shows_the_busiest_of_many(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.datetime.now(tz=datetime.UTC)
    for n in range(51):
        UsageRecordFactory.create(started_at=now - HOUR, user=f"user-{n}")
    call_command("usage_summary", "--by", "user", "--tenant", "acme")
    printed = capsys.readouterr().out
    assert printed.count("user-") == 50
    assert "The busiest 50 of 51" in printed


def test_the_command_prints_the_json_of_v1_usage_with_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = datetime.datetime.now(tz=datetime.UTC)
    UsageRecordFactory.create(started_at=now - 30 * HOUR)
    UsageRecordFactory.create(started_at=now - 30 * HOUR, tenant="globex")
    call_command("usage_summary", "--period", "2d", "--by", "alias", "--tenant", "acme", "--json")
    summary = json.loads(capsys.readouterr().out)
    assert summary["by"] == "alias"
    assert list(summary["rows"][0]) == [*ROW_FIELDS, "cost", "cost_currency"]
    assert summary["total"]["requests"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--period", "yesterday"], "--period"),
        (["--by", "moon"], "--by"),
        (["--tenant", "nobody"], "--tenant: there is no tenant 'nobody'"),
    ],
)
def test_the_command_names_the_option_that_is_wrong(arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        call_command("usage_summary", *arguments)
