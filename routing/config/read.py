"""The database as a configuration in the listed form, with a Secret in each secret's place."""

from django.db.models import Prefetch

from billing.models import PriceBook, PriceVersion
from routing.config import read_routing, read_tenants
from routing.config.formats import moment_text, plain
from routing.config.normal import Plain
from routing.config.rows import by_name, columns, normalise
from routing.config.schema import Gateway
from routing.config.schema_guards import Guard as GuardShape
from routing.config.schema_prices import PriceBook as PriceBookShape
from routing.config.schema_tenants import Tier as TierShape
from routing.models import GatewaySettings, Guard
from tenants.models import Tier


def read() -> Plain:
    """Everything that the configuration file can say, each section in the order of names."""
    providers, models = read_routing.providers(), read_routing.models()
    aliases = read_routing.aliases()
    return {
        "gateway": _gateway(),
        "providers": providers[None],
        "models": models[None],
        "price_books": _price_books(),
        "guards": by_name(Guard.objects.all(), _guard),
        "aliases": aliases[None],
        "tiers": by_name(Tier.objects.all(), _tier),
        "tenants": read_tenants.tenants(providers, models, aliases),
    }


def _gateway() -> Plain:
    webhooks = read_tenants.gateway_webhooks()
    heard = {"webhooks": webhooks} if webhooks else {}
    row = GatewaySettings.objects.first()
    if row is None:
        return heard
    raw = columns(row, "limits", "budgets", "cache", "exchange_rates", "retention")
    return normalise(Gateway, {**raw, "max_request_bytes": row.max_request_bytes}) | heard


def _guard(row: Guard) -> Plain:
    return normalise(GuardShape, {"kind": row.kind, **row.options})


def _tier(row: Tier) -> Plain:
    return normalise(TierShape, columns(row, "limits", "budgets", "weight"))


def _price_books() -> Plain:
    in_force = PriceVersion.objects.filter(withdrawn_at=None).order_by("effective", "revision")
    rows = (
        PriceBook.objects.filter(withdrawn_at=None)
        .select_related("based_on")
        .prefetch_related(Prefetch("versions", queryset=in_force.prefetch_related("prices")))
    )
    return by_name(rows, _price_book)


def _price_book(row: PriceBook) -> Plain:
    # Of two revisions of one date the newer stands.
    versions = {version.effective: _price_version(version) for version in row.versions.all()}
    raw = columns(row, "currency", "fallback")
    raw |= {"based_on": row.based_on.name if row.based_on else None}
    return normalise(PriceBookShape, {**raw, "versions": list(versions.values())})


def _price_version(row: PriceVersion) -> Plain:
    buckets = ("input", "cached_input", "cache_write", "output", "reasoning", "per_request")
    entry: Plain = {
        "effective": moment_text(row.effective),
        "prices": {price.model: columns(price, *buckets) for price in row.prices.all()},
    }
    return entry if row.markup is None else {**entry, "markup": f"{plain(row.markup * 100)}%"}
