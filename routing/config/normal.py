"""One plain form for a configuration, wherever it came from: the file or the database.

The *listed* form is the file's own layout with each value in its one form and defaults left out
(`{"providers": {"openai": {"credentials": [{"name": "main", …}]}}}`). The *keyed* form turns lists
of things that have a name into mappings by that name, so that two configurations can be compared,
merged and written thing by thing.
"""

from collections.abc import Iterator
from typing import Any

from routing.config.schema import Document

Plain = dict[str, Any]

SECTIONS = ("tiers", "guards", "price_books", "providers", "models", "aliases", "tenants")
"""The top-level mappings, in an order in which each only needs the ones before it."""

_IDENTITIES = {"keys": "name", "issuers": "issuer", "hmac": "name", "webhooks": "url"}

OF_A_TENANT = ("projects", "providers", "models", "own_aliases", *_IDENTITIES)
"""What stands inside a tenant as a thing of its own: leaving a key's policy out must not widen what
the key may do."""


def listed(document: Document) -> Plain:
    """A tenant's status is there whenever the file says it: silence leaves it as it is."""
    plain = document.model_dump(mode="json", exclude_defaults=True)
    plain.pop("version", None)
    for name, tenant in document.tenants.items():
        if "status" in tenant.model_fields_set:
            plain["tenants"][name]["status"] = tenant.status
    return plain


def keyed(configuration: Plain) -> Plain:
    """The keyed form of a listed one, which stays as it is."""
    result = {**configuration}
    for holder, field, identity in _named_lists(result):
        holder[field] = {item[identity]: item for item in holder[field]}
    return result


def unkeyed(configuration: Plain) -> Plain:
    """The reverse of `keyed`."""
    result = {**configuration}
    for holder, field, _ in _named_lists(result):
        holder[field] = list(holder[field].values())
    return result


def _named_lists(configuration: Plain) -> Iterator[tuple[Plain, str, str]]:
    """Each holder of a list of named things, copied on the way so that it may be changed."""
    if "gateway" in configuration:
        configuration["gateway"] = {**configuration["gateway"]}
        yield from _present(configuration["gateway"], "webhooks", "url")
    for book in _copies(configuration, "price_books"):
        yield from _present(book, "versions", "effective")
    for provider in _copies(configuration, "providers"):
        yield from _present(provider, "credentials", "name")
    for tenant in _copies(configuration, "tenants"):
        for provider in _copies(tenant, "providers"):
            yield from _present(provider, "credentials", "name")
        for field, identity in _IDENTITIES.items():
            yield from _present(tenant, field, identity)


def _copies(holder: Plain, field: str) -> list[Plain]:
    if field not in holder:
        return []
    holder[field] = {name: {**entry} for name, entry in holder[field].items()}
    return list(holder[field].values())


def _present(holder: Plain, field: str, identity: str) -> Iterator[tuple[Plain, str, str]]:
    if field in holder:
        yield holder, field, identity


def merge(stored: Plain, wanted: Plain, prune: bool) -> Plain:
    """What the database shall hold, both given and returned in the keyed form.

    What stands under its name in a mapping is a thing of its own, made to match whole when the
    file has it, and kept (or with `prune` dropped) when the file lacks it; so are the dated
    versions of a price book, and a tenant's key policies, issuers, signers and webhooks. Any other
    list belongs to its owner and is matched whole.
    """
    result: Plain = {"gateway": wanted.get("gateway", {} if prune else stored.get("gateway", {}))}
    for section in SECTIONS:
        result[section] = _merge_mapping(stored, wanted, section, prune)
    for tenant, entry in result["tenants"].items():
        held = stored["tenants"].get(tenant, {})
        _merge_inside(held, entry, OF_A_TENANT, prune)
        if "status" in held and not prune:
            entry.setdefault("status", held["status"])  # who was suspended by hand stays so
        if entry.get("status") == "active":
            del entry["status"]
    for book, entry in result["price_books"].items():
        _merge_inside(stored["price_books"].get(book, {}), entry, ("versions",), prune)
    return result


def _merge_mapping(stored: Plain, wanted: Plain, field: str, prune: bool) -> Plain:
    # What the file has comes first: problems name its entries by their place in it.
    merged = {name: {**entry} for name, entry in wanted.get(field, {}).items()}
    if not prune:
        for name, entry in stored.get(field, {}).items():
            merged.setdefault(name, {**entry})
    return merged


def _merge_inside(stored: Plain, entry: Plain, fields: tuple[str, ...], prune: bool) -> None:
    for field in fields:
        if merged := _merge_mapping(stored, entry, field, prune):
            entry[field] = merged


def in_order_of(stored: Plain, target: Plain) -> Plain:
    """The target (both keyed) with its keys in the order in which they are stored; what is new
    comes where its name belongs."""
    result: Plain = {}
    for section, entry in target.items():
        held = stored.get(section, {})
        names = entry if section == "gateway" else sorted(entry)
        result[section] = {name: _alike(held.get(name), entry[name]) for name in names}
    return result


def _alike(old: Any, new: Any) -> Any:
    if old == new:
        return old
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    names = [*(name for name in old if name in new), *(name for name in new if name not in old)]
    return {name: _alike(old.get(name), new[name]) for name in names}
