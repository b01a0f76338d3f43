"""The configuration file as a whole. Each section has a module beside this one."""

from typing import Annotated, Literal

from routing.config.fields import Currency, Effective, Rate, Shape, Size, Slug, SomeTime, once
from routing.config.schema_aliases import Alias
from routing.config.schema_guards import Guard
from routing.config.schema_limits import Budget, Limits
from routing.config.schema_prices import PriceBook
from routing.config.schema_routing import Model, Provider
from routing.config.schema_tenants import Tenant, Tier, Webhook


class SharedCache(Shape):
    max_size: Size | None = None


class ExchangeRate(Shape):
    """What one unit of the currency is worth in US dollars, from a date on."""

    effective: Effective
    usd: Rate


class Retention(Shape):
    """How long is kept; what is left out is kept for ever."""

    usage: SomeTime | None = None
    payloads: SomeTime | None = None


class Gateway(Shape):
    """What holds for every tenant together; its budgets count cost, and its webhooks hear of the
    gateway's own events alone."""

    limits: Limits = Limits()
    budgets: list[Budget] = []
    cache: SharedCache = SharedCache()
    exchange_rates: dict[Currency, Annotated[list[ExchangeRate], once("effective")]] = {}
    max_request_bytes: Size = "20MB"
    retention: Retention = Retention()
    webhooks: Annotated[list[Webhook], once("url")] = []


class Document(Shape):
    version: Literal[1] = 1
    gateway: Gateway | None = None
    providers: dict[Slug, Provider] = {}
    models: dict[Slug, Model] = {}
    price_books: dict[Slug, PriceBook] = {}
    guards: dict[Slug, Guard] = {}
    aliases: dict[Slug, Alias] = {}
    tiers: dict[Slug, Tier] = {}
    tenants: dict[Slug, Tenant] = {}
