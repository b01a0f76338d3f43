"""Everything that the hot path knows of the configuration, in one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.plans import Terms
from billing.snapshots import BillingSnapshot
from routing.configured import read_configured
from routing.snapshots import RoutingSnapshot
from tenants import revisions
from tenants.snapshots import KeysSnapshot, TenantSnapshot, read_keys


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the hot path knows. A request keeps the one it began with."""

    revisions: Mapping[str, int]
    tenants: Mapping[str, TenantSnapshot]
    keys: KeysSnapshot
    routing: RoutingSnapshot
    billing: BillingSnapshot
    tiers: Mapping[str, Terms] = field(default_factory=dict)


def read_snapshot(last: Snapshot | None) -> Snapshot:
    """A snapshot of the database as it is, reusing the parts of `last` whose revision stands.

    The revisions are read first: a change made meanwhile is seen now, and read again next time.
    """
    current = revisions.current()
    if last is not None and last.revisions == current:
        return last
    configuration, keys = revisions.CONFIGURATION, revisions.KEYS
    if last is None or last.revisions.get(configuration) != current.get(configuration):
        tenants, routing, billing, tiers = read_configured()
    else:
        tenants, routing, billing = last.tenants, last.routing, last.billing
        tiers = last.tiers
    if last is None or last.revisions.get(keys) != current.get(keys):
        key_snapshot = read_keys()
    else:
        key_snapshot = last.keys
    return Snapshot(current, tenants, key_snapshot, routing, billing, tiers)
