"""Tenants of the database and all that is theirs, as fragments of a configuration."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.db.models import Prefetch

from routing.config import read_routing
from routing.config.normal import Plain
from routing.config.rows import (
    by_name,
    columns,
    normalise,
    normalise_with_secret,
    secret_of,
    with_sealed_secret,
)
from routing.config.schema_tenants import HmacSigner as HmacSignerShape
from routing.config.schema_tenants import Issuer as IssuerShape
from routing.config.schema_tenants import KeyPolicy as KeyPolicyShape
from routing.config.schema_tenants import Project as ProjectShape
from routing.config.schema_tenants import Tenant as TenantShape
from routing.config.schema_tenants import Webhook as WebhookShape
from tenants.models import HmacSigner, Issuer, KeyPolicy, Project, Tenant, Webhook


def tenants(
    providers: read_routing.Owned, models: read_routing.Owned, aliases: read_routing.Owned
) -> Plain:
    """Every tenant by name, with its own share of what read_routing found."""
    policies = KeyPolicy.objects.select_related("project")
    rows = Tenant.objects.select_related("tier", "price_book").prefetch_related(
        "projects",
        Prefetch("key_policies", queryset=policies),
        "issuers",
        Prefetch("hmac_signers", queryset=with_sealed_secret(HmacSigner.objects.all())),
        Prefetch("webhooks", queryset=with_sealed_secret(Webhook.objects.all())),
    )

    def whole(row: Tenant) -> Plain:
        return {
            **_tenant(row),
            **_present("providers", providers[row.pk]),
            **_present("models", models[row.pk]),
            **_present("own_aliases", aliases[row.pk]),
        }

    return by_name(rows, whole)


def gateway_webhooks() -> list[Plain]:
    """The webhooks without a tenant."""
    return _each(with_sealed_secret(Webhook.objects.filter(tenant=None)), "url", _webhook)


def _present(field: str, value: Plain | list[Plain]) -> Plain:
    return {field: value} if value else {}


def _each(rows: Any, column: str, fragment: Callable[[Any], Plain]) -> list[Plain]:
    return [fragment(row) for row in sorted(rows.all(), key=attrgetter(column))]


def _tenant(row: Tenant) -> Plain:
    raw = columns(row, "status", "aliases", "timezone", "cors_origins", "credit", "price_factors")
    raw |= columns(row, "limits", "budgets", "on_disconnect", "unpriced", "log_payloads")
    raw |= {
        "name": row.display_name,
        "tier": row.tier.name if row.tier else None,
        "price_book": row.price_book.name if row.price_book else None,
    }
    return {
        **normalise(TenantShape, raw),
        **_present("projects", by_name(row.projects.all(), _project)),
        **_present("keys", _each(row.key_policies, "name", _key_policy)),
        **_present("issuers", _each(row.issuers, "issuer", _issuer)),
        **_present("hmac", _each(row.hmac_signers, "name", _hmac_signer)),
        **_present("webhooks", _each(row.webhooks, "url", _webhook)),
    }


def _project(row: Project) -> Plain:
    return normalise(ProjectShape, columns(row, "limits", "budgets"))


def _key_policy(row: KeyPolicy) -> Plain:
    raw = columns(row, "name", "aliases", "limits", "budgets")
    return normalise(KeyPolicyShape, {**raw, "project": row.project.name if row.project else None})


def _issuer(row: Issuer) -> Plain:
    raw = columns(row, "issuer", "audience", "jwks_url", "jwks", "public_key", "claims")
    return normalise(IssuerShape, {**raw, **columns(row, "allowed_tiers", "aliases")})


def _hmac_signer(row: HmacSigner) -> Plain:
    raw = columns(row, "name", "header", "encoding", "timestamp_header", "tolerance", "aliases")
    return normalise_with_secret(HmacSignerShape, raw, secret_of(row))


def _webhook(row: Webhook) -> Plain:
    raw = columns(row, "url", "events", "format")
    secret = secret_of(row)
    if secret.reference or secret.value != "":
        return normalise_with_secret(WebhookShape, raw, secret)
    return normalise(WebhookShape, raw)
