"""Durations, sizes, shares and money: what is read is what was meant, to the last digit."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_project.units import (
    LARGEST_AMOUNT,
    NANO,
    from_nano,
    parse_duration,
    parse_percent,
    parse_size,
    to_nano,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("1ms", 0.001),
        ("0s", 0),
        ("30s", 30),
        ("1.5s", 1.5),
        ("10m", 600),
        ("24h", 86_400),
        ("90d", 7_776_000),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("17", 17), ("17B", 17), ("3KB", 3_000), ("512MB", 512_000_000), ("2GB", 2 * NANO)],
)
def test_a_size_is_read_in_decimal_multiples(text: str, bytes_: int) -> None:
    assert parse_size(text) == bytes_


def test_a_size_may_be_a_number() -> None:
    assert parse_size(20_000_000) == 20_000_000


@pytest.mark.parametrize(
    ("text", "share"), [("20%", "0.2"), ("0%", "0"), ("12.345678%", "0.12345678"), ("150%", "1.5")]
)
def test_a_share_is_read_exactly(text: str, share: str) -> None:
    assert parse_percent(text) == Decimal(share)


BAD_EVERYWHERE = ["", " ", "-1", "many", "NaN", "1e3", "1\n", "\x00", "1,5"]


@pytest.mark.parametrize(
    "text",
    [*BAD_EVERYWHERE, "30", "30 s", "s", "-30s", "1h30m", "1.s", ".5s", "30S", "٣s", "30s\n"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@pytest.mark.parametrize("text", [*BAD_EVERYWHERE, "1.5MB", "5 MB", "5mb", "5TB", "٣MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


@pytest.mark.parametrize("text", [*BAD_EVERYWHERE, "20", "20 %", "-5%", "%", "٣%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a share is"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("amount", "nano"),
    [
        ("1.5", 1_500_000_000),
        ("0.000000001", 1),
        ("-0.000000001", -1),
        (Decimal("2.50"), 2_500_000_000),
        (7, 7 * NANO),
        ("0", 0),
        ("-0", 0),
        ("8999999.999999999", LARGEST_AMOUNT * NANO - 1),
        ("1.0000000000000", NANO),
    ],
)
def test_an_amount_is_read_in_nano_units(amount: Decimal | str | int, nano: int) -> None:
    assert to_nano(amount) == nano


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("", "is not a decimal number"),
        ("ten", "is not a decimal number"),
        ("sNaN", "is not a decimal number"),
        ("NaN", "is not a decimal number"),
        ("Infinity", "is not a decimal number"),
        ("0.0000000001", "has more than 9 decimals"),
        ("1.00000000000000000000000000000000000001", "has more than 9 decimals"),
        ("1e-999999", "has more than 9 decimals"),
        ("9000000", "is not below 9000000"),
        ("-9000000", "is not below 9000000"),
        ("1e999999", "is not below 9000000"),
    ],
)
def test_an_amount_that_cannot_be_kept_exactly_is_refused(amount: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        to_nano(amount)


amounts = st.integers(-LARGEST_AMOUNT * NANO + 1, LARGEST_AMOUNT * NANO - 1)


@given(amounts)
def test_an_amount_survives_being_written_and_read(nano: int) -> None:
    assert to_nano(from_nano(nano)) == nano


@given(amounts)
def test_an_amount_is_written_as_the_shortest_plain_decimal(nano: int) -> None:
    text = from_nano(nano)
    assert Fraction(text) == Fraction(nano, NANO)
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))
    assert not text.startswith(("00", "-00", "+"))


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1_500_000_000, "1.5"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (100 * NANO, "100"),
        (-250_000_000, "-0.25"),
    ],
)
def test_an_amount_as_people_read_it(nano: int, text: str) -> None:
    assert from_nano(nano) == text


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_any_decimal_is_read_exactly_or_refused(amount: Decimal) -> None:
    try:
        nano = to_nano(amount)
    except ValueError:
        exact = amount.is_finite() and Fraction(amount) * NANO
        assert exact is False or exact.denominator != 1 or abs(exact) >= LARGEST_AMOUNT * NANO
    else:
        assert Fraction(nano, NANO) == Fraction(amount)
