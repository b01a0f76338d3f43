"""The admin's page that explains a request, and who sees money there and on usage records."""

import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from billing.models import UsageRecord
from tests.admin_pages import list_of, page_of
from tests.billing.test_explain import DECISION
from tests.factories import NOON, AttemptFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db

AMOUNTS = {"charge": "0.00054", "cost": "0.00045", "margin": "0.00009", "reserved": "0.0009"}
PRICES = ("standard@2026-01-01", "cost@2026-01-01")


def explained(record: UsageRecord) -> str:
    return page_of(record).replace("change", "explain")


def staff(*permissions: str) -> Client:
    """Somebody who may see usage records, and what is named."""
    user = User.objects.create_user("somebody", is_staff=True)
    names = ("view_usagerecord", *permissions)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def record() -> UsageRecord:
    """A request that the second of its attempts answered."""
    row: UsageRecord = UsageRecordFactory.create(
        decision=DECISION, reserved=900_000, attempts=2, labels={"team": "search"}
    )
    AttemptFactory.create(
        record_id=row.record_id,
        model="claude",
        provider="anthropic",
        status=429,
        error_kind="rate_limit",
        error="Slow <down>.",
        latency_us=100,
    )
    AttemptFactory.create(
        record_id=row.record_id,
        ordinal=2,
        role="fallback",
        started_at=NOON + datetime.timedelta(milliseconds=406.25),
        latency_us=406_250,
    )
    return row


class TestThePage:
    def test_is_reached_from_its_record(self, admin_client: Client, record: UsageRecord) -> None:
        assert explained(record) in admin_client.get(page_of(record)).content.decode()

    def test_lays_out_the_decision(self, admin_client: Client, record: UsageRecord) -> None:
        content = admin_client.get(explained(record)).content.decode()
        for said in (
            "by route 1 of pro",
            "<code>tenant: acme</code>",
            "<code>label: team=search</code>",
            "<code>input tokens: 120</code>",
            "weighted, sticky by user",
            "claude (weight 10)",
            "<b>blind</b> at other was passed over: it cannot take the input (images)",
            "64 tokens",
            "top_k is not known to openai",
            "<b>claude</b> at anthropic, with main",
            "rate_limit, 429",
            "Slow &lt;down&gt;.",
            "for the use itself",
        ):
            assert said in content, said

    def test_draws_the_attempts_where_they_were_in_time(
        self, admin_client: Client, record: UsageRecord
    ) -> None:
        first, second = admin_client.get(explained(record)).context["attempts"]
        assert (first["start"], first["width"], first["began_ms"]) == ("0.00", "0.60", 0.0)
        assert (second["start"], second["width"], second["began_ms"]) == ("50.00", "50.00", 406.25)

    def test_of_a_request_that_died_says_so(self, admin_client: Client) -> None:
        record = UsageRecordFactory.create(
            status=0, outcome="interrupted", ended_by="gateway", charge=None, cost=None
        )
        content = admin_client.get(explained(record)).content.decode()
        assert "the gateway died while the request was under way" in content
        assert "no price" in content

    def test_of_no_record_is_not_there(self, admin_client: Client, record: UsageRecord) -> None:
        url = explained(record)
        for other in ("01890a5d-ac96-774b-bcce-b302099a8057", "nonsense"):
            missing = admin_client.get(url.replace(str(record.pk), other))
            assert missing.status_code == 404

    def test_is_for_those_who_may_see_usage_records(self, record: UsageRecord) -> None:
        stranger = staff()
        User.objects.get().user_permissions.clear()
        assert stranger.get(explained(record)).status_code == 403
        assert Client().get(explained(record)).status_code == 302


class TestMoney:
    def test_is_explained_to_those_who_may_see_it(
        self, admin_client: Client, record: UsageRecord
    ) -> None:
        for client in (admin_client, staff("view_money")):
            content = client.get(explained(record)).content.decode()
            for said in (*AMOUNTS.values(), *PRICES):
                assert said in content, said

    def test_is_left_out_for_others(self, record: UsageRecord) -> None:
        client = staff()
        for url in (explained(record), page_of(record), list_of(UsageRecord)):
            response = client.get(url)
            assert response.status_code == 200
            content = response.content.decode()
            for said in (*AMOUNTS.values(), *PRICES, "540000", "450000", "900000", "USD"):
                assert said not in content, (url, said)

    def test_has_its_place_on_the_list_and_the_record(
        self, admin_client: Client, record: UsageRecord
    ) -> None:
        for client in (admin_client, staff("view_money")):
            assert "0.00054 USD" in client.get(list_of(UsageRecord)).content.decode()
            content = client.get(page_of(record)).content.decode()
            assert "540000" in content
            assert "standard@2026-01-01" in content

    def test_of_all_columns_of_money_none_is_forgotten(self, record: UsageRecord) -> None:
        """Whatever holds an amount, a currency or a price is named by one of these words."""
        shown: Any = staff().get(page_of(record)).context["adminform"]
        names = {name for fieldset in shown for line in fieldset for name in line.fields}
        words = ("cost", "charge", "currency", "price", "reserved", "absorbed")
        assert {name for name in names if any(word in name for word in words)} == {"charge_policy"}
