"""Who has limits and budgets, as the database has it now: the gateway's, or one tenant's."""

from collections.abc import Iterable, Iterator
from typing import Any

from billing.models import PriceBook
from billing.plans import GATEWAY_TIMEZONE, NO_TERMS, Terms
from billing.scopes import Scope
from billing.snapshots import COST_BOOK
from billing.state import Owner
from routing.models import GatewaySettings, Model, Provider
from tenants.models import Key, Tenant, Tier


def _terms(row: Any) -> Terms:
    return Terms(row.limits, tuple(row.budgets))


def owners_of_gateway() -> list[Owner]:
    settings = GatewaySettings.objects.first() or GatewaySettings()
    return [
        Owner(Scope(""), _terms(settings), GATEWAY_TIMEZONE),
        *_of_targets("", GATEWAY_TIMEZONE),
    ]


def owners_of(tenant: Tenant) -> list[Owner]:
    """The tenant (with its tier's defaults), its projects, key policies, models and providers, and
    the users of keys that have another tier."""
    whole, zone = Scope(tenant.name), tenant.timezone
    defaults = _terms(tenant.tier) if tenant.tier else NO_TERMS
    projects = [
        Owner(whole.narrowed("project", row.name), _terms(row), zone)
        for row in tenant.projects.all()
    ]
    policies = [
        Owner(whole.narrowed("key", row.name), _terms(row), zone)
        for row in tenant.key_policies.all()
    ]
    return [
        Owner(whole, _terms(tenant).over(defaults), zone),
        *projects,
        *policies,
        *_of_targets(tenant.name, zone),
        *_of_other_tiers(tenant, whole),
    ]


def _of_targets(tenant: str, timezone: str) -> Iterator[Owner]:
    owned = {"tenant__name": tenant} if tenant else {"tenant": None}
    rows: dict[str, Iterable[Any]] = {
        "model": Model.objects.filter(**owned).exclude(limits={}),
        "provider": Provider.objects.filter(**owned).exclude(limits={}),
    }
    for column, found in rows.items():
        for row in found:
            yield Owner(Scope(tenant).narrowed(column, row.name), Terms(row.limits), timezone)


def _of_other_tiers(tenant: Tenant, whole: Scope) -> Iterator[Owner]:
    own = tenant.tier.name if tenant.tier else ""
    keys: dict[str, set[str]] = {}
    issued = Key.objects.filter(tenant=tenant).exclude(tier__in=["", own])
    for name, key_id in issued.values_list("tier", "key_id"):
        keys.setdefault(name, set()).add(key_id)
    for tier in Tier.objects.filter(name__in=keys):
        yield Owner(
            whole._replace(per_user=True, tier=tier.name),
            _terms(tier),
            tenant.timezone,
            note=f"tier {tier.name}",
            keys=frozenset(keys[tier.name]),
        )


def currency_of(tenant: Tenant | None) -> str:
    """What a tenant is charged in; None: what the gateway's cost is counted in."""
    if tenant is not None and tenant.price_book is not None:
        return tenant.price_book.currency
    book = PriceBook.objects.filter(name=COST_BOOK).first()
    return book.currency if book else "USD"
