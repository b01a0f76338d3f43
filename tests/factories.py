"""Rows for tests. A factory's defaults make a row that is whole; a test names what it is about."""

import datetime
import uuid

import factory
from factory import LazyAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from billing import models as billing
from routing import models as routing
from tenants import models as tenants

NOON = datetime.datetime(2026, 10, 15, 12, tzinfo=datetime.UTC)
"""When factories' records happen, unless a test says otherwise."""


class TierFactory(DjangoModelFactory[tenants.Tier]):
    class Meta:
        model = tenants.Tier
        django_get_or_create = ("name",)

    name = "pro"


class TenantFactory(DjangoModelFactory[tenants.Tenant]):
    class Meta:
        model = tenants.Tenant
        django_get_or_create = ("name",)

    name = "acme"
    display_name = LazyAttribute(lambda tenant: tenant.name.title())
    aliases = factory.LazyFunction(lambda: ["*"])


class ProjectFactory(DjangoModelFactory[tenants.Project]):
    class Meta:
        model = tenants.Project

    tenant = SubFactory(TenantFactory)
    name = Sequence(lambda n: f"project-{n}")


class KeyPolicyFactory(DjangoModelFactory[tenants.KeyPolicy]):
    class Meta:
        model = tenants.KeyPolicy

    tenant = SubFactory(TenantFactory)
    name = Sequence(lambda n: f"policy-{n}")
    aliases = factory.LazyFunction(lambda: ["*"])


class KeyFactory(DjangoModelFactory[tenants.Key]):
    class Meta:
        model = tenants.Key

    key_id = Sequence(lambda n: f"key{n:021d}")
    tenant = SubFactory(TenantFactory)
    name = Sequence(lambda n: f"key-{n}")
    scopes = factory.LazyFunction(lambda: ["alias:*"])
    issued_at = NOON
    expires_at = NOON + datetime.timedelta(days=3650)


class IssuerFactory(DjangoModelFactory[tenants.Issuer]):
    class Meta:
        model = tenants.Issuer

    tenant = SubFactory(TenantFactory)
    issuer = "https://login.acme.example/"
    audience = "gateway"
    jwks_url = "https://login.acme.example/jwks.json"


class HmacSignerFactory(DjangoModelFactory[tenants.HmacSigner]):
    class Meta:
        model = tenants.HmacSigner

    tenant = SubFactory(TenantFactory)
    name = "shopify"
    header = "X-Shopify-Hmac-Sha256"
    secret = "shared-hmac-secret"


class WebhookFactory(DjangoModelFactory[tenants.Webhook]):
    class Meta:
        model = tenants.Webhook

    tenant = SubFactory(TenantFactory)
    url = "https://hooks.acme.example/ai"
    events = factory.LazyFunction(lambda: ["budget.threshold"])
    secret = "webhook-signing-secret"


class AlertFactory(DjangoModelFactory[tenants.Alert]):
    class Meta:
        model = tenants.Alert

    name = "provider.down"
    tenant = "acme"
    key = Sequence(lambda n: f"openai:{n}")
    happened_at = NOON
    data = factory.LazyFunction(lambda: {"provider": "openai", "reason": "timeout"})


class DeliveryFactory(DjangoModelFactory[tenants.Delivery]):
    class Meta:
        model = tenants.Delivery

    alert = SubFactory(AlertFactory)
    webhook = SubFactory(WebhookFactory)
    recipient = LazyAttribute(lambda delivery: delivery.webhook.place)
    next_try_at = NOON
    give_up_at = NOON + datetime.timedelta(days=1)


class ProviderFactory(DjangoModelFactory[routing.Provider]):
    class Meta:
        model = routing.Provider
        django_get_or_create = ("tenant", "name")

    tenant = None
    name = "openai"
    dialect = "openai"
    base_url = "https://api.openai.example/v1"


class CredentialFactory(DjangoModelFactory[routing.Credential]):
    class Meta:
        model = routing.Credential

    provider = SubFactory(ProviderFactory)
    name = Sequence(lambda n: f"credential-{n}")
    secret = "sk-a-provider-secret"


class ModelFactory(DjangoModelFactory[routing.Model]):
    class Meta:
        model = routing.Model
        django_get_or_create = ("tenant", "name")

    tenant = None
    name = "gpt-4o"
    provider = SubFactory(ProviderFactory)
    upstream = LazyAttribute(lambda model: model.name)
    context_window = 128_000
    max_output_tokens = 16_384


class GuardFactory(DjangoModelFactory[routing.Guard]):
    class Meta:
        model = routing.Guard
        django_get_or_create = ("name",)

    name = "pii"
    kind = "pii"
    options = factory.LazyFunction(lambda: {"stage": "both", "action": "mask"})


class RouteTargetFactory(DjangoModelFactory[routing.RouteTarget]):
    class Meta:
        model = routing.RouteTarget

    position = 0
    model = SubFactory(ModelFactory)


class RouteFactory(DjangoModelFactory[routing.Route]):
    """A route with one target; `target__model=…` says which."""

    class Meta:
        model = routing.Route
        skip_postgeneration_save = True

    position = 0
    target = factory.RelatedFactory(RouteTargetFactory, factory_related_name="route")


class AliasFactory(DjangoModelFactory[routing.Alias]):
    """An alias with one route to one target; `route__target__model=…` says which."""

    class Meta:
        model = routing.Alias
        skip_postgeneration_save = True

    tenant = None
    name = "demo"
    route = factory.RelatedFactory(RouteFactory, factory_related_name="alias")


class FallbackFactory(DjangoModelFactory[routing.Fallback]):
    class Meta:
        model = routing.Fallback

    alias = SubFactory(AliasFactory)
    position = 0
    model = SubFactory(ModelFactory)


class PriceBookFactory(DjangoModelFactory[billing.PriceBook]):
    class Meta:
        model = billing.PriceBook
        django_get_or_create = ("name",)

    name = "cost"
    currency = "USD"


class PriceVersionFactory(DjangoModelFactory[billing.PriceVersion]):
    class Meta:
        model = billing.PriceVersion

    book = SubFactory(PriceBookFactory)
    effective = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class PriceFactory(DjangoModelFactory[billing.Price]):
    class Meta:
        model = billing.Price

    version = SubFactory(PriceVersionFactory)
    model = "gpt-4o"
    input = "2.5"
    output = "10"


class BudgetAdjustmentFactory(DjangoModelFactory[billing.BudgetAdjustment]):
    class Meta:
        model = billing.BudgetAdjustment

    tenant = "acme"
    counter = "{t1}acme||charge|UTC|month-2026-11-01"
    amount = 1_000_000_000
    reason = "A call of the provider that we pay"
    by = "finance"


class UsageRecordFactory(DjangoModelFactory[billing.UsageRecord]):
    """A request that acme's `frontend` key made of `pro` and that gpt-4o answered at noon."""

    class Meta:
        model = billing.UsageRecord

    record_id = factory.LazyFunction(uuid.uuid4)
    request_id = Sequence(lambda n: f"request-{n}")
    started_at = NOON
    tenant = "acme"
    project = "support-bot"
    key_id = "key0001"
    key = "frontend"
    user = "ada"
    alias = "pro"
    endpoint = "chat.completions"
    provider = "openai"
    model = "gpt-4o"
    upstream_model = "gpt-4o-2024-08-06"
    status = 200
    outcome = "completed"
    ended_by = "upstream"
    stream = False
    input_tokens = 100
    output_tokens = 20
    usage_source = "provider"
    cost = 450_000
    cost_currency = "USD"
    cost_price_version = "cost@2026-01-01"
    charge = 540_000
    charge_currency = "USD"
    charge_price_version = "standard@2026-01-01"
    charge_policy = "usage"
    latency_us = 812_500
    first_token_us = 200_125
    gateway_us = 900
    attempts = 1
    cache = "MISS"


class AttemptFactory(DjangoModelFactory[billing.Attempt]):
    class Meta:
        model = billing.Attempt

    record_id = factory.LazyFunction(uuid.uuid4)
    ordinal = 1
    started_at = NOON
    role = "first"
    provider = "openai"
    model = "gpt-4o"
    credential = "main"
    status = 200
    latency_us = 800_000


class RefusalCountFactory(DjangoModelFactory[billing.RefusalCount]):
    class Meta:
        model = billing.RefusalCount

    hour = NOON
    tenant = "acme"
    key_id = "key0001"
    code = "rate_limit_exceeded"
    requests = 1
