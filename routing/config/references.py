"""Names in a configuration that must exist elsewhere in it."""

from collections.abc import Iterator
from dataclasses import dataclass

from routing.config.issuers_apart import colliding
from routing.config.normal import Plain
from routing.config.problems import Problem, join, suggest, without_indexes

EVERY = "*"
PRICED_MODEL = "priced model"

SECTION = {
    "tier": "tiers",
    "guard": "guards",
    "price book": "price_books",
    "tenant": "tenants",
    "provider": "providers",
    "model": "models",
    "alias": "aliases",
}
_OWN = {"provider": "providers", "model": "models", "alias": "own_aliases", "project": "projects"}


@dataclass(frozen=True)
class Reference:
    """A name at a path, and the tenant whose own things it may mean besides the gateway's."""

    path: str
    kind: str
    name: str
    tenant: str | None = None

    @property
    def noun(self) -> str:
        return self.kind.removeprefix("priced ")

    def known(self, configuration: Plain) -> Iterator[str]:
        """The names that it could be."""
        for names in self._mappings(configuration):
            yield from names

    def dangles(self, configuration: Plain) -> bool:
        return not any(self.name in names for names in self._mappings(configuration))

    def _mappings(self, configuration: Plain) -> Iterator[Plain]:
        tenants = configuration.get("tenants", {})
        if self.kind == PRICED_MODEL:
            # A price book knows a tenant's own models by their names, as it does the gateway's.
            yield configuration.get("models", {})
            yield from (tenant.get("models", {}) for tenant in tenants.values())
            return
        if self.tenant is not None and self.kind in _OWN:
            yield tenants.get(self.tenant, {}).get(_OWN[self.kind], {})
        if self.kind in SECTION:
            yield configuration.get(SECTION[self.kind], {})


def dangling(target: Plain, stored: Plain, kept: Plain) -> list[Problem]:
    """A problem for each reference of the target that leads nowhere; all in the listed form.

    Let be is one that leads nowhere in the database already, so that applying an export changes
    nothing; a price that is there already, as it outlives its model; and one of a kept thing.
    """
    excused = {
        _identity(one)
        for one in references(stored)
        if one.kind == PRICED_MODEL or one.dangles(stored)
    }
    excused |= {_identity(one) for one in references(kept)}
    problems = [
        Problem(
            one.path, f"there is no {one.noun} '{one.name}'{suggest(one.name, one.known(target))}"
        )
        for one in references(target)
        if one.dangles(target) and _identity(one) not in excused
    ]
    return problems + list(_circles(target)) + list(colliding(target))


def _identity(reference: Reference) -> tuple[str, str, str]:
    return reference.kind, reference.name, without_indexes(reference.path)


def _circles(configuration: Plain) -> Iterator[Problem]:
    books = configuration.get("price_books", {})
    for name in books:
        seen, book = {name}, books[name].get("based_on")
        while book in books and book not in seen:
            seen.add(book)
            book = books[book].get("based_on")
        if book == name:
            path = join("price_books", name, "based_on")
            yield Problem(path, "a price book cannot be based on itself, however far around")


def references(configuration: Plain) -> Iterator[Reference]:
    """Every reference of a configuration in the listed form."""
    yield from _limits(configuration.get("gateway", {}), "gateway", None)
    for name, tier in configuration.get("tiers", {}).items():
        yield from _limits(tier, join("tiers", name), None)
    for name, book in configuration.get("price_books", {}).items():
        yield from _price_book(book, join("price_books", name))
    yield from _routing(configuration, "", "aliases", None)
    for name, tenant in configuration.get("tenants", {}).items():
        yield from _tenant(tenant, join("tenants", name), name)


def _price_book(book: Plain, path: str) -> Iterator[Reference]:
    yield from _one(book, "based_on", "price book", path)
    for index, version in enumerate(book.get("versions", [])):
        for model in version.get("prices", {}):
            yield Reference(join(path, "versions", index, "prices", model), PRICED_MODEL, model)


def _routing(owner: Plain, path: str, aliases: str, tenant: str | None) -> Iterator[Reference]:
    for name, model in owner.get("models", {}).items():
        yield from _one(model, "provider", "provider", join(path, "models", name), tenant)
    for name, alias in owner.get(aliases, {}).items():
        yield from _alias(alias, join(path, aliases, name), tenant)


def _alias(alias: Plain, path: str, tenant: str | None) -> Iterator[Reference]:
    for index, route in enumerate(alias.get("routes", [])):
        where = join(path, "routes", index)
        when = route.get("when", {})
        yield from _one(when, "tier", "tier", join(where, "when"))
        yield from _one(when, "tenant", "tenant", join(where, "when"))
        for position, target in enumerate(route["targets"]):
            yield from _one(target, "model", "model", join(where, "targets", position), tenant)
    yield from _each(alias, "fallbacks", "model", path, tenant)
    yield from _each(alias, "guards", "guard", path)
    yield from _one(alias.get("mirror", {}), "model", "model", join(path, "mirror"), tenant)
    yield from _one(alias.get("cache", {}), "embeddings", "alias", join(path, "cache"), tenant)


def _tenant(tenant: Plain, path: str, name: str) -> Iterator[Reference]:
    yield from _one(tenant, "tier", "tier", path)
    yield from _one(tenant, "price_book", "price book", path)
    yield from _each(tenant, "aliases", "alias", path, name)
    yield from _limits(tenant, path, name)
    for project, entry in tenant.get("projects", {}).items():
        yield from _limits(entry, join(path, "projects", project), name)
    for index, key in enumerate(tenant.get("keys", [])):
        where = join(path, "keys", index)
        yield from _one(key, "project", "project", where, name)
        yield from _each(key, "aliases", "alias", where, name)
        yield from _limits(key, where, name)
    for index, issuer in enumerate(tenant.get("issuers", [])):
        yield from _each(issuer, "allowed_tiers", "tier", join(path, "issuers", index))
        yield from _each(issuer, "aliases", "alias", join(path, "issuers", index), name)
    for index, signer in enumerate(tenant.get("hmac", [])):
        yield from _each(signer, "aliases", "alias", join(path, "hmac", index), name)
    yield from _routing(tenant, path, "own_aliases", name)


def _limits(owner: Plain, path: str, tenant: str | None) -> Iterator[Reference]:
    """What limits and budgets of one owner name."""
    for field, kind in (("per_alias", "alias"), ("per_model", "model")):
        for name in owner.get("limits", {}).get(field, {}):
            yield Reference(join(path, "limits", field, name), kind, name, tenant)
    for index, budget in enumerate(owner.get("budgets", [])):
        scope, _, name = budget.get("scope", "").partition(":")
        if scope == "alias":
            yield Reference(join(path, "budgets", index, "scope"), "alias", name, tenant)


def _one(
    holder: Plain, field: str, kind: str, path: str, tenant: str | None = None
) -> Iterator[Reference]:
    if field in holder:
        yield Reference(join(path, field), kind, holder[field], tenant)


def _each(
    holder: Plain, field: str, kind: str, path: str, tenant: str | None = None
) -> Iterator[Reference]:
    for index, name in enumerate(holder.get(field, [])):
        if name != EVERY:
            yield Reference(join(path, field, index), kind, name, tenant)
