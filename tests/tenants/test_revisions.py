"""Revisions: whatever the workers hold in memory, a change of it is noticed."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models, transaction

from billing import models as billing
from routing import models as routing
from tenants import models as tenants
from tenants.keys import issue_key, revoke_key, rotate_signing_key
from tenants.revisions import ADJUSTMENTS, CONFIGURATION, KEYS, bump, current
from tests import factories

Make = Callable[[], models.Model]


def _alias() -> models.Model:
    return factories.AliasFactory(route=None)


IN_THE_CONFIGURATION: dict[type[models.Model], Make] = {
    tenants.Tier: factories.TierFactory,
    tenants.Tenant: factories.TenantFactory,
    tenants.Project: factories.ProjectFactory,
    tenants.KeyPolicy: factories.KeyPolicyFactory,
    tenants.Issuer: factories.IssuerFactory,
    tenants.HmacSigner: factories.HmacSignerFactory,
    tenants.Webhook: factories.WebhookFactory,
    routing.GatewaySettings: routing.GatewaySettings.objects.create,
    routing.Provider: factories.ProviderFactory,
    routing.Credential: factories.CredentialFactory,
    routing.Model: factories.ModelFactory,
    routing.Guard: factories.GuardFactory,
    routing.Alias: _alias,
    routing.AliasGuard: lambda: routing.AliasGuard.objects.create(
        alias=_alias(), guard=factories.GuardFactory(), position=0
    ),
    routing.Route: lambda: factories.RouteFactory(alias=_alias(), target=None),
    routing.RouteTarget: lambda: factories.RouteTargetFactory(
        route=factories.RouteFactory(alias=_alias(), target=None)
    ),
    routing.Fallback: factories.FallbackFactory,
    billing.PriceBook: factories.PriceBookFactory,
    billing.PriceVersion: factories.PriceVersionFactory,
    billing.Price: factories.PriceFactory,
}
AMONG_THE_KEYS: dict[type[models.Model], Make] = {
    tenants.Key: factories.KeyFactory,
    tenants.SigningKey: rotate_signing_key,
}
AMONG_THE_ADJUSTMENTS: dict[type[models.Model], Make] = {
    billing.BudgetAdjustment: factories.BudgetAdjustmentFactory,
}
RECORDS = {
    tenants.Revision,
    routing.ConfigurationVersion,
    tenants.Alert,
    tenants.Delivery,
    billing.UsageRecord,
    billing.Attempt,
    billing.RefusalCount,
}
"""Nothing of these is held in memory: a record must not make every worker read everything again."""


def _count(name: str) -> int:
    return current().get(name, 0)


def test_every_model_is_either_watched_or_a_record() -> None:
    ours = {
        model
        for app in ("tenants", "routing", "billing")
        for model in apps.get_app_config(app).get_models()
    }
    assert ours == {*IN_THE_CONFIGURATION, *AMONG_THE_KEYS, *AMONG_THE_ADJUSTMENTS, *RECORDS}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((make, CONFIGURATION) for make in IN_THE_CONFIGURATION.values()),
        *((make, KEYS) for make in AMONG_THE_KEYS.values()),
        *((make, ADJUSTMENTS) for make in AMONG_THE_ADJUSTMENTS.values()),
    ],
    ids=[
        model.__name__ for model in (*IN_THE_CONFIGURATION, *AMONG_THE_KEYS, *AMONG_THE_ADJUSTMENTS)
    ],
)
def test_a_row_that_is_made_saved_or_deleted_is_noticed(make: Make, name: str) -> None:
    before = _count(name)
    row = make()
    made = _count(name)
    assert made > before
    row.save()
    saved = _count(name)
    assert saved > made
    row.delete()
    assert _count(name) > saved


@pytest.mark.django_db
def test_a_key_leaves_the_configuration_alone_and_the_other_way_round() -> None:
    factories.TenantFactory(name="acme")
    configuration = _count(CONFIGURATION)
    issued = issue_key(tenant="acme", name="k")
    revoke_key(issued.key_id)
    assert _count(CONFIGURATION) == configuration
    keys = _count(KEYS)
    factories.ModelFactory()
    assert _count(KEYS) == keys


@pytest.mark.django_db
@pytest.mark.parametrize(
    "make",
    [
        factories.UsageRecordFactory,
        factories.AttemptFactory,
        factories.RefusalCountFactory,
    ],
)
def test_a_record_is_no_change(make: Callable[[], Any]) -> None:
    before = current()
    make()
    assert current() == before


@pytest.mark.django_db
def test_revoking_and_rotating_are_changes() -> None:
    factories.TenantFactory(name="acme")
    issued = issue_key(tenant="acme", name="k")
    before = _count(KEYS)
    revoke_key(issued.key_id)
    assert _count(KEYS) > before


@pytest.mark.django_db
def test_deleting_many_rows_at_once_is_noticed() -> None:
    factories.KeyPolicyFactory.create_batch(2)
    before = _count(CONFIGURATION)
    tenants.KeyPolicy.objects.all().delete()
    assert _count(CONFIGURATION) > before


@pytest.mark.django_db
def test_a_name_that_never_changed_is_absent() -> None:
    assert current() == {}
    bump("something")
    assert current() == {"something": 1}
    bump("something")
    assert current() == {"something": 2}


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_undone_is_not_counted() -> None:
    factories.TenantFactory(name="acme")
    before = current()

    with transaction.atomic():
        factories.TenantFactory(name="globex")
        assert current() != before
        transaction.set_rollback(True)
    assert current() == before


def _in_thread(call: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("already", [0, 1])
def test_changes_at_the_same_time_are_all_counted(already: int) -> None:
    for _ in range(already):
        bump("something")
    together = threading.Barrier(4)

    def change() -> None:
        together.wait()
        for _ in range(5):
            bump("something")

    for thread in [_in_thread(change) for _ in range(4)]:
        thread.join()
    assert _count("something") == already + 20


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_first_change_hides_no_other_that_was_made_meanwhile() -> None:
    """Whoever saw the first change must see that there was another."""
    waits = threading.Event()

    def second() -> None:
        with transaction.atomic():
            waits.set()
            bump("something")

    with transaction.atomic():
        bump("something")
        thread = _in_thread(second)
        waits.wait(5)
        thread.join(0.3)
        assert thread.is_alive(), "the second change did not wait for the first"
    thread.join(10)
    assert _count("something") == 2
