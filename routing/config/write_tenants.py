"""Tenants and all that is theirs."""

from typing import Any

from billing.models import PriceBook
from routing.config import write_routing
from routing.config.fields import EVERY_ALIAS
from routing.config.normal import Plain
from routing.config.rows import changed, gone, put, secret_columns, values_of
from routing.models import Alias, Model, Provider
from tenants.models import HmacSigner, Issuer, KeyPolicy, Project, Tenant, Tier, Webhook

_COLUMNS = ("status", "timezone", "cors_origins", "credit", "price_factors", "limits", "budgets")
_MORE_COLUMNS = ("on_disconnect", "unpriced", "log_payloads")


def write(stored: Plain, target: Plain) -> None:
    """What is new or differs."""
    tenants = list(changed(stored, target, "tenants"))
    if not tenants:
        return
    tiers = dict(Tier.objects.values_list("name", "pk"))
    books = dict(PriceBook.objects.values_list("name", "pk"))
    for name, entry in tenants:
        values = values_of(Tenant, entry, *_COLUMNS, *_MORE_COLUMNS)
        values |= {
            "display_name": entry.get("name", ""),
            "aliases": entry.get("aliases", EVERY_ALIAS),
            "tier_id": tiers[entry["tier"]] if "tier" in entry else None,
            "price_book_id": books[entry["price_book"]] if "price_book" in entry else None,
        }
        tenant = put(Tenant, {"name": name}, values)
        before = stored["tenants"].get(name, {})
        _write_inside(tenant, before, entry)
        write_routing.write(tenant, before, entry)


def remove(stored: Plain, target: Plain) -> None:
    """What is gone, last named first."""
    for name, entry in changed(stored, target, "tenants"):
        if before := stored["tenants"].get(name):
            tenant = Tenant.objects.only("pk").get(name=name).pk
            write_routing.remove(tenant, before, entry)
            _remove_inside(tenant, before, entry)
    if lost := gone(stored, target, "tenants"):
        for model in (Alias, Model, Provider, KeyPolicy, Project):
            model._default_manager.filter(tenant__name__in=lost).delete()
        Tenant.objects.filter(name__in=lost).delete()


def _write_inside(tenant: int, stored: Plain, target: Plain) -> None:
    for name, project in changed(stored, target, "projects"):
        values = values_of(Project, project, "limits", "budgets")
        put(Project, {"tenant_id": tenant, "name": name}, values)
    projects = dict(Project.objects.filter(tenant_id=tenant).values_list("name", "pk"))
    for name, policy in changed(stored, target, "keys"):
        values = values_of(KeyPolicy, policy, "limits", "budgets")
        values["project_id"] = projects[policy["project"]] if "project" in policy else None
        values["aliases"] = policy.get("aliases", EVERY_ALIAS)
        put(KeyPolicy, {"tenant_id": tenant, "name": name}, values)
    for url, issuer in changed(stored, target, "issuers"):
        names = ("audience", "jwks_url", "jwks", "public_key", "claims", "allowed_tiers")
        values = values_of(Issuer, issuer, *names)
        values["aliases"] = issuer.get("aliases", EVERY_ALIAS)
        put(Issuer, {"tenant_id": tenant, "issuer": url}, values)
    for name, signer in changed(stored, target, "hmac"):
        columns = ("header", "encoding", "timestamp_header", "tolerance")
        values = values_of(HmacSigner, signer, *columns)
        values["aliases"] = signer.get("aliases", EVERY_ALIAS)
        values |= _secret(stored, "hmac", name, signer)
        put(HmacSigner, {"tenant_id": tenant, "name": name}, values)
    write_webhooks(tenant, stored, target)


def write_webhooks(tenant: int | None, stored: Plain, target: Plain) -> None:
    """A tenant's, or the gateway's."""
    for url, webhook in changed(stored, target, "webhooks"):
        values = values_of(Webhook, webhook, "events", "format")
        values |= _secret(stored, "webhooks", url, webhook)
        put(Webhook, {"tenant_id": tenant, "url": url}, values)


def remove_webhooks(tenant: int | None, stored: Plain, target: Plain) -> None:
    if urls := gone(stored, target, "webhooks"):
        Webhook.objects.filter(tenant=tenant, url__in=urls).delete()


def _secret(stored: Plain, field: str, name: str, entry: Plain) -> Plain:
    before = stored.get(field, {}).get(name, {})
    return secret_columns(entry.get("secret"), before.get("secret"))


def _remove_inside(tenant: int, stored: Plain, target: Plain) -> None:
    """Key policies go before the projects that they name."""
    rows: list[tuple[Any, str, str]] = [
        (KeyPolicy, "keys", "name"),
        (Project, "projects", "name"),
        (Issuer, "issuers", "issuer"),
        (HmacSigner, "hmac", "name"),
    ]
    for model, field, column in rows:
        if names := gone(stored, target, field):
            model.objects.filter(tenant_id=tenant, **{f"{column}__in": names}).delete()
    remove_webhooks(tenant, stored, target)
