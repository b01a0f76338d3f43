"""Each scalar has one form, which means what was written."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_project.units import parse_duration, parse_percent, parse_size
from routing.config import formats


@pytest.mark.parametrize(
    ("form", "written", "canonical"),
    [
        (formats.duration, "60s", "1m"),
        (formats.duration, "0.5h", "30m"),
        (formats.duration, "90s", "90s"),
        (formats.duration, "24h", "1d"),
        (formats.duration, "1500ms", "1500ms"),
        (formats.duration, "0ms", "0s"),
        (formats.size, "20000KB", "20MB"),
        (formats.size, 1024, "1024B"),
        (formats.percent, "20.50%", "20.5%"),
        (formats.percent, "0.0%", "0%"),
        (formats.money, "0.50", Decimal("0.5")),
        (formats.money, 500, Decimal(500)),
        (formats.money, Decimal("1E+2"), Decimal(100)),
        (formats.effective, "2026-01-01", "2026-01-01"),
        (formats.effective, "2026-01-01T02:00:00+02:00", "2026-01-01"),
        (formats.effective, "2026-01-01 06:30", "2026-01-01T06:30:00Z"),
        (formats.timezone, "Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_a_value_has_one_form(form: Callable[[Any], Any], written: Any, canonical: Any) -> None:
    assert form(written) == canonical
    assert form(canonical) == canonical


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (formats.duration, "5"),
        (formats.duration, "5 s"),
        (formats.duration, "-5s"),
        (formats.duration, "0.5ms"),
        (formats.duration, "99999d"),
        (formats.duration, 5),
        (formats.some_time, "0s"),
        (formats.size, "20MiB"),
        (formats.size, "0"),
        (formats.size, "5000GB"),
        (formats.percent, 20),
        (formats.percent, "-1%"),
        (formats.share, "101%"),
        (formats.markup, "0.00001%"),
        (formats.money, -1),
        (formats.money, "9000000"),
        (formats.money, "0.0000000001"),
        (formats.money, "NaN"),
        (formats.money, "five"),
        (formats.money, True),
        (formats.money, [1]),
        (formats.effective, "tomorrow"),
        (formats.effective, "0001-01-01T00:00:00+10:00"),
        (formats.timezone, "Mars/Base"),
        (formats.timezone, "../etc/passwd"),
        (formats.timezone, "Europe"),
        (formats.url, "ftp://host"),
        (formats.url, "https://"),
        (formats.url, "https://user:secret@host"),
        (formats.url, "https://ho st"),
        (formats.url, "http://[::1"),
        (formats.url, "https://host:99999"),
        (formats.regular_expression, "("),
    ],
)
def test_what_means_nothing_is_refused(form: Callable[[Any], Any], written: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        form(written)


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 875_999), st.sampled_from(["", ".5"]), st.sampled_from(["s", "m", "h"]))
def test_a_duration_keeps_its_length(number: int, half: str, unit: str) -> None:
    written = f"{number}{half}{unit}"
    canonical = formats.duration(written)
    assert parse_duration(canonical) == pytest.approx(parse_duration(written))
    assert formats.duration(canonical) == canonical


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, formats.LARGEST))
def test_a_size_keeps_its_bytes(count: int) -> None:
    assert parse_size(formats.size(count)) == count


@settings(deadline=None)  # a busy machine is no failure
@given(st.decimals(0, 999_999, places=6))
def test_a_percentage_keeps_its_share(number: Decimal) -> None:
    written = f"{number:f}%"
    assert parse_percent(formats.percent(written)) == parse_percent(written)


@settings(deadline=None)  # a busy machine is no failure
@given(st.decimals(0, 8_999_999, places=9))
def test_money_keeps_every_nano(amount: Decimal) -> None:
    assert formats.money(amount) == amount
    assert formats.money(formats.plain(amount)) == amount
