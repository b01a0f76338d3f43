"""When to ask again, in the words of each provider's documentation."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.rate_headers import exhausted_for, wait_of

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("0s", 0),
        ("8.64s", 8.64),
        ("1h2m3.5s", 3723.5),
        ("2m59.56s", 179.56),
        ("1m", 60),
        ("1s500ms", 1.5),
        ("1d2h", 93_600),
        ("12", 12),
        ("0.25", 0.25),
        ("2026-11-21T12:00:30Z", 30),
        ("2026-11-21T12:01:00.5+00:00", 60.5),
        ("2026-11-21T13:00:10+01:00", 10),
        ("2026-11-21T11:00:00Z", 0),
        (str(int(NOW) + 45), 45),
        (str((int(NOW) + 45) * 1000), 45),
        (str(int(NOW) - 45), 0),
        (" 6m0s ", 360),
    ],
)
def test_a_reset_is_read_however_it_is_written(text: str, seconds: float) -> None:
    assert wait_of(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-1", "1x", "s", "6m0", "nan", "inf", "1e9", "9" * 40]
)
def test_what_is_no_reset_says_nothing(text: str) -> None:
    assert wait_of(text, NOW) is None


@given(st.text(max_size=40))
def test_no_header_breaks_the_reader(text: str) -> None:
    wait = wait_of(text, NOW)
    assert wait is None or wait >= 0


OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:01Z",
    "anthropic-ratelimit-input-tokens-remaining": "20000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-21T12:00:20Z",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:40Z",
}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        (OPENAI, None),
        ({**OPENAI, "x-ratelimit-remaining-requests": "0"}, 1),
        ({**OPENAI, "x-ratelimit-remaining-tokens": "0"}, 360),
        (
            {
                **OPENAI,
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "0",
            },
            360,
        ),
        (ANTHROPIC, None),
        ({**ANTHROPIC, "anthropic-ratelimit-output-tokens-remaining": "0"}, 40),
        ({**ANTHROPIC, "anthropic-ratelimit-input-tokens-remaining": "0"}, 20),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((int(NOW) + 9) * 1000)}, 9),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "soon"}, None),
    ],
)
def test_what_is_used_up_says_when_there_is_more(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert exhausted_for(lambda name: headers.get(name.decode()), NOW) == seconds
