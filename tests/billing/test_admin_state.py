"""The pages of limits and budgets, and adjusting them."""

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import counters
from billing.counters.asks import Ask
from billing.counters.memory import MemoryCounters
from billing.models import BudgetAdjustment
from tenants.models import Revision
from tests.admin_pages import gateway_with_admin, logged_in, page_of, press
from tests.factories import ProjectFactory, TenantFactory, UsageRecordFactory
from tests.fake_upstream import FakeUpstream
from tests.gateway_process import GatewayProcess, eventually
from tests.proxy.terms import USED, budget, terms

EURO = 10**9
MONTH = {"amount": "10", "period": "month"}
PAGE = "/admin/limits-and-budgets/"


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "running", None)


def acme(**terms: Any) -> None:
    TenantFactory.create(**{"budgets": [MONTH], **terms})


def page(client: Client, **query: str) -> str:
    return html.unescape(client.get(PAGE, {"tenant": "acme", **query}).content.decode())


def lines(client: Client, **query: str) -> list[dict[str, Any]]:
    """The rows of a page, as its tables get them."""
    groups = client.get(PAGE, {"tenant": "acme", **query}).context["groups"]
    return [line for group in groups for line in group["lines"]]


def adjust(client: Client, amount: str, reason: str = "A refund", place: int = 0) -> Any:
    return client.post(lines(client)[place]["adjust"], {"amount": amount, "reason": reason})


def problems_of(response: Any) -> str:
    if response.status_code == 302:
        return ""
    return html.unescape(response.context["form"].errors.as_text())


def staff(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


@pytest.mark.django_db
class TestPage:
    def test_a_row_says_how_a_budget_stands(self, admin_client: Client) -> None:
        acme()
        UsageRecordFactory.create(charge=2_500_000_000, started_at=timezone.now())
        (line,) = lines(admin_client)
        assert (line["scope"], line["rule"], line["kind"]) == (
            "The tenant acme",
            "10 USD per month",
            "hard",
        )
        assert [line[name]["exact"] for name in ("used", "reserved", "remaining")] == [
            "2.5",
            "0",
            "7.5",
        ]
        assert (line["used_percent"], line["percent"], line["level"]) == (25, "25", "low")
        assert line["timezone"] == "UTC"

    @pytest.mark.parametrize(
        ("charge", "level", "percent"),
        [(7, "low", "70"), (8, "high", "80"), (10, "full", "100"), (500, "full", "> 999")],
    )
    def test_a_bar_warns_before_it_is_full(
        self, admin_client: Client, charge: int, level: str, percent: str
    ) -> None:
        acme()
        UsageRecordFactory.create(charge=charge * EURO, started_at=timezone.now())
        (line,) = lines(admin_client)
        assert (line["level"], line["percent"]) == (level, percent)

    def test_the_gateways_own_are_shown_without_a_tenant(self, admin_client: Client) -> None:
        content = admin_client.get(PAGE).content.decode()
        assert "<h2>The gateway</h2>" in content
        assert "No limit or budget is set here." in content

    def test_an_unknown_tenant_is_said_to_be_so(self, admin_client: Client) -> None:
        assert "There is no tenant <b>initech</b>" in page(admin_client, tenant="initech")

    def test_one_user_can_be_looked_for(self, admin_client: Client) -> None:
        acme(budgets=[{**MONTH, "scope": "user"}])
        UsageRecordFactory.create(user="ada", started_at=timezone.now())
        assert [line["scope"] for line in lines(admin_client, user="bob")] == ["The user bob"]

    def test_a_users_name_is_no_markup(self, admin_client: Client) -> None:
        acme(budgets=[{**MONTH, "scope": "user"}])
        UsageRecordFactory.create(user="<script>x", started_at=timezone.now())
        content = admin_client.get(PAGE, {"tenant": "acme"}).content.decode()
        assert "<script>x" not in content
        assert "&lt;script&gt;x" in content

    def test_it_says_which_figures_are_from_the_records(self, admin_client: Client) -> None:
        acme()
        assert "† From the usage records" in page(admin_client)

    def test_the_index_and_each_tenants_page_lead_to_it(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        assert f'href="{PAGE}"' in admin_client.get(reverse("admin:index")).content.decode()
        assert f'href="{PAGE}?tenant=acme"' in admin_client.get(page_of(tenant)).content.decode()


@pytest.mark.django_db
class TestPermissions:
    def test_who_is_not_logged_in_is_sent_to(self, client: Client) -> None:
        for url in (PAGE, f"{PAGE}adjust/?counter=x"):
            assert "login" in client.get(url)["Location"]
            assert "login" in client.post(url)["Location"]

    def test_staff_without_a_permission_sees_nothing(self, client: Client) -> None:
        acme()
        staff(client, "add_budgetadjustment")
        assert client.get(PAGE, {"tenant": "acme"}).status_code == 403
        assert client.get(f"{PAGE}adjust/", {"counter": "x"}).status_code == 403
        assert PAGE not in client.get(reverse("admin:index")).content.decode()

    def test_who_may_look_may_not_adjust(self, client: Client, admin_client: Client) -> None:
        acme()
        url = lines(admin_client)[0]["adjust"]
        staff(client, "view_tenant")
        content = page(client)
        assert ("10 USD per month" in content, "Adjust" in content) == (True, False)
        assert client.get(url).status_code == 403
        assert client.post(url, {"amount": "1", "reason": "mine"}).status_code == 403
        assert not BudgetAdjustment.objects.exists()

    def test_who_may_do_both_adjusts(self, client: Client) -> None:
        acme()
        staff(client, "view_tenant", "add_budgetadjustment")
        assert problems_of(adjust(client, "1")) == ""
        assert BudgetAdjustment.objects.get().by == "someone"

    def test_a_form_without_a_token_of_the_page_is_refused(self, admin_user: User) -> None:
        acme()
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_user)
        assert adjust(strict, "1").status_code == 403
        assert not BudgetAdjustment.objects.exists()


@pytest.mark.django_db
class TestAdjusting:
    def test_it_is_written_down_with_who_and_why_and_heard_of(self, admin_client: Client) -> None:
        acme()
        before = dict(Revision.objects.values_list("name", "number")).get("adjustments", 0)
        response = adjust(admin_client, "-1.25", "Twice charged in our test")
        row = BudgetAdjustment.objects.get()
        assert (row.amount, row.reason, row.by, row.tenant) == (
            -1_250_000_000,
            "Twice charged in our test",
            "admin",
            "acme",
        )
        logged = LogEntry.objects.get()
        assert (logged.object_id, logged.change_message) == (str(row.pk), row.reason)
        assert Revision.objects.get(name="adjustments").number == before + 1
        assert response["Location"].startswith(f"{PAGE}?tenant=acme#")

    def test_the_page_shows_the_new_figure_and_the_form_what_was_done(
        self, admin_client: Client
    ) -> None:
        acme()
        adjust(admin_client, "4", "Paid by <card>")
        (line,) = lines(admin_client)
        assert (line["used"]["exact"], line["remaining"]["exact"]) == ("4", "6")
        earlier = admin_client.get(line["adjust"]).context["earlier"]
        assert [(one["amount"], one["reason"], one["by"]) for one in earlier] == [
            ("4", "Paid by <card>", "admin")
        ]

    def test_a_counter_that_runs_is_made_cold_at_once(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = MemoryCounters()
        monkeypatch.setattr(counters, "running", engine)
        acme()
        key = parse_qs(urlsplit(lines(admin_client)[0]["adjust"]).query)["counter"][0]
        engine._purses[key] = [EURO, 0, 0]
        assert lines(admin_client)[0]["used"]["exact"] == "1"
        adjust(admin_client, "3")
        assert engine._state(Ask(2, key, 0, 0)) is None
        assert lines(admin_client)[0]["used"]["exact"] == "3"

    def test_a_budget_of_tokens_is_adjusted_by_tokens(self, admin_client: Client) -> None:
        acme(budgets=[{"tokens": 1000, "period": "day"}])
        assert "not a whole number" in problems_of(adjust(admin_client, "1.5"))
        assert problems_of(adjust(admin_client, "300")) == ""
        assert lines(admin_client)[0]["remaining"]["exact"] == "700"

    def test_the_budget_of_the_row_is_adjusted_and_no_other(self, admin_client: Client) -> None:
        acme()
        ProjectFactory.create(tenant__name="acme", name="search", budgets=[MONTH])
        adjust(admin_client, "2", place=1)
        assert [line["used"]["exact"] for line in lines(admin_client)] == ["0", "2"]

    def test_one_users_budget_is_adjusted(self, admin_client: Client) -> None:
        acme(budgets=[{**MONTH, "scope": "user"}])
        url = lines(admin_client, user="a&b=c")[0]["adjust"]
        assert admin_client.post(url, {"amount": "2", "reason": "x"}).status_code == 302
        (line,) = lines(admin_client, user="a&b=c")
        assert line["used"]["exact"] == "2"

    @pytest.mark.parametrize(
        ("amount", "problem"),
        [
            ("", "This field is required."),
            ("0", "0 changes nothing"),
            ("a lot", "'a lot' is not a decimal number"),
            ("NaN", "is not a decimal number"),
            ("1e400", "is not below 9000000"),
            ("9000000", "is not below 9000000"),
            ("-9000000", "refused: 9000000 is not below 9000000"),
            ("--1", "'--1' is not a decimal number"),
            ("0.0000000001", "has more than 9 decimals"),
            ("8999999", "the budget would have used"),
        ],
    )
    def test_an_absurd_amount_is_refused_with_the_reason(
        self, admin_client: Client, amount: str, problem: str
    ) -> None:
        acme()
        UsageRecordFactory.create(charge=2 * EURO, started_at=timezone.now())
        assert problem in problems_of(adjust(admin_client, amount))
        assert not BudgetAdjustment.objects.exists()

    @pytest.mark.parametrize("amount", ["9" * 39, "9000000000000000", "-9000000000000000", "1e3"])
    def test_absurdly_many_tokens_are_refused(self, admin_client: Client, amount: str) -> None:
        acme(budgets=[{"tokens": 1000, "period": "day"}])
        assert "The amount is refused" in problems_of(adjust(admin_client, amount))

    @pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
    def test_a_reason_is_required_and_not_a_novel(self, admin_client: Client, reason: str) -> None:
        acme()
        assert "reason" in problems_of(adjust(admin_client, "1", reason))
        assert not BudgetAdjustment.objects.exists()

    def test_a_user_whose_name_the_column_cannot_hold_is_refused(
        self, admin_client: Client
    ) -> None:
        acme(budgets=[{**MONTH, "scope": "user"}])
        url = lines(admin_client, user="😀" * 256)[0]["adjust"]
        response = admin_client.post(url, {"amount": "1", "reason": "x"})
        assert "too long for an adjustment" in problems_of(response)

    def test_a_period_that_is_over_is_not_adjusted(self, admin_client: Client) -> None:
        acme()
        url = lines(admin_client)[0]["adjust"]
        stale = re.sub(r"month-\d+", "month-2020", url)
        response = admin_client.post(stale, {"amount": "1", "reason": "x"}, follow=True)
        assert "period is over" in response.content.decode()
        assert not BudgetAdjustment.objects.exists()


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    document = terms(upstream, {"acme": {"budgets": [budget(10 * EURO)]}})
    folder = tmp_path_factory.mktemp("states")
    with gateway_with_admin(folder, configuration=document) as process:
        yield process


@pytest.fixture
def admin(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with logged_in(gateway) as browser:
        yield browser


def used_on(browser: httpx.Client) -> str:
    content = browser.get(PAGE, params={"tenant": "acme"}).text
    (used,) = re.findall(r'data-label="Used"><span title="([^"]+)"', content)
    return str(used)


def test_what_was_spent_is_seen_and_what_is_adjusted_decides_the_next_request(
    gateway: GatewayProcess, admin: httpx.Client
) -> None:
    key = gateway.issue_key("acme")

    def ask() -> int:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
        with httpx.Client(base_url=gateway.url, headers=key.headers, trust_env=False) as caller:
            return caller.post("/chat/strict", json=body, timeout=30).status_code

    assert ask() == 200
    assert used_on(admin) == f"{USED / EURO:.9f}".rstrip("0")
    content = admin.get(PAGE, params={"tenant": "acme"}).text
    url = html.unescape(re.findall(r'href="([^"]+/adjust/[^"]+)"', content)[0])
    gateway.wait_for_records(1, tenant="acme")

    press(admin, url, amount="10", reason="Spent elsewhere")
    assert used_on(admin) == f"{10 + USED / EURO:.9f}".rstrip("0")
    assert ask() == 429
    press(admin, url, amount="-10", reason="It was not")
    assert used_on(admin) == f"{USED / EURO:.9f}".rstrip("0")
    assert ask() == 200


def test_a_suspended_tenant_is_refused_within_a_second_and_a_resumed_one_served(
    gateway: GatewayProcess, admin: httpx.Client
) -> None:
    key = gateway.issue_key("acme", "other")
    (tenant,) = gateway.clerk.rows("tenants.Tenant", name="acme")
    button = {"_selected_action": str(tenant["id"]), "from_page": "yes"}

    def answers(status: int) -> bool | None:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
        url = f"{gateway.url}/chat/strict"
        answer = httpx.post(url, json=body, headers=key.headers, trust_env=False, timeout=30)
        return True if answer.status_code == status else None

    assert answers(200)
    press(admin, "/admin/tenants/tenant/", action="suspend", confirmed="yes", **button)
    eventually(lambda: answers(403), within=1.0, what="the suspension")
    press(admin, "/admin/tenants/tenant/", action="resume", **button)
    eventually(lambda: answers(200), within=1.0, what="the resumption")
