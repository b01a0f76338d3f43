"""Prices of the packaged catalogue (genai-prices, offline) for models that a book leaves out."""

import functools
from decimal import Decimal
from importlib.metadata import version

from billing.pricing import Prices

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
def catalogue_prices(*, dialect: str, upstream: str) -> tuple[str, Prices] | None:
    """(version label, prices in USD), or None where the catalogue does not know the model.

    Imported only when it is asked: most installations price all they use.
    """
    if dialect not in _PROVIDERS:
        return None
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, model = get_snapshot().find_provider_model(upstream, None, _PROVIDERS[dialect], None)
    except LookupError:
        return None
    prices = model.prices if not isinstance(model.prices, list) else model.prices[-1].prices
    return f"catalogue@{version('genai-prices')}", Prices(
        input=_flat(prices.input_mtok),
        cached_input=_flat(prices.cache_read_mtok),
        cache_write=_flat(prices.cache_write_mtok),
        output=_flat(prices.output_mtok),
    )
