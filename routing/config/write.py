"""Makes the database match a configuration, thing by thing: only what differs is written."""

from gateway_project.units import parse_size
from routing.config import write_prices, write_routing, write_tenants
from routing.config.normal import Plain
from routing.config.rows import changed, gone, put, values_of
from routing.models import GatewaySettings, Guard
from tenants.models import Tier


def write(stored: Plain, target: Plain) -> None:
    """From what the database has to what it shall have, both in the keyed form.

    First comes what is new or differs, in an order in which each thing finds what it names; then
    goes what is gone, in the reverse order.
    """
    if stored["gateway"] != target["gateway"]:
        _write_gateway(target["gateway"])
        write_tenants.write_webhooks(None, stored["gateway"], target["gateway"])
    for name, tier in changed(stored, target, "tiers"):
        put(Tier, {"name": name}, values_of(Tier, tier, "limits", "budgets", "weight"))
    for name, guard in changed(stored, target, "guards"):
        options = {field: value for field, value in guard.items() if field != "kind"}
        put(Guard, {"name": name}, {"kind": guard["kind"], "options": options})
    write_prices.write(stored, target)
    write_routing.write(None, stored, target)
    write_tenants.write(stored, target)

    write_tenants.remove(stored, target)
    write_tenants.remove_webhooks(None, stored["gateway"], target["gateway"])
    write_routing.remove(None, stored, target)
    write_prices.remove(stored, target)
    Guard.objects.filter(name__in=gone(stored, target, "guards")).delete()
    Tier.objects.filter(name__in=gone(stored, target, "tiers")).delete()


def _write_gateway(entry: Plain) -> None:
    names = ("limits", "budgets", "cache", "exchange_rates", "retention")
    values = values_of(GatewaySettings, entry, *names)
    if "max_request_bytes" in entry:
        values["max_request_bytes"] = parse_size(entry["max_request_bytes"])
    else:
        values |= values_of(GatewaySettings, entry, "max_request_bytes")
    put(GatewaySettings, {"id": 1}, values)
