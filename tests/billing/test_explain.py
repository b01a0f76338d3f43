"""Who is told what of a request: the table, field by field."""

import datetime
import json
from typing import Any

import pytest

from billing.explain import ATTEMPT_FIELDS, FIELDS, Reader, Request, explain
from billing.models import Attempt, UsageRecord
from tests.factories import NOON, AttemptFactory, UsageRecordFactory

DECISION = {
    "route": {
        "position": 1,
        "when": {
            "tenant": "acme",
            "tier": "gold",
            "label": {"team": "search"},
            "budget_used": {"min": "80%"},
        },
        "strategy": "weighted",
        "sticky": "user",
        "targets": {"gpt-4o": 90, "claude": 10, "blind": 0},
    },
    "order": ["claude", "gpt-4o", "spare"],
    "tier": "gold",
    "facts": {"budget_used": 0.83, "input_tokens": 120},
    "passed_over": [
        {"model": "blind", "provider": "other", "reason": "cannot_take_it", "detail": "images"}
    ],
    "clamped_to": 64,
    "warnings": ["top_k is not known to openai"],
}


def a_request(**fields: Any) -> Request:
    """Two attempts: one was told to wait, the other answered."""
    record: UsageRecord = UsageRecordFactory.build(
        **{
            "decision": DECISION,
            "reserved": 900_000,
            "absorbed": 1_000,
            "labels": {"team": "search"},
            "attempts": 2,
            "error_code": "",
            **fields,
        }
    )
    first: Attempt = AttemptFactory.build(
        record_id=record.record_id,
        model="claude",
        provider="anthropic",
        credential="org-account",
        status=429,
        error_kind="rate_limit",
        error="Rate limit reached in organization org-a1b2c3d4e5 on requests.",
    )
    second: Attempt = AttemptFactory.build(
        record_id=record.record_id,
        ordinal=2,
        role="fallback",
        started_at=NOON + datetime.timedelta(milliseconds=20),
    )
    return Request(record, [first, second], ["01890a5d-ac96-774b-bcce-b302099a8057"])


def flat(told: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted name, but for mappings that are one value."""
    whole = {"labels", "route.when", "route.facts", "route.drawn"}
    fields: dict[str, Any] = {}
    for name, value in told.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path not in whole:
            fields |= flat(value, f"{path}.")
        else:
            fields[path] = value
    return fields


CHARGE_FIELDS = {
    *("charge", "prices.charge.currency", "prices.charge.version"),
    *("reservation.reserved", "reservation.absorbed"),
}
COST_FIELDS = {"cost", "margin", "prices.cost.currency", "prices.cost.version"}
NO_MONEY = {
    *("record_id", "request_id", "others", "started_at", "tenant", "project", "key_id", "key"),
    *("user", "tier", "alias", "endpoint", "stream", "labels", "status", "outcome", "ended_by"),
    *("error_code", "provider", "model", "upstream_model"),
    *("route.position", "route.when", "route.facts", "route.strategy", "route.sticky"),
    *("route.drawn", "route.targets", "route.fallbacks", "passed_over", "attempts", "cache"),
    *("guards", "usage.input_tokens", "usage.cached_input_tokens", "usage.cache_write_tokens"),
    *("usage.output_tokens", "usage.reasoning_tokens", "usage.source", "clamped_to"),
    *("charge_policy", "quarantined", "warnings", "latency_ms", "first_token_ms", "gateway_ms"),
}
SEEN = {
    Reader.TENANT: NO_MONEY | CHARGE_FIELDS,
    Reader.TENANT_WITH_COST: NO_MONEY | CHARGE_FIELDS | COST_FIELDS,
    Reader.SUPPORT: NO_MONEY,
    Reader.FINANCE: NO_MONEY | CHARGE_FIELDS | COST_FIELDS,
    Reader.ADMIN: NO_MONEY | CHARGE_FIELDS | COST_FIELDS,
}


@pytest.mark.once
@pytest.mark.parametrize("reader", Reader)
class TestWhoSeesWhat:
    def test_of_a_request(self, reader: Reader) -> None:
        assert set(flat(explain(a_request(), reader))) == SEEN[reader]

    def test_of_an_attempt(self, reader: Reader) -> None:
        [first, second] = explain(a_request(), reader)["attempts"]
        seen = {
            *("ordinal", "role", "provider", "model", "started_at", "status"),
            *("error_kind", "error", "latency_ms", "first_token_ms", "usage"),
        }
        seen |= {"charge"} & SEEN[reader] | {"cost"} & SEEN[reader]
        if reader not in (Reader.TENANT, Reader.TENANT_WITH_COST):
            seen.add("credential")
        assert set(first) == set(second) == seen

    def test_of_what_a_hedge_used(self, reader: Reader) -> None:
        asked = a_request()
        asked.attempts[0].usage = {"input_tokens": 7, "cost_price_version": "cost@2026-01-01"}
        asked.attempts[0].cost, asked.attempts[0].charge = 7_000, 8_000
        told = explain(asked, reader)["attempts"][0]
        assert told["usage"] == {"input_tokens": 7}
        assert told.get("charge") == ("0.000008" if "charge" in SEEN[reader] else None)
        assert told.get("cost") == ("0.000007" if "cost" in SEEN[reader] else None)

    def test_accounts_that_are_ours_stay_with_us(self, reader: Reader) -> None:
        text = json.dumps(explain(a_request(), reader))
        is_tenants = reader in (Reader.TENANT, Reader.TENANT_WITH_COST)
        assert ("org-a1b2c3d4e5" in text) is ("org-account" in text) is not is_tenants

    def test_how_much_of_a_budget_is_used_may_tell_of_the_gateways(self, reader: Reader) -> None:
        is_tenants = reader in (Reader.TENANT, Reader.TENANT_WITH_COST)
        facts = explain(a_request(), reader)["route"]["facts"]
        assert facts == {"input_tokens": 120} | ({} if is_tenants else {"budget_used": 0.83})

    def test_what_is_seen_is_the_same_for_all_of_them(self, reader: Reader) -> None:
        whole, told = flat(explain(a_request(), Reader.ADMIN)), flat(explain(a_request(), reader))
        redacted = {"record_id", "request_id", "attempts", "route.facts"}
        for name in told.keys() - redacted:
            assert told[name] == whole[name], name


@pytest.mark.once
class TestTheExplanation:
    def test_says_everything_to_an_admin(self) -> None:
        request = a_request()
        told = explain(request, Reader.ADMIN)
        assert told["record_id"] == str(request.record.record_id)
        assert told["started_at"] == "2026-10-15T12:00:00.000000Z"
        assert told["route"] == {
            "position": 1,
            "when": DECISION["route"]["when"],  # type: ignore[index]
            "facts": {"budget_used": 0.83, "input_tokens": 120},
            "strategy": "weighted",
            "sticky": "user",
            "drawn": {"model": "claude", "weight": 10},
            "targets": ["claude", "gpt-4o"],
            "fallbacks": ["spare"],
        }
        assert told["passed_over"] == DECISION["passed_over"]
        assert told["attempts"][0] == {
            "ordinal": 1,
            "role": "first",
            "provider": "anthropic",
            "model": "claude",
            "credential": "org-account",
            "started_at": "2026-10-15T12:00:00.000000Z",
            "status": 429,
            "error_kind": "rate_limit",
            "error": "Rate limit reached in organization org-a1b2c3d4e5 on requests.",
            "latency_ms": 800.0,
            "first_token_ms": None,
            "usage": None,
            "charge": None,
            "cost": None,
        }
        assert told["reservation"] == {"reserved": "0.0009", "absorbed": "0.000001"}
        assert (told["charge"], told["cost"], told["margin"]) == ("0.00054", "0.00045", "0.00009")
        assert told["prices"] == {
            "charge": {"currency": "USD", "version": "standard@2026-01-01"},
            "cost": {"currency": "USD", "version": "cost@2026-01-01"},
        }
        assert (told["clamped_to"], told["warnings"]) == (64, ["top_k is not known to openai"])
        assert (told["cache"], told["guards"]) == ("MISS", [])

    def test_knows_no_margin_between_two_currencies(self) -> None:
        assert explain(a_request(charge_currency="EUR"), Reader.ADMIN)["margin"] is None
        assert explain(a_request(charge=None), Reader.ADMIN)["margin"] is None

    def test_of_a_record_that_pins_nothing_still_stands(self) -> None:
        told = explain(a_request(decision={}), Reader.TENANT)
        assert told["route"] == {
            "position": None,
            "when": {},
            "facts": {},
            "strategy": None,
            "sticky": "",
            "drawn": None,
            "targets": [],
            "fallbacks": [],
        }
        assert (told["passed_over"], told["warnings"], told["clamped_to"]) == ([], [], None)

    def test_has_no_field_twice(self) -> None:
        for table in (FIELDS, ATTEMPT_FIELDS):
            names = [one.name for one in table]
            assert len(names) == len(set(names))
