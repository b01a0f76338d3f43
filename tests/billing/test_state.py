"""How limits and budgets stand: which there are, and their figures."""

import datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from billing import counters
from billing.budgets import Period, Purse, period_at
from billing.counters import reading
from billing.counters.asks import Admitted, Ask, CountersAway, Hold
from billing.counters.memory import MemoryCounters
from billing.owners import currency_of, owners_of, owners_of_gateway
from billing.plans import Terms
from billing.scopes import Scope
from billing.standing import Standing, standings
from billing.state import Figures, Owner, Row, asked, rows_of, rules_of
from billing.wording import (
    amount_in_short,
    amount_in_words,
    reset_in_words,
    rule_in_words,
    scope_in_words,
)
from routing.models import GatewaySettings
from tenants.models import Tenant
from tests.factories import (
    BudgetAdjustmentFactory,
    KeyFactory,
    KeyPolicyFactory,
    ModelFactory,
    PriceBookFactory,
    ProjectFactory,
    ProviderFactory,
    TenantFactory,
    TierFactory,
    UsageRecordFactory,
)

EURO = 10**9
NO_PERIOD = Period("", 0, 0)
MONTH = {"amount": "10", "period": "month"}


class Clock:
    def __init__(self) -> None:
        self.now = 10**6

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> MemoryCounters:
    """The counters of a worker that has run for two days."""
    running = MemoryCounters(clock)
    clock.now += 2 * 86_400_000
    monkeypatch.setattr(counters, "running", running)
    return running


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "running", None)


def owner(limits: Any = None, budgets: Any = (), scope: Scope | None = None) -> Owner:
    return Owner(scope or Scope("acme"), Terms(limits or {}, budgets), "UTC")


def row(limits: Any = None, budgets: Any = (), user: str = "ada", **more: Any) -> Row:
    """The one row that these make."""
    mine = owner(limits, budgets, **more)
    (rule,) = rules_of(mine)
    now = timezone.now().timestamp()
    period = period_at(rule.period, "UTC", now) if isinstance(rule, Purse) else NO_PERIOD
    (found,) = rows_of(mine, rule, [("acme", user)], period)
    return found


def said_of(found: list[Standing]) -> list[tuple[str, str]]:
    return [(one.row.group, f"{scope_in_words(one.row)}: {said(one.row)}") for one in found]


def said(row: Row) -> str:
    return rule_in_words(row, "EUR")


def of_acme(**options: Any) -> list[Standing]:
    tenant = Tenant.objects.select_related("tier", "price_book").get(name="acme")
    return standings(owners_of(tenant), **options)


class TestWords:
    @pytest.mark.parametrize(
        ("limits", "budgets", "words"),
        [
            ({"requests_per_minute": 1500}, [], "1,500 requests per minute"),
            (
                {"tokens_per_day": {"amount": 9000, "burst": 100}},
                [],
                "9,000 tokens per day, at most 100 at once",
            ),
            ({"concurrency": 3}, [], "3 requests at once"),
            ({}, [{"amount": "1234.50", "period": "week"}], "1,234.5 EUR per week"),
            ({}, [{"tokens": 1_000_000, "period": "total"}], "1,000,000 tokens in all"),
        ],
    )
    def test_a_rule_says_how_much_of_what_and_when(
        self, limits: Any, budgets: Any, words: str
    ) -> None:
        assert said(row(limits, budgets)) == words

    @pytest.mark.parametrize(
        ("scope", "words"),
        [
            (Scope("acme"), "The tenant acme"),
            (Scope(""), "The gateway"),
            (Scope("acme").narrowed("project", "search"), "The project search"),
            (
                Scope("acme").narrowed("project", "search").narrowed("alias", "pro"),
                "The alias pro of the project search",
            ),
            (Scope("acme").narrowed("label:team", "search"), "The label team=search"),
            (Scope("acme", per_user=True), "The user ada"),
            (Scope("", per_user=True), "The user ada of the tenant acme"),
        ],
    )
    def test_a_scope_is_said_without_whose_page_it_is(self, scope: Scope, words: str) -> None:
        assert scope_in_words(row({"concurrency": 1}, scope=scope)) == words

    def test_requests_without_a_user_are_said_to_be_so(self) -> None:
        assert scope_in_words(row({"per_user": {"concurrency": 1}}, user="")) == (
            "Requests without a user"
        )

    @pytest.mark.parametrize(
        ("amount", "short", "exact"),
        [
            (1_234_567_890_500, "1,234.567891", "1,234.5678905"),
            (-500_000_000, "-0.5", "-0.5"),
            (-1_500, "-0.000002", "-0.0000015"),
            (499, "0.000000499", "0.000000499"),
            (0, "0", "0"),
        ],
    )
    def test_money_is_short_and_also_exact(self, amount: int, short: str, exact: str) -> None:
        budget = row(budgets=[MONTH])
        assert amount_in_short(budget, amount) == short
        assert amount_in_words(budget, amount) == exact

    @pytest.mark.parametrize(
        ("used", "words"),
        [(0, "full"), (-5, "full"), (1, "full again in 60 s"), (90, "full again in 90 min")],
    )
    def test_a_bucket_says_when_it_is_full_again(self, used: int, words: str) -> None:
        minute = row({"requests_per_minute": 1})
        assert reset_in_words(minute, Figures(used, 0, 1, False)) == words

    def test_a_period_ends_in_its_own_timezone(self) -> None:
        budget = {**MONTH, "timezone": "Asia/Tokyo"}
        mine = owner(budgets=[budget])
        (rule,) = rules_of(mine)
        assert isinstance(rule, Purse)
        moment = datetime.datetime(2026, 11, 30, 14, 59, tzinfo=datetime.UTC).timestamp()
        (found,) = rows_of(mine, rule, [], period_at("month", "Asia/Tokyo", moment))
        assert reset_in_words(found, Figures(0, 0, 1, False)) == "1 Dec 2026, 00:00"


class TestFigures:
    def test_what_remains_is_neither_used_nor_reserved(self) -> None:
        figures = Figures(40, 25, 100, False)
        assert (figures.remaining, figures.percent_taken, figures.percent(40)) == (35, 65, 40)

    def test_an_overdrawn_budget_remains_below_nothing(self) -> None:
        figures = Figures(150, 0, 100, False)
        assert (figures.remaining, figures.percent_taken, figures.percent(150)) == (-50, 150, 100)

    def test_a_budget_with_room_from_an_adjustment_is_not_used(self) -> None:
        figures = Figures(-50, 0, 100, False)
        assert (figures.remaining, figures.percent_taken) == (150, 0)

    def test_a_budget_of_nothing_is_all_used(self) -> None:
        assert Figures(0, 0, 0, False).percent_taken == 100

    def test_of_two_limits_of_one_counter_the_narrower_is_shown(self) -> None:
        wide, narrow = row({"requests_per_minute": 9}), row({"requests_per_minute": 3})
        budgets = [row(budgets=[MONTH]), row(budgets=[MONTH])]
        assert asked([wide, narrow, *budgets]) == [narrow, *budgets]


class TestRunningCounters:
    async def _spend(self, engine: MemoryCounters, *asks: Ask) -> Hold:
        for ask in asks:
            await engine.warm(ask, 0, ())
        hold = Hold("a-request", list(asks))
        assert type(await engine.admit(hold)) is Admitted
        return hold

    async def test_a_bucket_that_nobody_has_used_is_full(self, engine: MemoryCounters) -> None:
        assert await engine.read([row({"requests_per_minute": 5}).ask]) == [(0, 0)]

    async def test_a_bucket_is_cold_while_its_window_may_know_of_more(
        self, engine: MemoryCounters
    ) -> None:
        engine._began = engine._clock() - 59_000
        limits: list[Any] = [{"requests_per_minute": 5}, {"requests_per_second": 5}]
        assert await engine.read([row(limit).ask for limit in limits]) == [None, (0, 0)]

    async def test_looking_through_a_wider_limit_fills_no_bucket(
        self, engine: MemoryCounters, clock: Clock
    ) -> None:
        narrow, wide = row({"requests_per_minute": 6}), row({"requests_per_minute": 6_000})
        await self._spend(engine, narrow.ask._replace(take=6))
        clock.now += 10_000
        await engine.read([wide.ask])
        assert await engine.read([narrow.ask]) == [(5, 0)]

    def test_nothing_is_known_where_no_worker_runs(self) -> None:
        assert reading.states([row({"concurrency": 1}).ask]) == [None]
        reading.forget(["{t1}acme"])

    def test_nothing_is_known_while_the_store_is_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Away:
            async def read(self, asks: Any) -> Any:
                raise CountersAway("gone")

            async def forget(self, keys: Any) -> None:
                raise CountersAway("gone")

        monkeypatch.setattr(counters, "running", Away())
        assert reading.states([row({"concurrency": 1}).ask]) == [None]
        reading.forget(["{t1}acme"])


@pytest.mark.django_db
class TestWhatThereIs:
    def test_a_tenant_has_its_own_and_those_of_all_that_is_its(self) -> None:
        tenant = TenantFactory.create(
            tier=TierFactory.create(name="gold", limits={"concurrency": 9}),
            limits={
                "requests_per_minute": 60,
                "per_alias": {"pro": {"requests_per_minute": 6}},
                "per_model": {"gpt-4o": {"tokens_per_hour": 7}},
            },
            budgets=[MONTH, {**MONTH, "scope": "label:team=search"}],
        )
        ProjectFactory.create(tenant=tenant, name="search", budgets=[MONTH])
        KeyPolicyFactory.create(tenant=tenant, name="frontend", limits={"concurrency": 2})
        provider = ProviderFactory.create(tenant=tenant, name="own", limits={"concurrency": 4})
        ModelFactory.create(
            tenant=tenant, name="tuned", provider=provider, limits={"concurrency": 3}
        )
        ModelFactory.create(name="gpt-4o", limits={"concurrency": 99})
        assert sorted(said_of(of_acme())) == [
            ("", "The tenant acme: 10 EUR per month"),
            ("", "The tenant acme: 60 requests per minute"),
            ("", "The tenant acme: 9 requests at once"),
            ("alias", "The alias pro: 6 requests per minute"),
            ("key", "The key frontend: 2 requests at once"),
            ("label", "The label team=search: 10 EUR per month"),
            ("model", "The model gpt-4o: 7 tokens per hour"),
            ("model", "The model tuned: 3 requests at once"),
            ("project", "The project search: 10 EUR per month"),
            ("provider", "The provider own: 4 requests at once"),
        ]

    def test_the_gateway_has_those_of_its_providers_and_models(self) -> None:
        GatewaySettings.objects.create(limits={"requests_per_second": 5}, budgets=[MONTH])
        tenant = TenantFactory.create()
        ProviderFactory.create(name="openai", limits={"concurrency": 4})
        ProviderFactory.create(tenant=tenant, name="own", limits={"concurrency": 1})
        ModelFactory.create(name="gpt-4o", limits={"tokens_per_minute": 8})
        assert sorted(said_of(standings(owners_of_gateway()))) == [
            ("", "The gateway: 10 EUR per month"),
            ("", "The gateway: 5 requests per second"),
            ("model", "The model gpt-4o: 8 tokens per minute"),
            ("provider", "The provider openai: 4 requests at once"),
        ]

    def test_a_soft_and_a_hard_budget_of_one_scope_are_two_rows_of_one_counter(self) -> None:
        TenantFactory.create(budgets=[MONTH, {"amount": "5", "period": "month", "hard": False}])
        first, second = of_acme()
        assert first.row.ask.key == second.row.ask.key
        assert (first.row.amount, second.row.amount) == (10 * EURO, 5 * EURO)

    def test_each_user_has_a_row_and_who_used_most_comes_first(self) -> None:
        TenantFactory.create(budgets=[{**MONTH, "scope": "user"}])
        for number in range(25):
            UsageRecordFactory.create(
                user=f"user-{number:02}", charge=number * EURO, started_at=timezone.now()
            )
        found = of_acme()
        assert len(found) == 20
        assert scope_in_words(found[0].row) == "The user user-24"
        assert [one.figures.used for one in found] == [n * EURO for n in range(24, 4, -1)]

    def test_one_user_is_found_who_is_not_among_them(self) -> None:
        TenantFactory.create(budgets=[{**MONTH, "scope": "user"}])
        UsageRecordFactory.create(user="ada", charge=3 * EURO, started_at=timezone.now())
        (ada,) = of_acme(user="ada")
        (nobody,) = of_acme(user="nobody-yet")
        assert (ada.figures.used, nobody.figures.used) == (3 * EURO, 0)

    def test_a_user_of_the_gateway_is_told_apart_by_the_tenant(self) -> None:
        GatewaySettings.objects.create(budgets=[{**MONTH, "scope": "user"}])
        for name in ("acme", "globex"):
            UsageRecordFactory.create(tenant=name, user="ada", cost=5, started_at=timezone.now())
        assert [scope_in_words(one.row) for one in standings(owners_of_gateway(), user="ada")] == [
            "The user ada of the tenant acme",
            "The user ada of the tenant globex",
        ]

    def test_users_of_keys_with_another_tier_have_its_budget(self) -> None:
        tenant = TenantFactory.create(tier=TierFactory.create(name="gold"))
        TierFactory.create(name="trial", budgets=[MONTH])
        key = KeyFactory.create(tenant=tenant, tier="trial")
        for user, key_id in (("trying", key.key_id), ("paying", "another")):
            UsageRecordFactory.create(user=user, key_id=key_id, started_at=timezone.now())
        assert said_of(of_acme()) == [("user", "The user trying (tier trial): 10 EUR per month")]

    def test_a_tenant_is_charged_in_the_currency_of_its_price_book(self) -> None:
        euro = PriceBookFactory.create(name="standard", currency="EUR")
        assert currency_of(TenantFactory.create(price_book=euro)) == "EUR"
        assert currency_of(TenantFactory.create(name="globex", price_book=None)) == "USD"


@pytest.mark.django_db
class TestNumbers:
    def _settle(self, **options: Any) -> None:
        UsageRecordFactory.create(**{"charge": EURO, "started_at": timezone.now(), **options})

    def test_a_cold_budget_is_counted_from_the_records_and_adjustments(self) -> None:
        TenantFactory.create(budgets=[MONTH])
        self._settle()
        self._settle(started_at=timezone.now() - datetime.timedelta(days=40))
        self._settle(tenant="globex")
        (before,) = of_acme()
        BudgetAdjustmentFactory.create(counter=before.row.ask.key, amount=2 * EURO)
        (after,) = of_acme()
        assert (before.figures.used, after.figures.used) == (EURO, 3 * EURO)
        assert after.figures.from_records

    @pytest.mark.parametrize("value", ["search", "1", "true", "a:b/c"])
    def test_a_cold_budget_of_a_label_counts_what_bears_it(self, value: str) -> None:
        TenantFactory.create(budgets=[{**MONTH, "scope": f"label:team.name={value}"}])
        for labels in ({"team.name": value}, {"team.name": "ops"}, {"other": value}, {}):
            self._settle(labels=labels)
        assert [one.figures.used for one in of_acme()] == [EURO]

    def test_a_users_adjustment_counts_with_the_records(self) -> None:
        TenantFactory.create(budgets=[{**MONTH, "scope": "user"}])
        self._settle(user="ada")
        (before,) = of_acme()
        BudgetAdjustmentFactory.create(counter=before.row.ask.key, amount=-EURO // 2)
        assert [one.figures.used for one in of_acme()] == [EURO // 2]

    def test_a_cold_limit_is_counted_from_its_last_window(self) -> None:
        TenantFactory.create(limits={"requests_per_hour": 10, "tokens_per_hour": 1000})
        self._settle()
        self._settle(started_at=timezone.now() - datetime.timedelta(hours=2))
        assert [one.figures.used for one in of_acme()] == [1, 120]

    def test_concurrency_is_nothing_where_no_worker_runs(self) -> None:
        TenantFactory.create(limits={"concurrency": 10, "per_user": {"concurrency": 2}})
        self._settle(user="ada")
        assert [one.figures.used for one in of_acme()] == [0, 0]

    async def _take(self, engine: MemoryCounters, ask: Ask, take: int, used: int) -> None:
        await engine.warm(ask, used, ())
        await engine.admit(Hold("a-request", [ask._replace(take=take)]))

    def test_a_running_counter_is_believed_and_tells_what_is_reserved(
        self, engine: MemoryCounters
    ) -> None:
        TenantFactory.create(budgets=[MONTH])
        self._settle()
        (cold,) = of_acme()
        async_to_sync(self._take)(engine, cold.row.ask, 2 * EURO, 3 * EURO)
        (warm,) = of_acme()
        assert cold.figures == Figures(EURO, 0, 10 * EURO, from_records=True)
        assert warm.figures == Figures(3 * EURO, 2 * EURO, 10 * EURO, from_records=False)

    def test_a_page_of_many_users_asks_the_database_little(
        self, django_assert_max_num_queries: Any
    ) -> None:
        budgets = [{**MONTH, "scope": "user"}, {"tokens": 5, "period": "day", "scope": "user"}]
        TenantFactory.create(budgets=budgets, limits={"per_user": {"requests_per_hour": 5}})
        for number in range(20):
            self._settle(user=f"user-{number}")
        with django_assert_max_num_queries(12):
            assert len(of_acme()) == 60
