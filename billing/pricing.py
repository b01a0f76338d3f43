"""Usage to money. Pure, in integers: no float touches an amount.

A price is an integer of 1e-15 units of currency per million tokens, so that a price of nine
decimals times a mark-up of six is exact. Up to there prices are multiplied as fractions, because
decimals are rounded to 28 digits. An amount is rounded once, half up, to nano-units.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

PRICE_DECIMALS = 15
_UNIT: int = 10**PRICE_DECIMALS
_PER = 10**6
"""Prices are per million tokens."""
_NANO_DIVISOR: int = _UNIT * _PER // 10**9


class Tokens(NamedTuple):
    """What a request used, in disjoint buckets: input without cached, output without reasoning."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


def charged_tokens(used: Tokens, policy: str, reserved: Callable[[], Tokens]) -> Tokens | None:
    """What is multiplied by the prices; None: nothing is charged. `reserved` gives the most that
    the request could have used."""
    match policy:
        case "nothing":
            return None
        case "input":
            return Tokens(used.input, used.cached_input, used.cache_write)
        case "reserved":
            return reserved()
    return used


Price = Decimal | Fraction


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of one model as people write them: per million tokens, `per_request` per request."""

    input: Price | None = None
    cached_input: Price | None = None
    cache_write: Price | None = None
    output: Price | None = None
    reasoning: Price | None = None
    per_request: Price | None = None

    def times(self, factor: Fraction) -> "Prices":
        """The same with a mark-up or an exchange rate on every price."""
        return Prices(
            *(
                None if price is None else Fraction(price) * factor
                for price in (
                    self.input,
                    self.cached_input,
                    self.cache_write,
                    self.output,
                    self.reasoning,
                    self.per_request,
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Prices ready to multiply, and the name that records pin."""

    version: str
    currency: str
    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int
    per_request: int

    def amount(self, tokens: Tokens) -> int:
        """Nano-units of `currency` for one request."""
        total = (
            tokens.input * self.input
            + tokens.cached_input * self.cached_input
            + tokens.cache_write * self.cache_write
            + tokens.output * self.output
            + tokens.reasoning * self.reasoning
            + self.per_request * _PER
        )
        nano: int = (2 * total + _NANO_DIVISOR) // (2 * _NANO_DIVISOR)
        return nano

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Nano-units that so many tokens may come to, in whichever buckets they fall."""
        total = (
            input_tokens * max(self.input, self.cached_input, self.cache_write)
            + output_tokens * max(self.output, self.reasoning)
            + self.per_request * _PER
        )
        return -(-total // _NANO_DIVISOR)

    def output_within(self, room: int, input_tokens: int) -> int | None:
        """Output tokens that `room` nano-units have space for beside the input; None: any number,
        because they cost nothing."""
        left = room * _NANO_DIVISOR - self.per_request * _PER
        left -= input_tokens * max(self.input, self.cached_input, self.cache_write)
        if left < 0:
            return 0
        price = max(self.output, self.reasoning)
        return left // price if price else None


def share_of(amount: int, factor: Fraction) -> int:
    """A share of an amount in nano-units, rounded half up."""
    return int((2 * amount * factor.numerator + factor.denominator) // (2 * factor.denominator))


def most_of(amount: int, factor: Fraction) -> int:
    """The same, rounded up: what is reserved for it."""
    return int(-(-amount * factor.numerator // factor.denominator))


def _scaled(price: Price) -> int:
    numerator, denominator = Fraction(price).as_integer_ratio()
    return (2 * numerator * _UNIT + denominator) // (2 * denominator)


def make_rate(*, version: str, currency: str, prices: Prices) -> Rate | None:
    """A rate, or None where there is no price at all.

    A missing price for cached input or cache writes is input's, for reasoning output's. A model
    that is priced by the request alone bills no tokens.
    """
    if prices.input is None and prices.output is None and prices.per_request is None:
        return None
    zero: Price = Decimal(0)
    base_in = zero if prices.input is None else prices.input
    base_out = zero if prices.output is None else prices.output
    return Rate(
        version=version,
        currency=currency,
        input=_scaled(base_in),
        cached_input=_scaled(base_in if prices.cached_input is None else prices.cached_input),
        cache_write=_scaled(base_in if prices.cache_write is None else prices.cache_write),
        output=_scaled(base_out),
        reasoning=_scaled(base_out if prices.reasoning is None else prices.reasoning),
        per_request=_scaled(zero if prices.per_request is None else prices.per_request),
    )


@dataclass(frozen=True, slots=True)
class RateHistory:
    """The rates of one model in one book, oldest first: (effective from, rate or None)."""

    entries: tuple[tuple[float, Rate | None], ...]

    def at(self, moment: float) -> Rate | None:
        """The rate in force at a moment in seconds since the epoch."""
        found = None
        for effective, rate in self.entries:
            if effective > moment:
                break
            found = rate
        return found


@dataclass(frozen=True, slots=True)
class VersionSheet:
    """One version of a book as it stands in the database."""

    label: str
    effective: datetime
    markup: Decimal
    prices: Mapping[str, Prices]


@dataclass(frozen=True, slots=True)
class BookSheet:
    """A price book: its versions oldest first, and the book it adds its mark-up to."""

    name: str
    currency: str
    based_on: str
    uses_catalogue: bool
    versions: Sequence[VersionSheet]

    def version_at(self, moment: datetime) -> VersionSheet | None:
        found = None
        for version in self.versions:
            if version.effective > moment:
                break
            found = version
        return found
