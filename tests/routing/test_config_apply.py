"""Applying a file: what comes into the database, what stays, and that it is all or nothing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import PriceBook
from routing import config
from routing.models import Alias, Credential, GatewaySettings, Guard, Model, Provider, Route
from tenants import revisions
from tenants.models import Issuer, KeyPolicy, Project, Tenant, Tier
from tests.factories import ModelFactory, TenantFactory
from tests.routing.conftest import Apply, Refuse

EXAMPLE = Path(settings.BASE_DIR).parent / "shared" / "examples" / "gateway.yaml"
PROVIDER = "providers: {p: {dialect: demo}}\n"


def test_the_example_applies_and_its_export_changes_nothing(apply: Apply) -> None:
    if not EXAMPLE.is_file():
        pytest.skip("the example of the configuration file is not beside this checkout")
    text = EXAMPLE.read_text()
    assert apply(text).changes
    assert apply(text).changes == []
    assert apply(config.export(), prune=True).changes == []


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("{}", {}),
        ("{interval: 20s}", {"interval": "20s"}),
        (
            "{interval: 60s, path: /up, timeout: 1s}",
            {"interval": "1m", "path": "/up", "timeout": "1s"},
        ),
    ],
)
def test_a_probe_comes_back_as_it_was_given(
    apply: Apply, written: str, stored: dict[str, str]
) -> None:
    provider = "providers: {p: {dialect: openai, base_url: 'https://p.example'"
    apply(f"{provider}, probe: {written}}}}}")
    assert Provider.objects.get().probe == stored
    assert apply(config.export(), prune=True).changes == []
    assert Provider.objects.get().probe == stored
    apply(f"{provider}}}}}")
    assert Provider.objects.get().probe is None
    assert "probe" not in config.export()


def test_a_file_comes_into_the_database(apply: Apply, small_file: str) -> None:
    apply(small_file)
    provider = Provider.objects.get(tenant=None, name="openai")
    assert provider.timeouts == {"connect": "5s", "total": "10m"}
    assert Provider.objects.get(name="demo").options == {"delay": "20ms"}
    assert Credential.objects.get(provider=provider, name="spare").weight == 0
    model = Model.objects.get(name="large")
    assert (model.capabilities, model.overhead_tokens) == (["images", "tools"], 8)
    first, second = Route.objects.filter(alias__name="pro", alias__tenant=None)
    assert first.when == {"tier": "free"}
    assert [(one.model.name, one.weight) for one in second.targets.all()] == [
        ("large", 9),
        ("local", 1),
    ]
    alias = Alias.objects.get(name="pro", tenant=None)
    assert [guard.name for guard in alias.guards.all()] == ["pii"]
    tenant = Tenant.objects.get(name="acme")
    assert tenant.price_book == PriceBook.objects.get(name="standard")
    assert tenant.tier == Tier.objects.get(name="free")
    assert tenant.budgets == [{"amount": "500", "period": "month", "alert_at": ["50%", "100%"]}]
    assert KeyPolicy.objects.get(tenant=tenant).project == Project.objects.get(name="search")
    assert Issuer.objects.get(tenant=tenant).jwks == {"keys": []}
    own = Alias.objects.get(name="pro", tenant=tenant)
    assert own.routes.get().targets.get().model == Model.objects.get(tenant=tenant)
    assert own.fallbacks.get().model == model
    assert Guard.objects.get().kind == "pii"
    assert GatewaySettings.objects.get().max_request_bytes == 20_000_000


def test_a_second_time_changes_nothing(apply: Apply, small_file: str) -> None:
    apply(small_file)
    before = revisions.current()
    assert apply(small_file, prune=True).changes == []
    assert revisions.current() == before


def test_each_change_has_a_line(apply: Apply, small_file: str) -> None:
    apply(small_file)
    changed = (
        small_file.replace("    tier: free\n", "")
        .replace("amount: 500", "amount: 600")
        .replace("weight: 9}", "weight: 8}")
        .replace("aliases: [pro]\n    price", "aliases: [pro, embeddings]\n    price")
        .replace("      search: {}", "      search: {}\n      support: {}")
    )
    assert sorted(apply(changed).changes) == [
        "+ tenants.acme.projects.support",
        "- tenants.acme.tier: free",
        "~ aliases.pro.routes[1].targets[0].weight: 9 -> 8",
        '~ tenants.acme.aliases: ["pro"] -> ["pro", "embeddings"]',
        "~ tenants.acme.budgets[0].amount: 500 -> 600",
    ]


def test_what_the_file_lacks_stays(apply: Apply, small_file: str) -> None:
    apply(small_file)
    assert apply("tenants: {globex: {price_book: standard}}").changes == ["+ tenants.globex"]
    assert Tenant.objects.count() == 2
    assert GatewaySettings.objects.get().limits == {"requests_per_minute": 1000}


def test_what_the_file_has_is_matched_whole(apply: Apply) -> None:
    apply("tenants: {acme: {name: Acme, status: suspended, timezone: Europe/Berlin}}")
    assert apply("tenants: {acme: {name: Acme}}").changes == [
        "~ tenants.acme.timezone: Europe/Berlin -> UTC",
    ]


def test_a_suspension_stays_until_the_file_says_otherwise(apply: Apply) -> None:
    apply("tenants: {acme: {status: suspended}}")
    assert apply("tenants: {acme: {}}").changes == []
    assert apply("tenants: {acme: {status: active}}").changes != []
    assert Tenant.objects.get().status == "active"


def test_things_inside_a_tenant_stay_unless_pruned(apply: Apply) -> None:
    apply("tenants: {acme: {projects: {search: {}}, keys: [{name: a}, {name: b}]}}")
    assert apply("tenants: {acme: {keys: [{name: b}]}}").changes == []
    assert Project.objects.get().name == "search"
    pruned = apply("tenants: {acme: {projects: {search: {}}, keys: [{name: b}]}}", prune=True)
    assert pruned.changes == ["- tenants.acme.keys.a"]


def test_a_credential_leaves_the_pool_with_its_line(apply: Apply, small_file: str) -> None:
    apply(small_file)
    line = "      - {name: spare, secret: sk-a-literal, weight: 0}\n"
    assert apply(small_file.replace(line, "")).changes == ["- providers.openai.credentials.spare"]


def test_a_file_may_name_what_the_database_has(apply: Apply) -> None:
    apply(PROVIDER)
    apply("models: {m: {provider: p, upstream: x}}")
    assert Model.objects.get().provider.name == "p"


def test_a_tenants_own_things_win_over_the_gateways(apply: Apply) -> None:
    apply(
        PROVIDER
        + """
models: {m: {provider: p, upstream: theirs}}
tenants:
  acme:
    models: {m: {provider: p, upstream: own}}
    own_aliases: {a: {routes: [{targets: [{model: m}]}]}}
"""
    )
    assert Alias.objects.get().routes.get().targets.get().model.upstream == "own"


@pytest.mark.parametrize(
    "bad",
    [
        "tenants: {globex: {tier: gold}, initech: {}}",
        "tenants: {initech: {statis: active}}",
        "tenants: {initech: {}}\ntenants: {}",
    ],
)
def test_a_bad_file_changes_nothing(
    apply: Apply, refuse: Refuse, small_file: str, bad: str
) -> None:
    apply(small_file)
    before, exported = revisions.current(), config.export()
    refuse(bad, prune=True)
    assert config.export() == exported
    assert revisions.current() == before


def test_a_failure_while_writing_changes_nothing(
    apply: Apply, small_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.config.write.write_tenants.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply(small_file)
    assert config.export() == "version: 1\n"


def test_a_dry_run_tells_and_changes_nothing(apply: Apply, small_file: str) -> None:
    outcome = apply(small_file, dry_run=True)
    assert "+ tenants.acme" in outcome.changes
    assert not Tenant.objects.exists()
    assert revisions.current() == {}
    assert apply(small_file).changes == outcome.changes


def test_a_dry_run_reports_every_problem(refuse: Refuse) -> None:
    assert refuse("tenants: {acme: {tier: gold}}", dry_run=True) == [
        "tenants.acme.tier: there is no tier 'gold'"
    ]


@pytest.mark.django_db(transaction=True)
def test_two_that_apply_at_once_take_turns(small_file: str) -> None:
    def apply_once(_: int) -> config.Outcome:
        try:
            return config.apply(small_file, source="test.yaml")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(apply_once, range(4)))
    assert sorted(bool(outcome.changes) for outcome in outcomes) == [False, False, False, True]


def test_workers_hear_of_a_file_once(apply: Apply, small_file: str) -> None:
    apply(small_file)
    assert revisions.current() == {revisions.CONFIGURATION: 1}
    apply(small_file.replace("weight: 9}", "weight: 8}").replace("amount: 500", "amount: 600"))
    assert revisions.current()[revisions.CONFIGURATION] < 10


def test_only_what_differs_is_written(apply: Apply, small_file: str) -> None:
    apply(small_file)
    with CaptureQueriesContext(connection) as queries:
        apply(small_file.replace("amount: 500", "amount: 600"))
    written = [
        query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))
    ]
    tables = {sql.split('"')[1] for sql in written}
    assert tables == {"tenants_tenant", "tenants_revision", "routing_configurationversion"}


def test_what_an_administrator_mistyped_is_mended(apply: Apply) -> None:
    ModelFactory.create(name="m", limits={"requests_per_minute": "many"})
    TenantFactory.create(name="acme", budgets=[{"amount": "1"}])
    text = """
providers: {openai: {dialect: openai, base_url: "https://api.openai.example/v1"}}
models: {m: {provider: openai, upstream: m}}
tenants: {acme: {}}
"""
    assert "requests_per_minute: many" in config.export()
    assert apply(text).changes
    assert Model.objects.get().limits == {}
    assert Tenant.objects.get().budgets == []
    assert apply(text).changes == []
