"""Price books resolved for the hot path: one rate history for each book and model."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from billing.catalogue import catalogue_moments, catalogue_prices
from billing.models import PriceBook
from billing.pricing import BookSheet, Prices, Rate, RateHistory, VersionSheet, make_rate

COST_BOOK = "cost"
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class PricedModel(NamedTuple):
    """What pricing needs to know of a model: its name, and how the catalogue would know it. A
    tenant's own model may bear the name of another."""

    name: str
    dialect: str
    upstream: str


@dataclass(frozen=True, slots=True)
class BillingSnapshot:
    """Rate histories by (book, model)."""

    rates: Mapping[tuple[str, PricedModel], RateHistory]

    def rate(self, book: str, model: PricedModel, moment: float) -> Rate | None:
        """The rate in force at a moment (seconds since the epoch); None: no price is known."""
        history = self.rates.get((book, model))
        return history.at(moment) if history else None


def _read_books() -> dict[str, BookSheet]:
    books = {}
    rows = PriceBook.objects.select_related("based_on").prefetch_related("versions__prices")
    for row in rows.filter(withdrawn_at=None):
        versions = [
            VersionSheet(
                label=version.label,
                effective=version.effective,
                markup=version.markup or Decimal(0),
                prices={
                    price.model: Prices(
                        price.input,
                        price.cached_input,
                        price.cache_write,
                        price.output,
                        price.reasoning,
                        price.per_request,
                    )
                    for price in version.prices.all()
                },
            )
            for version in sorted(row.versions.all(), key=lambda v: (v.effective, v.revision))
            if version.withdrawn_at is None
        ]
        books[row.name] = BookSheet(
            name=row.name,
            currency=row.currency,
            based_on=row.based_on.name if row.based_on else "",
            uses_catalogue=row.fallback == "catalogue",
            versions=versions,
        )
    return {
        name: dataclasses.replace(book, based_on="") if _runs_in_a_circle(book, books) else book
        for name, book in books.items()
    }


def _runs_in_a_circle(book: BookSheet | None, books: Mapping[str, BookSheet]) -> bool:
    """No configuration says so, but nothing in the database forbids it."""
    seen = set()
    while book is not None and book.name not in seen:
        seen.add(book.name)
        book = books.get(book.based_on)
    return book is not None


class _Resolver:
    """Walks from a book to those it is based on. `usd` is what a unit of a currency is worth."""

    def __init__(
        self,
        books: Mapping[str, BookSheet],
        usd: Mapping[str, list[tuple[datetime.datetime, Decimal]]],
    ):
        self.books = books
        self.usd = usd

    def worth(self, currency: str, moment: datetime.datetime) -> Fraction | None:
        if currency == "USD":
            return Fraction(1)
        rates = [usd for effective, usd in self.usd.get(currency, []) if effective <= moment]
        return Fraction(rates[-1]) if rates else None

    def moments(self, book: BookSheet, model: PricedModel) -> set[datetime.datetime]:
        """Every moment at which the book's price of a model may change."""
        found = {version.effective for version in book.versions}
        if book.based_on in self.books:
            base = self.books[book.based_on]
            found |= self.moments(base, model)
            if base.currency != book.currency:
                for currency in (base.currency, book.currency):
                    found |= {effective for effective, _ in self.usd.get(currency, [])}
        if book.uses_catalogue:
            found.add(_BEGINNING)
            found |= catalogue_moments(dialect=model.dialect, upstream=model.upstream)
        return found

    def prices(
        self, book: BookSheet, model: PricedModel, moment: datetime.datetime
    ) -> tuple[str, Prices] | None:
        """(version label, prices) in the book's currency at a moment."""
        version = book.version_at(moment)
        if version and model.name in version.prices:
            return version.label, version.prices[model.name]
        if book.based_on in self.books:
            return self._marked_up(book, version, model, moment)
        if book.uses_catalogue and book.currency == "USD":
            return catalogue_prices(dialect=model.dialect, upstream=model.upstream, moment=moment)
        return None

    def _marked_up(
        self,
        book: BookSheet,
        version: VersionSheet | None,
        model: PricedModel,
        moment: datetime.datetime,
    ) -> tuple[str, Prices] | None:
        base = self.books[book.based_on]
        found = self.prices(base, model, moment)
        ours, theirs = self.worth(book.currency, moment), self.worth(base.currency, moment)
        if found is None or version is None or ours is None or theirs is None:
            return None
        label, prices = found
        factor = (1 + Fraction(version.markup)) * theirs / ours
        return f"{version.label}+{label}", prices.times(factor)


def resolve(
    books: Mapping[str, BookSheet],
    models: Iterable[PricedModel],
    usd: Mapping[str, list[tuple[datetime.datetime, Decimal]]],
) -> Mapping[tuple[str, PricedModel], RateHistory]:
    """Every book's rate of every model, over time."""
    resolver = _Resolver(books, usd)
    rates = {}
    for model in set(models):
        for book in books.values():
            entries = []
            for moment in sorted(resolver.moments(book, model)):
                found = resolver.prices(book, model, moment)
                rate = (
                    make_rate(version=found[0], currency=book.currency, prices=found[1])
                    if found
                    else None
                )
                entries.append((moment.timestamp(), rate))
            if any(rate for _, rate in entries):
                rates[book.name, model] = RateHistory(tuple(entries))
    return MappingProxyType(rates)


def _exchange_rates(
    stored: Mapping[str, list[dict[str, str]]],
) -> dict[str, list[tuple[datetime.datetime, Decimal]]]:
    rates = {}
    for currency, entries in stored.items():
        rates[currency] = sorted(
            (
                datetime.datetime.fromisoformat(entry["effective"]).replace(tzinfo=datetime.UTC),
                Decimal(str(entry["usd"])),
            )
            for entry in entries
        )
    return rates


def read_billing(
    models: Iterable[PricedModel], exchange_rates: Mapping[str, list[dict[str, str]]]
) -> BillingSnapshot:
    """Reads the price books and resolves them for these models."""
    return BillingSnapshot(resolve(_read_books(), models, _exchange_rates(exchange_rates)))
