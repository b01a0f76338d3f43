"""The packaged catalogue: what it knows, what it says of today, and whom it may price."""

import datetime
from decimal import Decimal
from importlib.metadata import version

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, StartDateConstraint

from billing.catalogue import catalogue_moments, catalogue_prices
from billing.pricing import Prices, Tokens
from billing.snapshots import PricedModel, read_billing
from tests.factories import PriceBookFactory, PriceFactory, PriceVersionFactory

NOW = datetime.datetime(2026, 10, 15, 12, tzinfo=datetime.UTC)
LABEL = f"catalogue@{version('genai-prices')}"
OPENAI = PricedModel("my-gpt", "openai", "gpt-4o")


def _prices(dialect: str, upstream: str, moment: datetime.datetime = NOW) -> Prices | None:
    found = catalogue_prices(dialect=dialect, upstream=upstream, moment=moment)
    return found[1] if found else None


def _with_a_price_to_come() -> tuple[str, str, ModelInfo]:
    """A model of the catalogue whose price changed on a date: (dialect, upstream, model)."""
    dialects = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}
    for provider in get_snapshot().providers:
        for model in provider.models if provider.id in dialects else ():
            if isinstance(model.prices, list) and len(model.prices) == 2:
                before, after = (_dearest(one.prices.input_mtok) for one in model.prices)
                if before != after:
                    return dialects[provider.id], model.id, model
    raise AssertionError("no model of the catalogue has changed its price")


def _dearest(price: object) -> Decimal:
    tiers = getattr(price, "tiers", ())
    return max(
        [Decimal(str(getattr(price, "base", price))), *(Decimal(str(t.price)) for t in tiers)]
    )


@pytest.mark.parametrize(
    ("dialect", "upstream"),
    [
        ("openai", "gpt-4o"),
        ("responses", "gpt-4o"),
        ("anthropic", "claude-opus-4-5"),
        ("gemini", "gemini-2.5-pro"),
        ("mistral", "mistral-large-latest"),
    ],
)
def test_the_catalogue_prices_the_models_of_each_dialect(dialect: str, upstream: str) -> None:
    found = catalogue_prices(dialect=dialect, upstream=upstream, moment=NOW)
    assert found is not None
    label, prices = found
    assert label == LABEL
    assert prices.input is not None
    assert prices.output is not None
    assert 0 < prices.input < prices.output


@pytest.mark.parametrize(
    ("dialect", "upstream"),
    [
        ("openai", "no-such-model"),
        ("ollama", "llama3"),
        ("demo", "gpt-4o"),
        ("anthropic", "gpt-4o"),
    ],
)
def test_what_the_catalogue_does_not_know_has_no_price(dialect: str, upstream: str) -> None:
    assert _prices(dialect, upstream) is None


def test_a_price_by_tiers_is_the_dearest() -> None:
    prices = _prices("anthropic", "claude-sonnet-4-5")
    assert prices is not None
    _, model = get_snapshot().find_provider_model("claude-sonnet-4-5", None, "anthropic", None)
    tiered = model.get_prices(NOW)
    assert prices.input == _dearest(tiered.input_mtok) > tiered.input_mtok.base  # type: ignore[union-attr]
    assert prices.output == _dearest(tiered.output_mtok)
    assert prices.cached_input == _dearest(tiered.cache_read_mtok)
    assert prices.cache_write == _dearest(tiered.cache_write_mtok)


def test_a_price_to_come_is_not_in_force_before_its_day() -> None:
    dialect, upstream, model = _with_a_price_to_come()
    assert isinstance(model.prices, list)
    before, after = model.prices
    assert isinstance(after.constraint, StartDateConstraint)
    begins = datetime.datetime.combine(
        after.constraint.start_date, datetime.time(), tzinfo=datetime.UTC
    )
    a_second = datetime.timedelta(seconds=1)
    early, late = _prices(dialect, upstream, begins - a_second), _prices(dialect, upstream, begins)
    assert early is not None
    assert late is not None
    assert early.input == _dearest(before.prices.input_mtok)
    assert late.input == _dearest(after.prices.input_mtok)
    assert catalogue_moments(dialect=dialect, upstream=upstream) == {begins}


@pytest.mark.django_db
def test_a_history_holds_each_price_of_the_catalogue_from_its_day_on() -> None:
    PriceBookFactory(name="cost", fallback="catalogue")
    dialect, upstream, model = _with_a_price_to_come()
    priced = PricedModel("m", dialect, upstream)
    snapshot = read_billing([priced], {})
    begins = min(catalogue_moments(dialect=dialect, upstream=upstream)).timestamp()
    assert isinstance(model.prices, list)
    for moment, expected in [(begins - 1, model.prices[0]), (begins, model.prices[1])]:
        rate = snapshot.rate("cost", priced, moment)
        assert rate is not None
        assert rate.amount(Tokens(input=1_000_000)) == _dearest(expected.prices.input_mtok) * 10**9


@pytest.mark.django_db
def test_only_a_book_that_asks_for_it_falls_back_on_the_catalogue() -> None:
    PriceBookFactory(name="cost", fallback="catalogue")
    PriceBookFactory(name="strict", fallback="none")
    snapshot = read_billing([OPENAI], {})
    rate = snapshot.rate("cost", OPENAI, NOW.timestamp())
    assert rate is not None
    assert (rate.version, rate.currency) == (LABEL, "USD")
    assert snapshot.rate("strict", OPENAI, NOW.timestamp()) is None


@pytest.mark.django_db
def test_a_price_of_the_books_own_goes_before_the_catalogue() -> None:
    version = PriceVersionFactory(book=PriceBookFactory(name="cost", fallback="catalogue"))
    PriceFactory(version=version, model="my-gpt", input="7", output="7")
    rate = read_billing([OPENAI], {}).rate("cost", OPENAI, NOW.timestamp())
    assert rate is not None
    assert rate.version == "cost@2026-01-01"


@pytest.mark.django_db
def test_a_mark_up_goes_on_the_catalogues_price_too() -> None:
    cost = PriceBookFactory(name="cost", fallback="catalogue")
    PriceVersionFactory(book=PriceBookFactory(name="standard", based_on=cost), markup="0.2")
    snapshot = read_billing([OPENAI], {})
    base = snapshot.rate("cost", OPENAI, NOW.timestamp())
    ours = snapshot.rate("standard", OPENAI, NOW.timestamp())
    assert base is not None
    assert ours is not None
    assert ours.version == f"standard@2026-01-01+{LABEL}"
    assert ours.input * 10 == base.input * 12


@pytest.mark.django_db
def test_the_catalogue_is_in_dollars_and_prices_no_book_in_another_currency() -> None:
    PriceBookFactory(name="cost", currency="EUR", fallback="catalogue")
    assert read_billing([OPENAI], {}).rate("cost", OPENAI, NOW.timestamp()) is None


@pytest.mark.django_db
def test_two_models_of_one_name_are_priced_each_by_its_own_upstream() -> None:
    """A tenant may call its own model as the gateway calls another."""
    PriceBookFactory(name="cost", fallback="catalogue")
    theirs = PricedModel("my-gpt", "mistral", "mistral-large-latest")
    unknown = PricedModel("my-gpt", "ollama", "llama3")
    snapshot = read_billing([OPENAI, theirs, unknown], {})
    ours = snapshot.rate("cost", OPENAI, NOW.timestamp())
    other = snapshot.rate("cost", theirs, NOW.timestamp())
    assert ours is not None
    assert other is not None
    assert ours.input != other.input
    assert snapshot.rate("cost", unknown, NOW.timestamp()) is None
