"""What is configured, as the hot path has it but for the keys: read in one go."""

from collections.abc import Mapping
from typing import NamedTuple

from billing.plans import Terms
from billing.snapshots import BillingSnapshot, PricedModel, read_billing
from routing.models import GatewaySettings
from routing.snapshots import RoutingSnapshot, read_routing
from tenants.snapshots import TenantSnapshot, read_tenants, read_tiers


class Configured(NamedTuple):
    tenants: Mapping[str, TenantSnapshot]
    routing: RoutingSnapshot
    billing: BillingSnapshot
    tiers: Mapping[str, Terms]


def read_configured() -> Configured:
    """The database as it is."""
    routing = read_routing()
    models = [
        PricedModel(model.name, model.provider.dialect, model.upstream)
        for model in routing.models.values()
    ]
    settings = GatewaySettings.objects.first() or GatewaySettings()
    billing = read_billing(models, settings.exchange_rates)
    return Configured(read_tenants(), routing, billing, read_tiers())
