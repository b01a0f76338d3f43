"""How candidates compare with the models that answered."""

import datetime
import json
from typing import Any

import pytest
from django.core.management import call_command

from billing.mirrors import Comparison, compare
from tests.factories import NOON, AttemptFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db

DAY = datetime.timedelta(days=1)


def mirrored(
    latency: int = 1, mirror: int = 2, *, answered: dict[str, Any] | None = None, **facts: Any
) -> None:
    """One request and its copy; latencies are in milliseconds."""
    record = UsageRecordFactory(output_tokens=10, reasoning_tokens=5, cost=1000, **(answered or {}))
    facts = {"usage": {"output_tokens": 40, "usage_source": "provider"}, "cost": 300, **facts}
    AttemptFactory(record_id=record.record_id, latency_us=latency * 1000, first_token_us=500)
    AttemptFactory(
        record_id=record.record_id,
        ordinal=2,
        role="mirror",
        model="candidate",
        latency_us=mirror * 1000,
        **facts,
    )


def compared(**wanted: Any) -> list[Comparison]:
    return compare(start=NOON - DAY, end=NOON + DAY, **wanted)


def test_a_candidate_is_compared_with_what_answered() -> None:
    for number in range(1, 21):
        mirrored(number, 2 * number)
    [found] = compared()
    assert (found["alias"], found["model"], found["candidate"]) == ("pro", "gpt-4o", "candidate")
    assert (found["copies"], found["errors"]) == (20, 0)
    assert found["answered_by"] == {
        "latency_ms_avg": 10.5,
        "latency_ms_p95": 19.0,
        "first_token_ms_avg": 0.5,
        "output_tokens": 15.0,
        "cost": "0.00002",
    }
    assert found["mirrored"] == {
        "latency_ms_avg": 21.0,
        "latency_ms_p95": 38.0,
        "first_token_ms_avg": None,
        "output_tokens": 40.0,
        "cost": "0.000006",
    }


def test_latencies_are_of_those_that_both_answered_and_costs_of_all() -> None:
    mirrored(10, 20)
    mirrored(5000, 9000, error_kind="timeout", status=None, usage=None, cost=0)
    mirrored(5000, 9000, error_kind="cancelled", status=None, cost=50)
    [found] = compared()
    assert (found["copies"], found["errors"]) == (3, 1)
    assert found["errors_by_kind"] == {"timeout": 1, "cancelled": 1}
    assert found["answered_by"]["latency_ms_avg"] == 10.0
    assert found["mirrored"]["latency_ms_avg"] == 20.0
    assert found["mirrored"]["cost"] == "0.00000035"


def test_aliases_and_times_are_kept_apart() -> None:
    mirrored()
    mirrored(answered={"alias": "mini"})
    mirrored(answered={"alias": "mini"}, started_at=NOON + 2 * DAY)
    assert [(one["alias"], one["copies"]) for one in compared()] == [("mini", 1), ("pro", 1)]
    assert [one["alias"] for one in compared(alias="pro")] == ["pro"]


def test_requests_without_copies_do_not_count() -> None:
    UsageRecordFactory()
    assert compared() == []


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    mirrored()
    call_command("mirror_report", "--since", "400000d", "--json")
    assert json.loads(capsys.readouterr().out)[0]["candidate"] == "candidate"
    call_command("mirror_report", "--since", "400000d")
    assert "candidate (mirror)" in capsys.readouterr().out
    call_command("mirror_report", "--since", "1s")
    assert "No request was mirrored" in capsys.readouterr().out
