"""Which aliases a caller may use. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from routing.snapshots import AliasSnapshot
from tenants.snapshots import TenantSnapshot

_ALL = "*"


def allowed(
    aliases: Mapping[tuple[str, str], AliasSnapshot],
    tenant: TenantSnapshot,
    *,
    key: str,
    scopes: frozenset[str],
) -> Mapping[str, AliasSnapshot]:
    """Token, policy (of keys named `key`) and tenant together. The tenant's own aliases are its own
    by nature, and win over the gateway's of the same name."""
    granted = {scope[6:] for scope in scopes if scope.startswith("alias:")}
    policy = tenant.policies.get(key)
    by_policy = policy.aliases if policy else frozenset({_ALL})
    found = {}
    for (owner, name), alias in aliases.items():
        if owner not in ("", tenant.name) or (not owner and (tenant.name, name) in aliases):
            continue
        by_tenant = bool(owner) or name in tenant.aliases or _ALL in tenant.aliases
        if (
            by_tenant
            and (name in granted or _ALL in granted)
            and (name in by_policy or _ALL in by_policy)
        ):
            found[name] = alias
    return MappingProxyType(found)
