"""How long an upstream asks to wait, in all the ways that it may say it."""

import datetime
import math
import time
from collections.abc import Iterator
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream import read_retry_after

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.fixture
def _in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("milliseconds", "text", "seconds"),
    [
        (None, None, None),
        (None, "0", 0),
        (None, "30", 30),
        (None, " 30 ", 30),
        (None, "1.5", 1.5),
        (None, "30s", None),
        (None, "", None),
        (None, "soon", None),
        (None, "-5", 0),
        (None, "1.2.3", None),
        (None, ".", None),
        (None, "²", None),
        (None, "inf", None),
        (None, "9" * 400, None),
        ("1500", None, 1.5),
        ("0", None, 0),
        ("250.5", None, 0.2505),
        ("-1", None, 0),
        ("1500", "30", 1.5),
        ("soon", None, None),
        ("soon", "30", 30),
        ("", "30", 30),
        ("inf", None, None),
        ("inf", "30", 30),
        ("nan", "30", 30),
        ("9" * 400, None, None),
    ],
)
def test_seconds_are_read_from_what_can_be_read(
    milliseconds: str | None, text: str | None, seconds: float | None
) -> None:
    assert read_retry_after(milliseconds, text) == seconds


@pytest.mark.usefixtures("_in_new_york")
@pytest.mark.parametrize(
    "text",
    [
        formatdate(NOW + 90, usegmt=True),
        formatdate(NOW + 90, localtime=False),
        format_datetime(datetime.datetime.fromtimestamp(NOW + 90, datetime.UTC)),
        time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(NOW + 90)),  # RFC 850
        time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(NOW + 90)),  # asctime
    ],
)
def test_a_date_is_read_in_utc_wherever_we_are(text: str) -> None:
    assert read_retry_after(None, text) == 90


def test_a_date_that_is_past_means_now() -> None:
    assert read_retry_after(None, formatdate(NOW - 90, usegmt=True)) == 0


texts = st.none() | st.text() | st.from_regex(r"[0-9.eE+-]{1,20}", fullmatch=True)
dates = st.from_regex(
    r"(Mon, )?[0-9]{1,3}[ -](Jan|Feb|Foo)[ -][0-9]{1,6} [0-9:]{1,9}( GMT| -0000| \+9999)?",
    fullmatch=True,
)


@given(texts, texts | dates)
@settings(max_examples=200)
def test_whatever_is_said_is_read_as_seconds_or_not_at_all(
    milliseconds: str | None, text: str | None
) -> None:
    seconds = read_retry_after(milliseconds, text)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
