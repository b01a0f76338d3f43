"""`--prune` removes what the file lacks, but no issued key, no record, nor what those need."""

import pytest

from billing.models import PriceBook, PriceVersion, UsageRecord
from routing import config
from routing.models import Alias, GatewaySettings, Guard, Model, Provider
from tenants.models import Key, KeyPolicy, Project, Tenant, Tier
from tests.factories import KeyFactory, UsageRecordFactory
from tests.routing.conftest import Apply

NOTHING = "version: 1"


@pytest.fixture
def _small(apply: Apply, small_file: str) -> None:
    apply(small_file)


@pytest.mark.usefixtures("_small")
def test_an_empty_file_removes_everything(apply: Apply) -> None:
    outcome = apply(NOTHING, prune=True)
    assert "- tenants.acme" in outcome.changes
    assert "- gateway.limits" in outcome.changes
    assert outcome.warnings == []
    for model in (Tenant, Tier, Provider, Model, Alias, Guard, KeyPolicy):
        assert not model._default_manager.exists()
    assert GatewaySettings.objects.get().limits == {}
    assert config.export() == "version: 1\n"
    assert apply(NOTHING, prune=True).changes == []


@pytest.mark.usefixtures("_small")
def test_only_what_the_file_lacks_goes(apply: Apply, small_file: str) -> None:
    without = small_file.replace("    fallbacks: [local]\n    guards: [pii]\n", "").replace(
        "  pii: {kind: pii, action: mask}\n", ""
    )
    assert apply(without, prune=True).changes == [
        "- guards.pii",
        '- aliases.pro.fallbacks: ["local"]',
        '- aliases.pro.guards: ["pii"]',
    ]


@pytest.mark.usefixtures("_small")
def test_things_inside_a_tenant_go_too(apply: Apply) -> None:
    outcome = apply("tenants: {acme: {}}", prune=True)
    assert "- tenants.acme.projects.search" in outcome.changes
    assert not Project.objects.exists()
    assert not Model.objects.exists()


@pytest.mark.usefixtures("_small")
def test_a_tenant_with_issued_keys_is_suspended_instead(apply: Apply) -> None:
    KeyFactory.create(tenant=Tenant.objects.get(), project=Project.objects.get())
    outcome = apply(NOTHING, prune=True)
    assert "~ tenants.acme.status: active -> suspended" in outcome.changes
    assert "tenants.acme: kept, but suspended: it has issued keys" in outcome.warnings
    assert Key.objects.get().project == Project.objects.get()
    assert Tenant.objects.get().status == "suspended"


@pytest.mark.usefixtures("_small")
def test_a_tenant_with_records_keeps_what_its_statements_need(apply: Apply) -> None:
    UsageRecordFactory.create(tenant="acme")
    outcome = apply(NOTHING, prune=True)
    assert outcome.warnings == [
        "tenants.acme: kept, but suspended: it has usage records",
        "tiers.free: kept: tenants.acme.tier names it",
        "price_books.standard: kept: tenants.acme.price_book names it",
        "price_books.cost: kept: price_books.standard.based_on names it",
        "models.large: kept: tenants.acme.own_aliases.pro.fallbacks[0] names it",
        "providers.openai: kept: models.large.provider names it",
        *outcome.warnings[6:],
    ]
    assert UsageRecord.objects.count() == 1
    tenant = Tenant.objects.get()
    assert tenant.price_book is not None
    assert tenant.price_book.name == "standard"
    assert not Alias.objects.filter(tenant=None).exists()
    assert apply(NOTHING, prune=True).changes == []
    assert apply(config.export(), prune=True).changes == []


@pytest.mark.usefixtures("_small")
def test_a_suspended_tenant_comes_back_when_the_file_says_so(apply: Apply, small_file: str) -> None:
    UsageRecordFactory.create(tenant="acme")
    apply(NOTHING, prune=True)
    apply(small_file)
    assert Tenant.objects.get().status == "suspended"
    apply("tenants: {acme: {status: active}}")
    assert Tenant.objects.get().status == "active"


@pytest.mark.usefixtures("_small")
def test_a_project_with_issued_keys_stays(apply: Apply) -> None:
    KeyFactory.create(tenant=Tenant.objects.get(), project=Project.objects.get())
    outcome = apply("tenants: {acme: {}}", prune=True)
    assert outcome.warnings == ["tenants.acme.projects.search: kept: it has issued keys"]
    assert Project.objects.get().name == "search"


@pytest.mark.usefixtures("_small")
def test_prices_are_withdrawn_and_not_deleted(apply: Apply, small_file: str) -> None:
    apply(NOTHING, prune=True)
    assert PriceBook.objects.filter(withdrawn_at=None).count() == 0
    assert PriceVersion.objects.filter(withdrawn_at=None).count() == 0
    assert PriceVersion.objects.count() == 2
    apply(small_file)
    labels = [version.label for version in PriceVersion.objects.filter(withdrawn_at=None)]
    assert labels == ["cost@2026-01-01.2", "standard@2026-01-01.2"]


@pytest.mark.usefixtures("_small")
def test_a_dry_run_of_pruning_removes_nothing(apply: Apply) -> None:
    outcome = apply(NOTHING, prune=True, dry_run=True)
    assert "- tenants.acme" in outcome.changes
    assert Tenant.objects.exists()
