"""Price books and usage, in the admin."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from billing.models import (
    Attempt,
    BudgetAdjustment,
    PriceBook,
    PriceVersion,
    RefusalCount,
    UsageRecord,
)
from tests.admin_pages import list_of, new_page_of, page_of, problems_on, said, save, staff
from tests.factories import (
    AttemptFactory,
    BudgetAdjustmentFactory,
    ModelFactory,
    PriceBookFactory,
    PriceFactory,
    PriceVersionFactory,
    RefusalCountFactory,
    UsageRecordFactory,
)

pytestmark = pytest.mark.django_db

NEW_YEAR = {"effective_0": "2026-01-01", "effective_1": "00:00:00"}


class TestPriceBooks:
    def test_currency_and_base_are_fixed(self, admin_client: Client) -> None:
        book = PriceBookFactory.create(currency="USD")
        save(admin_client, page_of(book), {"currency": "EUR", "fallback": "catalogue"})
        book.refresh_from_db()
        assert (book.currency, book.fallback) == ("USD", "catalogue")

    def test_a_book_is_not_deleted(self, admin_client: Client) -> None:
        book = PriceBookFactory.create()
        assert admin_client.post(page_of(book).replace("change", "delete")).status_code == 403

    def test_a_currency_is_three_capitals(self, admin_client: Client) -> None:
        changes = {"name": "standard", "currency": "usd"}
        assert problems_on(save(admin_client, new_page_of(PriceBook), changes)) != ""


class TestPriceVersions:
    def _add(self, client: Client, price: str, **more: str) -> str:
        changes = {"book": PriceBookFactory.create().pk, **NEW_YEAR, "markup": "0.2"}
        prices = {"prices-0-model": "gpt-4o", "prices-0-input": price}
        return problems_on(save(client, new_page_of(PriceVersion), changes | prices | more))

    def test_a_version_is_added_with_its_prices(self, admin_client: Client) -> None:
        ModelFactory.create(name="gpt-4o")
        assert self._add(admin_client, "2.5") == ""
        version = PriceVersion.objects.get()
        assert version.effective == datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        assert (version.label, version.markup) == ("cost@2026-01-01", Decimal("0.2"))
        assert version.prices.get().input == Decimal("2.5")

    def test_other_prices_for_a_date_are_a_new_revision(self, admin_client: Client) -> None:
        ModelFactory.create(name="gpt-4o")
        self._add(admin_client, "2.5")
        self._add(admin_client, "3")
        first, second = PriceVersion.objects.order_by("revision")
        assert (first.withdrawn_at is None, second.withdrawn_at is None) == (False, True)
        assert second.label == "cost@2026-01-01.2"
        assert first.prices.get().input == Decimal("2.5")

    def test_a_price_for_no_model_is_refused(self, admin_client: Client) -> None:
        assert "there is no model 'gpt-4o'" in self._add(admin_client, "1")
        assert not PriceVersion.objects.exists()

    def test_a_model_has_one_price(self, admin_client: Client) -> None:
        ModelFactory.create(name="gpt-4o")
        twice = {"prices-1-model": "gpt-4o", "prices-1-input": "1"}
        assert "This stands here twice." in self._add(admin_client, "1", **twice)

    def test_a_version_is_never_edited_or_deleted(self, admin_client: Client) -> None:
        price = PriceFactory.create()
        url = page_of(price.version)
        assert admin_client.get(url).status_code == 200
        assert admin_client.post(url, {"markup": "9"}).status_code == 403
        assert admin_client.post(url.replace("change", "delete")).status_code == 403

    def test_its_book_shows_it(self, admin_client: Client) -> None:
        version = PriceVersionFactory.create()
        content = admin_client.get(page_of(version.book)).content.decode()
        assert "cost@2026-01-01" in content


class TestRecords:
    @pytest.mark.parametrize(
        ("factory", "model"),
        [
            (UsageRecordFactory, UsageRecord),
            (AttemptFactory, Attempt),
            (RefusalCountFactory, RefusalCount),
            (BudgetAdjustmentFactory, BudgetAdjustment),
        ],
    )
    def test_they_are_only_read(self, admin_client: Client, factory: Any, model: Any) -> None:
        row = factory.create()
        assert admin_client.get(page_of(row)).status_code == 200
        assert admin_client.get(new_page_of(model)).status_code == 403
        assert admin_client.post(page_of(row), {}).status_code == 403
        assert admin_client.post(page_of(row).replace("change", "delete")).status_code == 403
        action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
        admin_client.post(list_of(model), action)
        assert model.objects.count() == 1

    def test_the_list_shows_money_in_units(self, admin_client: Client) -> None:
        UsageRecordFactory.create()
        UsageRecordFactory.create(charge=None)
        content = admin_client.get(list_of(UsageRecord)).content.decode()
        assert "0.00054 USD" in content
        assert "812 ms" in content

    def test_adjustments_are_of_money_or_of_tokens(self, admin_client: Client) -> None:
        BudgetAdjustmentFactory.create(amount=-1_500_000_000)
        BudgetAdjustmentFactory.create(counter="{gw}||tokens|UTC|total", tenant="", amount=700)
        content = admin_client.get(list_of(BudgetAdjustment)).content.decode()
        assert ">-1.5<" in content
        assert ">700 tokens<" in content
        assert "(gateway)" in content

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({"outcome": "failed"}, 1),
            ({"outcome": "completed"}, 2),
            ({"usage_source": "counted"}, 0),
            ({"q": "request-x"}, 1),
            ({"q": "globex"}, 1),
            ({"q": "01890a5d-ac96-774b-bcce-b302099a8057"}, 1),
            ({"q": "01890a5d"}, 0),
        ],
    )
    def test_records_are_found_by_what_they_are(
        self, admin_client: Client, asked: dict[str, str], found: int
    ) -> None:
        UsageRecordFactory.create(outcome="failed")
        UsageRecordFactory.create(request_id="request-x", tenant="globex")
        UsageRecordFactory.create(record_id="01890a5d-ac96-774b-bcce-b302099a8057")
        rows = admin_client.get(list_of(UsageRecord), asked).context["cl"].result_list
        assert len(rows) == found

    def test_the_list_neither_counts_nor_reads_the_whole_table(
        self, admin_client: Client, django_assert_max_num_queries: Any
    ) -> None:
        UsageRecordFactory.create_batch(60)
        with django_assert_max_num_queries(6) as queries:
            response = admin_client.get(list_of(UsageRecord))
        assert len(response.context["cl"].result_list) == 50
        usage = [q["sql"] for q in queries.captured_queries if "billing_usagerecord" in q["sql"]]
        assert len(usage) == 2
        assert all("LIMIT" in sql for sql in usage)

    def test_a_record_shows_what_was_tried(self, admin_client: Client) -> None:
        record = UsageRecordFactory.create()
        AttemptFactory.create(record_id=record.record_id, error_kind="timeout", status=None)
        AttemptFactory.create(record_id=record.record_id, ordinal=2, role="<b>fallback</b>")
        content = admin_client.get(page_of(record)).content.decode()
        assert "1. first: gpt-4o at openai, timeout" in content
        assert "&lt;b&gt;fallback" in content


class TestWhoMaySeeMoney:
    """Staff with `billing.view_money`; others see the records that they may without amounts."""

    AMOUNTS = ("123456789", "0.123456789", "987654321", "0.987654321", "cost@2026-01-01")

    @pytest.fixture
    def tried(self) -> Attempt:
        record = UsageRecordFactory.create(charge=540_000)
        use = {"input_tokens": 5, "usage_source": "provider", "cost_price_version": self.AMOUNTS[4]}
        tried: Attempt = AttemptFactory.create(
            record_id=record.record_id, role="hedge", cost=123456789, charge=987654321, usage=use
        )
        return tried

    def test_others_see_no_amounts_of_attempts(self, tried: Attempt) -> None:
        record = UsageRecord.objects.get()
        client = staff("view_attempt", "view_usagerecord")
        for url in (list_of(Attempt), page_of(tried), list_of(UsageRecord), page_of(record)):
            response = client.get(url)
            assert response.status_code == 200
            assert not [amount for amount in self.AMOUNTS if amount in said(response)], url

    def test_who_may_sees_them(self, tried: Attempt) -> None:
        shown = said(staff("view_attempt", "view_money").get(page_of(tried)))
        assert all(amount in shown for amount in ("123456789", "987654321", "cost@2026-01-01"))

    @pytest.mark.parametrize(
        ("model", "lookup", "value"),
        [
            (UsageRecord, "charge__gte", 540_000),
            (UsageRecord, "charge__gte", 540_001),
            (UsageRecord, "cost_price_version__startswith", "c"),
            (Attempt, "cost", 123456789),
            (Attempt, "charge__gt", 1),
            (Attempt, "usage__input_tokens", 5),
        ],
    )
    @pytest.mark.usefixtures("tried")
    def test_others_cannot_find_out_by_asking(self, model: Any, lookup: str, value: object) -> None:
        permissions = ("view_attempt", "view_usagerecord")
        asked = {lookup: value}
        assert staff(*permissions).get(list_of(model), asked).status_code == 400
        assert staff(*permissions, "view_money").get(list_of(model), asked).status_code == 200
