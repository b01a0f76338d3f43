"""Usage to money, held against fractions: nothing is lost on the way, nothing is rounded twice."""

import datetime
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.models import PriceBook, PriceVersion
from billing.pricing import Prices, RateHistory, Tokens, make_rate, most_of, share_of
from billing.snapshots import BillingSnapshot, PricedModel, read_billing
from tests.factories import PriceBookFactory, PriceFactory, PriceVersionFactory

BUCKETS = ("input", "cached_input", "cache_write", "output", "reasoning")
FALLS_BACK_ON = {"cached_input": "input", "cache_write": "input", "reasoning": "output"}

amounts = st.decimals(0, 999_999_999, places=9)
some_amounts = st.none() | amounts
counts = st.integers(0, 5_000_000)
tokens = st.builds(Tokens, *(counts for _ in BUCKETS))
prices = st.builds(Prices, *(some_amounts for _ in (*BUCKETS, "per_request")))


def _half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def _per_million(given_prices: Prices, bucket: str) -> Fraction:
    """The price of a bucket as the contract words it: a missing one is that of its base."""
    price = getattr(given_prices, bucket)
    if price is None and bucket in FALLS_BACK_ON:
        price = getattr(given_prices, FALLS_BACK_ON[bucket])
    return Fraction(price or 0)


def _reference(used: Tokens, given_prices: Prices, factor: Fraction = Fraction(1)) -> int:
    """Nano-units: a price keeps fifteen decimals, and the sum is rounded once."""
    total = Fraction(0)
    for bucket in BUCKETS:
        price = _half_up(_per_million(given_prices, bucket) * factor * 10**15)
        total += Fraction(getattr(used, bucket) * price, 10**6 * 10**15)
    per_request = Fraction(given_prices.per_request or 0) * factor
    total += Fraction(_half_up(per_request * 10**15), 10**15)
    return _half_up(total * 10**9)


def _rate(given_prices: Prices) -> Any:
    rate = make_rate(version="v", currency="USD", prices=given_prices)
    assert rate is not None
    return rate


# ---- amounts


@given(tokens, prices)
def test_an_amount_is_the_exact_sum_rounded_once_half_up(used: Tokens, given: Prices) -> None:
    rate = make_rate(version="v", currency="USD", prices=given)
    if rate is None:
        assert (given.input, given.output, given.per_request) == (None, None, None)
    else:
        assert rate.amount(used) == _reference(used, given)


@given(tokens, prices, st.decimals(0, 999_999, places=6))
def test_a_mark_up_is_exact_to_fifteen_decimals(
    used: Tokens, given: Prices, markup: Decimal
) -> None:
    rate = make_rate(version="v", currency="USD", prices=given.times(1 + Fraction(markup)))
    if rate is not None:
        assert rate.amount(used) == _reference(used, given, 1 + Fraction(markup))


@given(tokens, prices, st.lists(st.fractions(0, 100, max_denominator=10**6), max_size=4))
def test_factors_after_one_another_are_rounded_once(
    used: Tokens, given: Prices, factors: list[Fraction]
) -> None:
    chained, product = given, Fraction(1)
    for factor in factors:
        chained, product = chained.times(factor), product * factor
    rate = make_rate(version="v", currency="USD", prices=chained)
    if rate is not None:
        assert rate.amount(used) == _reference(used, given, product)


@pytest.mark.parametrize(
    ("input_tokens", "price", "nano"),
    [
        (1, "0.001", 1),  # exactly a nano
        (1, "0.0005", 1),  # a half goes up
        (1, "0.000499999", 0),
        (3, "0.0005", 2),  # one and a half goes up
        (1, "0.000000001", 0),
        (500_000, "0.000000001", 1),  # half a nano, added up before it is rounded
        (499_999, "0.000000001", 0),
        (1_000_000, "2.5", 2_500_000_000),
        (1_000_000, "999999999.999999999", 999_999_999_999_999_999),
        (0, "2.5", 0),
    ],
)
def test_a_half_goes_up(input_tokens: int, price: str, nano: int) -> None:
    assert _rate(Prices(input=Decimal(price))).amount(Tokens(input=input_tokens)) == nano


def test_the_sum_is_rounded_and_not_its_parts() -> None:
    rate = _rate(Prices(input=Decimal("0.0004"), output=Decimal("0.0004")))
    assert rate.amount(Tokens(input=1)) == rate.amount(Tokens(output=1)) == 0
    assert rate.amount(Tokens(input=1, output=1)) == 1


@pytest.mark.parametrize(
    ("bucket", "base"), [*FALLS_BACK_ON.items(), ("input", "input"), ("output", "output")]
)
def test_a_missing_price_is_that_of_its_base(bucket: str, base: str) -> None:
    given = {"input": Decimal(3), "output": Decimal(5)}
    missing, named = _rate(Prices(**given)), _rate(Prices(**{**given, bucket: Decimal(7)}))
    used = Tokens(**{bucket: 1_000_000})
    assert missing.amount(used) == given[base] * 10**9
    assert named.amount(used) == 7 * 10**9


@pytest.mark.parametrize("bucket", FALLS_BACK_ON)
def test_a_price_of_zero_is_no_missing_price(bucket: str) -> None:
    rate = _rate(Prices(input=Decimal(3), output=Decimal(5), **{bucket: Decimal(0)}))
    assert rate.amount(Tokens(**{bucket: 1_000_000})) == 0


def test_a_model_that_is_priced_by_the_request_bills_no_tokens() -> None:
    rate = _rate(Prices(per_request=Decimal("0.002")))
    assert rate.amount(Tokens(1_000, 1_000, 1_000, 1_000, 1_000)) == rate.amount(Tokens())
    assert rate.amount(Tokens()) == 2_000_000


def test_no_price_at_all_is_no_rate() -> None:
    assert make_rate(version="v", currency="USD", prices=Prices()) is None
    zero = Prices(input=Decimal(0))
    assert make_rate(version="v", currency="USD", prices=zero) is not None


# ---- bounds

cheap = st.decimals(0, 100, places=9)
cheap_prices = st.builds(Prices, *(st.none() | cheap for _ in (*BUCKETS, "per_request")))
shares = st.tuples(*(st.integers(0, 100_000) for _ in BUCKETS))


@given(prices | cheap_prices, shares, counts, counts)
def test_no_split_of_as_many_tokens_comes_to_more_than_the_most(
    given: Prices, split: tuple[int, ...], spare_input: int, spare_output: int
) -> None:
    rate = make_rate(version="v", currency="USD", prices=given)
    if rate is not None:
        used = Tokens(*split)
        most_input = used.input + used.cached_input + used.cache_write + spare_input
        most_output = used.output + used.reasoning + spare_output
        assert rate.amount(used) <= rate.most(most_input, most_output)


@given(prices, counts, counts)
def test_some_split_comes_to_the_most_but_for_its_rounding(
    given: Prices, input_tokens: int, output_tokens: int
) -> None:
    rate = make_rate(version="v", currency="USD", prices=given)
    if rate is not None:
        found = max(
            rate.amount(Tokens(**{inside: input_tokens, outside: output_tokens}))
            for inside in ("input", "cached_input", "cache_write")
            for outside in ("output", "reasoning")
        )
        assert rate.most(input_tokens, output_tokens) - 1 <= found


@given(cheap_prices, st.integers(0, 10**12), st.integers(0, 1_000_000))
def test_the_output_within_a_room_is_the_largest_that_fits(
    given: Prices, room: int, input_tokens: int
) -> None:
    rate = make_rate(version="v", currency="USD", prices=given)
    if rate is None:
        return
    fits = rate.output_within(room, input_tokens)
    if fits is None:
        assert rate.most(input_tokens, 0) == rate.most(input_tokens, 10**15) <= room
    elif rate.most(input_tokens, 0) > room:
        assert fits == 0
    else:
        assert rate.most(input_tokens, fits) <= room < rate.most(input_tokens, fits + 1)


@pytest.mark.parametrize(
    ("room", "input_tokens", "fits"),
    [
        (0, 0, 0),
        (1_000_000, 0, 100),
        (1_000_000, 500, 50),
        (1_000_000, 1_000, 0),
        (1_000_000, 1_001, 0),
        (-5, 0, 0),
        (1_009_999, 0, 100),
    ],
)
def test_the_input_is_paid_before_the_output(room: int, input_tokens: int, fits: int) -> None:
    rate = _rate(Prices(input=Decimal(1), output=Decimal(10)))
    assert rate.output_within(room, input_tokens) == fits


def test_output_that_costs_nothing_has_no_end() -> None:
    rate = _rate(Prices(input=Decimal(1), per_request=Decimal("0.001")))
    assert rate.output_within(1_000_000, 0) is None
    assert rate.output_within(999_999, 0) == 0


# ---- what is in force


@given(st.lists(st.floats(0, 10**10), unique=True), st.floats(-1, 10**10))
def test_the_latest_rate_that_has_begun_is_in_force(begins: list[float], moment: float) -> None:
    entries = tuple(
        (begin, make_rate(version=str(begin), currency="USD", prices=Prices(input=Decimal(1))))
        for begin in sorted(begins)
    )
    found = RateHistory(entries).at(moment)
    begun = [begin for begin in begins if begin <= moment]
    assert (found.version if found else None) == (str(max(begun)) if begun else None)


GPT = PricedModel("gpt-4o", "demo", "gpt-4o")


def _utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]


def _book(name: str, **options: Any) -> PriceBook:
    book: PriceBook = PriceBookFactory(name=name, **options)
    return book


def _version(
    book: PriceBook, effective: datetime.datetime, *, revision: int = 1, **options: Any
) -> PriceVersion:
    """A version that prices gpt-4o's input, unless `price` is None."""
    price = options.pop("price", None)
    version: PriceVersion = PriceVersionFactory(
        book=book, effective=effective, revision=revision, **options
    )
    if price is not None:
        PriceFactory(version=version, model="gpt-4o", input=price, output=price)
    return version


def _read(
    exchange_rates: dict[str, list[dict[str, str]]] | None = None,
    models: Iterable[PricedModel] = (GPT,),
) -> BillingSnapshot:
    return read_billing(models, exchange_rates or {})


def _in_force(
    snapshot: BillingSnapshot, book: str, moment: datetime.datetime, model: PricedModel = GPT
) -> tuple[str, int] | None:
    """(version, nano-units for a million of input) at a moment."""
    rate = snapshot.rate(book, model, moment.timestamp())
    return (rate.version, rate.amount(Tokens(input=1_000_000))) if rate else None


USD = 10**9


@pytest.mark.django_db
def test_the_version_that_has_begun_last_is_in_force() -> None:
    book = _book("cost")
    _version(book, _utc(2026, 6, 1), price="2")
    _version(book, _utc(2026, 1, 1), price="1")
    snapshot = _read()
    for moment, expected in [
        (_utc(2025, 12, 31, 23, 59, 59), None),
        (_utc(2026, 1, 1), ("cost@2026-01-01", 1 * USD)),
        (_utc(2026, 5, 31, 23, 59, 59, 999_999), ("cost@2026-01-01", 1 * USD)),
        (_utc(2026, 6, 1), ("cost@2026-06-01", 2 * USD)),
        (_utc(2036, 6, 1), ("cost@2026-06-01", 2 * USD)),
    ]:
        assert _in_force(snapshot, "cost", moment) == expected


@pytest.mark.django_db
def test_a_version_that_no_longer_names_a_model_ends_its_price() -> None:
    book = _book("cost")
    _version(book, _utc(2026, 1, 1), price="1")
    _version(book, _utc(2026, 6, 1))
    snapshot = _read()
    assert _in_force(snapshot, "cost", _utc(2026, 5, 1)) == ("cost@2026-01-01", 1 * USD)
    assert _in_force(snapshot, "cost", _utc(2026, 7, 1)) is None


@pytest.mark.django_db
@pytest.mark.parametrize("withdrawn_at", [None, _utc(2026, 2, 1)])
def test_a_later_revision_replaces_the_one_of_its_date(
    withdrawn_at: datetime.datetime | None,
) -> None:
    book = _book("cost")
    _version(book, _utc(2026, 1, 1), revision=2, price="2")
    _version(book, _utc(2026, 1, 1), revision=1, price="1", withdrawn_at=withdrawn_at)
    assert _in_force(_read(), "cost", _utc(2026, 1, 1)) == ("cost@2026-01-01.2", 2 * USD)


@pytest.mark.django_db
def test_a_withdrawn_version_is_in_force_no_more() -> None:
    book = _book("cost")
    _version(book, _utc(2026, 1, 1), price="1")
    _version(book, _utc(2026, 2, 1), price="2", withdrawn_at=_utc(2026, 3, 1))
    assert _in_force(_read(), "cost", _utc(2026, 4, 1)) == ("cost@2026-01-01", 1 * USD)


@pytest.mark.django_db
def test_a_withdrawn_book_prices_nothing() -> None:
    _version(_book("cost", withdrawn_at=_utc(2026, 3, 1)), _utc(2026, 1, 1), price="1")
    assert _in_force(_read(), "cost", _utc(2026, 4, 1)) is None


@pytest.mark.django_db
def test_a_version_may_begin_in_the_middle_of_a_day() -> None:
    _version(_book("cost"), _utc(2026, 1, 1, 6, 30), price="1")
    snapshot = _read()
    assert _in_force(snapshot, "cost", _utc(2026, 1, 1, 6, 29, 59)) is None
    label = "cost@2026-01-01T06:30:00"
    assert _in_force(snapshot, "cost", _utc(2026, 1, 1, 6, 30)) == (label, 1 * USD)


@pytest.mark.django_db
def test_a_model_or_book_that_nobody_priced_has_no_rate() -> None:
    _version(_book("cost"), _utc(2026, 1, 1), price="1")
    snapshot = _read(models=[GPT, PricedModel("llama", "demo", "llama")])
    assert _in_force(snapshot, "standard", _utc(2026, 2, 1)) is None
    llama = PricedModel("llama", "demo", "llama")
    assert _in_force(snapshot, "cost", _utc(2026, 2, 1), llama) is None


# ---- books based on others


@pytest.mark.django_db
def test_a_book_adds_its_mark_up_to_the_one_it_is_based_on() -> None:
    cost = _book("cost")
    standard = _book("standard", based_on=cost)
    _version(cost, _utc(2026, 1, 1), price="2.5")
    _version(standard, _utc(2026, 1, 1), markup="0.2")
    assert _in_force(_read(), "standard", _utc(2026, 2, 1)) == (
        "standard@2026-01-01+cost@2026-01-01",
        3 * USD,
    )


@pytest.mark.django_db
def test_a_price_of_its_own_gets_no_mark_up() -> None:
    cost = _book("cost")
    standard = _book("standard", based_on=cost)
    _version(cost, _utc(2026, 1, 1), price="2.5")
    _version(standard, _utc(2026, 1, 1), markup="0.2", price="7")
    assert _in_force(_read(), "standard", _utc(2026, 2, 1)) == ("standard@2026-01-01", 7 * USD)


@pytest.mark.django_db
def test_a_change_of_the_base_is_a_change_of_what_is_based_on_it() -> None:
    cost = _book("cost")
    standard = _book("standard", based_on=cost)
    _version(cost, _utc(2026, 1, 1), price="1")
    _version(cost, _utc(2026, 3, 1), price="2")
    _version(standard, _utc(2026, 2, 1), markup="0.5")
    snapshot = _read()
    for month, expected in [
        (1, None),  # the base alone prices nothing for `standard` before it begins
        (2, ("standard@2026-02-01+cost@2026-01-01", 1_500_000_000)),
        (4, ("standard@2026-02-01+cost@2026-03-01", 3_000_000_000)),
    ]:
        assert _in_force(snapshot, "standard", _utc(2026, month, 15)) == expected


@pytest.mark.django_db
def test_mark_ups_add_up_along_a_chain() -> None:
    cost = _book("cost")
    standard = _book("standard", based_on=cost)
    partner = _book("partner", based_on=standard)
    _version(cost, _utc(2026, 1, 1), price="0.000000001")
    _version(standard, _utc(2026, 1, 1), markup="0.333333")
    _version(partner, _utc(2026, 1, 1), markup="0.5")
    rate = _read().rate("partner", GPT, _utc(2026, 2, 1).timestamp())
    assert rate is not None
    assert rate.version == "partner@2026-01-01+standard@2026-01-01+cost@2026-01-01"
    used = Tokens(input=10**15)
    assert rate.amount(used) == _reference(
        used, Prices(input=Decimal("1e-9")), Fraction(1_333_333, 10**6) * Fraction(3, 2)
    )


@pytest.mark.django_db
def test_a_base_that_has_no_price_leaves_none() -> None:
    cost = _book("cost")
    _version(cost, _utc(2026, 1, 1))
    _version(_book("standard", based_on=cost), _utc(2026, 1, 1), markup="0.2")
    assert _in_force(_read(), "standard", _utc(2026, 2, 1)) is None


# ---- exchange rates

EURO = {
    "EUR": [{"effective": "2026-03-01", "usd": "1.25"}, {"effective": "2026-01-01", "usd": "1.1"}]
}


@pytest.mark.django_db
def test_a_book_in_another_currency_is_converted_at_the_rate_of_the_moment() -> None:
    cost = _book("cost")
    _version(cost, _utc(2025, 1, 1), price="2.75")
    _version(_book("euro", based_on=cost, currency="EUR"), _utc(2025, 1, 1), markup="0")
    snapshot = _read(EURO)
    for moment, expected in [
        (_utc(2025, 12, 31), None),  # nobody knows what a euro is worth yet
        (_utc(2026, 1, 1), 2_500_000_000),
        (_utc(2026, 3, 1), 2_200_000_000),
    ]:
        found = _in_force(snapshot, "euro", moment)
        assert (found[1] if found else None) == expected
    rate = snapshot.rate("euro", GPT, _utc(2026, 2, 1).timestamp())
    assert rate is not None
    assert rate.currency == "EUR"


@pytest.mark.django_db
def test_an_exchange_rate_may_begin_in_the_middle_of_a_day() -> None:
    cost = _book("cost", currency="EUR")
    _version(cost, _utc(2025, 1, 1), price="1")
    _version(_book("usd", based_on=cost), _utc(2025, 1, 1), markup="0")
    snapshot = _read({"EUR": [{"effective": "2026-01-01T06:30:00Z", "usd": "1.1"}]})
    assert _in_force(snapshot, "usd", _utc(2026, 1, 1, 6)) is None
    found = _in_force(snapshot, "usd", _utc(2026, 1, 1, 7))
    assert found is not None
    assert found[1] == 1_100_000_000


@pytest.mark.django_db
def test_an_exchange_between_two_currencies_goes_by_what_each_is_worth() -> None:
    cost = _book("cost", currency="GBP")
    _version(cost, _utc(2026, 1, 1), price="1")
    _version(_book("euro", based_on=cost, currency="EUR"), _utc(2026, 1, 1), markup="0.1")
    snapshot = _read(
        {
            "GBP": [{"effective": "2026-01-01", "usd": "1.3"}],
            "EUR": [{"effective": "2026-01-01", "usd": "1.1"}],
        }
    )
    rate = snapshot.rate("euro", GPT, _utc(2026, 2, 1).timestamp())
    assert rate is not None
    used = Tokens(input=10**9)
    exact = Fraction(11, 10) * Fraction(13, 11)
    assert rate.amount(used) == _reference(used, Prices(input=Decimal(1)), exact)


@pytest.mark.django_db
def test_a_currency_of_unknown_worth_leaves_no_price() -> None:
    cost = _book("cost")
    _version(cost, _utc(2026, 1, 1), price="1")
    _version(_book("yen", based_on=cost, currency="JPY"), _utc(2026, 1, 1), markup="0.1")
    assert _in_force(_read(EURO), "yen", _utc(2026, 2, 1)) is None


@pytest.mark.django_db
def test_books_that_are_based_on_each_other_price_nothing_and_stop_nothing() -> None:
    first = _book("first")
    second = _book("second", based_on=first)
    PriceBook.objects.filter(pk=first.pk).update(based_on=second)
    _version(first, _utc(2026, 1, 1))
    _version(second, _utc(2026, 1, 1))
    _version(_book("cost"), _utc(2026, 1, 1), price="1")
    snapshot = _read()
    assert _in_force(snapshot, "first", _utc(2026, 2, 1)) is None
    assert _in_force(snapshot, "cost", _utc(2026, 2, 1)) == ("cost@2026-01-01", 1 * USD)


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_books(
    django_assert_num_queries: Any,
) -> None:
    for name in ("cost", "standard", "partner"):
        book = _book(name)
        for month in (1, 2, 3):
            _version(book, _utc(2026, month, 1), price="1")
    with django_assert_num_queries(3):
        assert len(_read().rates) == 3


@given(
    amount=st.integers(0, 9 * 10**15),
    factor=st.fractions(min_value=0, max_value=1000, max_denominator=10**6),
)
def test_a_share_is_rounded_half_up_and_reserved_in_full(amount: int, factor: Fraction) -> None:
    exact = amount * factor
    assert share_of(amount, factor) == floor(exact + Fraction(1, 2))
    assert share_of(amount, factor) <= most_of(amount, factor)
    assert exact <= most_of(amount, factor) < exact + 1
