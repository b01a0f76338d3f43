"""Amounts are for those with `billing.view_money`, also of attempts and in addresses."""

import pytest

from billing.models import Attempt, UsageRecord
from tests.admin_pages import list_of, page_of
from tests.factories import AttemptFactory, UsageRecordFactory
from tests.routing.test_admin_versions import said, staff

pytestmark = pytest.mark.django_db


def test_attempts_show_no_amount_to_support() -> None:
    used = {"input_tokens": 5, "cost_price_version": "cost@2026-01-01", "usage_source": "provider"}
    attempt = AttemptFactory.create(role="hedge", cost=123_456_789, charge=987_654_321, usage=used)
    client = staff("view_attempt", "view_usagerecord")
    for page in (list_of(Attempt), page_of(attempt)):
        shown = said(client.get(page))
        assert str(attempt.record_id) in shown
        assert not any(one in shown for one in ("123456789", "987654321", "cost@2026"))
    finance = staff("view_attempt", "view_usagerecord", "view_money")
    assert "123456789" in said(finance.get(page_of(attempt)))


def test_support_does_not_learn_amounts_by_asking_for_them() -> None:
    record = UsageRecordFactory.create()
    client = staff("view_usagerecord")
    for least in (record.charge, record.charge + 1):
        address = f"{list_of(UsageRecord)}?charge__gte={least}"
        assert str(record.record_id) not in said(client.get(address))
