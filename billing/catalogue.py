"""Prices of the packaged catalogue (genai-prices, offline) for models that a book leaves out."""

import datetime
import functools
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING

from billing.pricing import Prices

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_PROVIDERS = {
    "openai": "openai",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
}


def _flat(price: object) -> Decimal | None:
    """A price, or the dearest of its context tiers: never less than what may be billed."""
    if price is None:
        return None
    tiers = getattr(price, "tiers", None)
    if tiers is None:
        return Decimal(str(price))
    return max([Decimal(str(price.base)), *(Decimal(str(tier.price)) for tier in tiers)])  # type: ignore[attr-defined]


@functools.cache
def _known(dialect: str, upstream: str) -> "ModelInfo | None":
    """Imported only when it is asked: most installations price all they use."""
    if dialect not in _PROVIDERS:
        return None
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(upstream, None, _PROVIDERS[dialect], None)[1]
    except LookupError:
        return None


def catalogue_moments(*, dialect: str, upstream: str) -> frozenset[datetime.datetime]:
    """When a price of the catalogue changes."""
    model = _known(dialect, upstream)
    if model is None or not isinstance(model.prices, list):
        return frozenset()
    days = (getattr(price.constraint, "start_date", None) for price in model.prices)
    return frozenset(
        datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
        for day in days
        if day is not None
    )


def catalogue_prices(
    *, dialect: str, upstream: str, moment: datetime.datetime
) -> tuple[str, Prices] | None:
    """(version label, prices in USD) in force at a moment, or None where the catalogue does not
    know the model."""
    model = _known(dialect, upstream)
    if model is None:
        return None
    prices = model.get_prices(moment)
    return f"catalogue@{version('genai-prices')}", Prices(
        input=_flat(prices.input_mtok),
        cached_input=_flat(prices.cache_read_mtok),
        cache_write=_flat(prices.cache_write_mtok),
        output=_flat(prices.output_mtok),
    )
