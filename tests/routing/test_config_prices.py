"""Prices of a file: a version is never edited, so that old months recompute."""

from decimal import Decimal

import pytest

from billing.models import Price, PriceVersion
from routing import config
from tests.factories import UsageRecordFactory
from tests.routing.conftest import Apply, Refuse

BOOK = """
providers: {p: {dialect: demo}}
models: {m: {provider: p, upstream: x}, n: {provider: p, upstream: y}}
price_books:
  cost:
    currency: %(currency)s
    versions:
      - {effective: 2026-01-01, markup: %(markup)s, prices: {m: {input: %(price)s}}}
"""


def _file(currency: str = "USD", markup: str = "10%", price: str = "1.5") -> str:
    return BOOK % {"currency": currency, "markup": markup, "price": price}


def _versions() -> list[tuple[str, bool]]:
    return [(version.label, version.withdrawn_at is None) for version in PriceVersion.objects.all()]


def test_the_same_prices_are_no_new_version(apply: Apply) -> None:
    apply(_file())
    assert apply(_file(price="'1.50'", markup="10.0%")).changes == []
    assert _versions() == [("cost@2026-01-01", True)]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"price": "2"}, "~ price_books.cost.versions.2026-01-01.prices.m.input: 1.5 -> 2"),
        ({"markup": "20%"}, "~ price_books.cost.versions.2026-01-01.markup: 10% -> 20%"),
    ],
)
def test_other_prices_are_a_new_revision(apply: Apply, change: dict[str, str], line: str) -> None:
    apply(_file())
    assert apply(_file(**change)).changes == [line]
    assert _versions() == [("cost@2026-01-01", False), ("cost@2026-01-01.2", True)]
    first = Price.objects.order_by("id")[0]
    assert first.input == Decimal("1.5")


def test_a_price_less_is_a_new_revision(apply: Apply) -> None:
    apply(_file().replace("}}}", "}, n: {output: 2}}}"))
    assert apply(_file()).changes == ["- price_books.cost.versions.2026-01-01.prices.n"]
    assert _versions()[-1] == ("cost@2026-01-01.2", True)


def test_a_version_that_the_file_lacks_stays(apply: Apply) -> None:
    apply(_file())
    assert apply(_file().replace("2026-01-01", "2026-02-01")).changes == [
        "+ price_books.cost.versions.2026-02-01"
    ]
    assert [still for _, still in _versions()] == [True, True]


def test_a_version_that_the_file_lacks_is_withdrawn_by_pruning(apply: Apply) -> None:
    apply(_file())
    assert apply(_file().replace("2026-01-01", "2026-02-01"), prune=True).changes == [
        "- price_books.cost.versions.2026-01-01",
        "+ price_books.cost.versions.2026-02-01",
    ]
    assert _versions() == [("cost@2026-01-01", False), ("cost@2026-02-01", True)]


def test_a_time_of_day_may_be_given(apply: Apply) -> None:
    apply(_file().replace("2026-01-01", "2026-01-01T02:00:00+02:00"))
    assert _versions() == [("cost@2026-01-01", True)]


def test_the_currency_of_a_book_may_change_while_nobody_was_priced_by_it(apply: Apply) -> None:
    apply(_file())
    assert apply(_file(currency="EUR")).changes == ["~ price_books.cost.currency: USD -> EUR"]


@pytest.mark.parametrize("column", ["cost_price_version", "charge_price_version"])
def test_what_old_records_were_priced_by_does_not_change(
    apply: Apply, refuse: Refuse, column: str
) -> None:
    apply(_file())
    UsageRecordFactory.create(**{column: "cost@2026-01-01"})
    said = "usage records were priced by it; take a new price book"
    assert refuse(_file(currency="EUR")) == [f"price_books.cost.currency: {said}"]
    assert refuse("price_books: {base: {}, cost: {based_on: base}}") == [
        f"price_books.cost.based_on: {said}"
    ]
    apply(_file(price="9"))


def test_a_price_outlives_its_model(apply: Apply) -> None:
    both = _file().replace("}}}", "}, n: {output: 2}}}")
    apply(both)
    without_the_model = both.replace(", n: {provider: p, upstream: y}", "")
    assert apply(without_the_model, prune=True).changes == ["- models.n"]
    assert apply(config.export(), prune=True).changes == []
