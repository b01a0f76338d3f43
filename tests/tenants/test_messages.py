"""An event as its recipients read it."""

import json

import pytest

from tenants import messages
from tenants.events import NAMES, BudgetState, Event, budget_threshold
from tests.factories import NOON

EVENT = budget_threshold(
    tenant="acme",
    state=BudgetState(
        budget="project/<search> & more",
        period="month",
        period_start=NOON,
        resets_at=None,
        amount="500",
        used="400.12",
        unit="USD",
    ),
    threshold="80%",
    now=NOON,
)


def test_the_standard_form() -> None:
    assert json.loads(messages.standard(EVENT)) == {
        "type": "budget.threshold",
        "timestamp": "2026-10-15T12:00:00Z",
        "data": {
            "tenant": "acme",
            "budget": "project/<search> & more",
            "period": "month",
            "period_start": "2026-10-15T12:00:00Z",
            "resets_at": None,
            "amount": "500",
            "used": "400.12",
            "unit": "USD",
            "threshold": "80%",
        },
    }


def test_slack_gets_text_and_blocks_and_no_mentions() -> None:
    message = json.loads(messages.slack(EVENT))
    assert message["text"] == (
        "acme has used 80% of the budget project/&lt;search&gt; &amp; more: "
        "400.12 of 500 USD (period: month)"
    )
    first, second = message["blocks"]
    assert first["text"]["text"].startswith("*budget.threshold*\nacme has used 80%")
    assert {"type": "mrkdwn", "text": "*used*\n400.12"} in second["fields"]
    assert "<search>" not in messages.slack(EVENT)


def test_slack_takes_ten_fields_and_two_thousand_characters() -> None:
    event = Event("x", "acme", "k", NOON, {str(number): "y" * 5000 for number in range(20)})
    _, facts = json.loads(messages.slack(event))["blocks"]
    assert len(facts["fields"]) == 10
    assert all(len(one["text"]) <= 2000 for one in facts["fields"])


def test_mail_is_plain_and_its_subject_one_line() -> None:
    odd = Event("provider.down", "", "k", NOON, {"provider": "open\r\nBcc: x@y", "reason": "5xx"})
    subject, body = messages.email(odd)
    assert subject == "[gateway] The provider open Bcc: x@y is down since ?: 5xx"
    assert "timestamp: 2026-10-15T12:00:00Z" in body
    assert "tenant:" not in body
    assert "tenant: acme" in messages.email(EVENT)[1]


@pytest.mark.parametrize("name", [*NAMES, "of.tomorrow"])
def test_every_event_has_a_line_even_without_its_data(name: str) -> None:
    line = messages.headline(Event(name, "acme", "k", NOON))
    assert line
    assert "{" not in line
    assert (line == name) is (name == "of.tomorrow")
