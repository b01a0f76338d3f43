"""`price_books:` prices per million tokens, in versions with effective dates."""

from typing import Annotated, Literal

from pydantic import model_validator

from routing.config.fields import Currency, Effective, Markup, Money, Name, Shape, once


class Price(Shape):
    """A missing `cached_input` or `cache_write` is input's, a missing `reasoning` output's."""

    input: Money | None = None
    cached_input: Money | None = None
    cache_write: Money | None = None
    output: Money | None = None
    reasoning: Money | None = None
    per_request: Money | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Price":
        if not self.model_fields_set:
            raise ValueError("names no price")
        return self


class PriceVersion(Shape):
    effective: Effective
    markup: Markup | None = None
    prices: dict[Name, Price] = {}


class PriceBook(Shape):
    """`cost` is what providers bill us. `fallback: catalogue` prices unknown models from the
    packaged catalogue."""

    currency: Currency = "USD"
    based_on: Name | None = None
    versions: Annotated[list[PriceVersion], once("effective")] = []
    fallback: Literal["none", "catalogue"] = "none"
