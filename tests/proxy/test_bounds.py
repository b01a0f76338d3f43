"""The most that a request can use: nothing that its body may come to is left out."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.bounds import (
    MEDIA_TOKENS,
    Bound,
    Exposure,
    InputBound,
    most,
    output_bound,
    output_within,
)
from proxy.errors import GatewayError
from proxy.exchange import Rates
from proxy.meter import count_request
from tests.proxy.asking import exchange, model, rate

PATHS = {
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/pro:generateContent",
}
LONG = base64.b64encode(bytes(30_000)).decode()
IMAGE, AUDIO, DOCUMENT = MEDIA_TOKENS["image"], MEDIA_TOKENS["audio"], MEDIA_TOKENS["document"]


def body_of(dialect: str, *parts: dict[str, Any]) -> dict[str, Any]:
    if dialect == "gemini":
        return {"contents": [{"role": "user", "parts": list(parts)}]}
    member = "input" if dialect == "responses" else "messages"
    return {"model": "pro", member: [{"role": "user", "content": list(parts)}]}


def bound(dialect: str, body: bytes | dict[str, Any], **facts: Any) -> int:
    return InputBound(exchange(PATHS[dialect], body)).tokens(model(**facts))


def media_of(dialect: str, *parts: dict[str, Any]) -> int:
    """What is counted beyond the bytes that are no medium's."""
    body = body_of(dialect, *parts)
    return bound(dialect, body) - len(json.dumps(body))


OPENAI_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{LONG}"}}
INLINE = [
    ("openai", OPENAI_IMAGE, IMAGE),
    ("openai", {"type": "input_audio", "input_audio": {"data": LONG, "format": "wav"}}, AUDIO),
    ("openai", {"type": "file", "file": {"filename": "a", "file_data": LONG}}, DOCUMENT),
    (
        "responses",
        {"type": "input_image", "image_url": f"data:image/png;base64,{LONG}"},
        IMAGE,
    ),
    ("responses", {"type": "input_file", "filename": "a", "file_data": LONG}, DOCUMENT),
    ("responses", {"type": "input_audio", "input_audio": {"data": LONG}}, AUDIO),
    (
        "anthropic",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": LONG}},
        IMAGE,
    ),
    (
        "anthropic",
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": LONG},
        },
        DOCUMENT,
    ),
    ("gemini", {"inlineData": {"mimeType": "image/png", "data": LONG}}, IMAGE),
    ("gemini", {"inline_data": {"mime_type": "audio/wav", "data": LONG}}, AUDIO),
    ("gemini", {"inlineData": {"mimeType": "video/mp4", "data": LONG}}, DOCUMENT),
]
URL = "https://example.org/a"
ELSEWHERE = [
    ("openai", {"type": "image_url", "image_url": {"url": URL}}, IMAGE),
    ("openai", {"type": "file", "file": {"file_id": "file-1"}}, DOCUMENT),
    ("responses", {"type": "input_image", "image_url": URL}, IMAGE),
    ("responses", {"type": "input_image", "file_id": "file-1"}, IMAGE),
    ("responses", {"type": "input_file", "file_url": URL}, DOCUMENT),
    ("responses", {"type": "input_file", "file_id": "file-1"}, DOCUMENT),
    ("anthropic", {"type": "image", "source": {"type": "url", "url": URL}}, IMAGE),
    ("anthropic", {"type": "image", "source": {"type": "file", "file_id": "f"}}, IMAGE),
    ("anthropic", {"type": "document", "source": {"type": "url", "url": URL}}, DOCUMENT),
    ("anthropic", {"type": "document", "source": {"type": "file", "file_id": "f"}}, DOCUMENT),
    ("anthropic", {"type": "container_upload", "file_id": "f"}, DOCUMENT),
    ("gemini", {"fileData": {"mimeType": "image/png", "fileUri": URL}}, IMAGE),
    ("gemini", {"file_data": {"mime_type": "video/mp4", "file_uri": URL}}, DOCUMENT),
]


@pytest.mark.parametrize(("dialect", "part", "tokens"), INLINE)
def test_an_inline_medium_counts_as_one_and_not_by_its_bytes(
    dialect: str, part: dict[str, Any], tokens: int
) -> None:
    assert media_of(dialect, part) == tokens - len(LONG)


@pytest.mark.parametrize(("dialect", "part", "tokens"), ELSEWHERE)
def test_a_medium_that_lies_elsewhere_counts_too(
    dialect: str, part: dict[str, Any], tokens: int
) -> None:
    assert tokens - len(URL) <= media_of(dialect, part) <= tokens
    assert media_of(dialect, part, part) in range(2 * tokens - 2 * len(URL), 2 * tokens + 1)


@pytest.mark.parametrize(("dialect", "part", "tokens"), [*INLINE, *ELSEWHERE])
def test_a_medium_is_found_however_its_keys_are_written(
    dialect: str, part: dict[str, Any], tokens: int
) -> None:
    raw = json.dumps(body_of(dialect, part))
    for letter in "aeilmptu_":
        raw = raw.replace(f'{letter}"', f'\\u{ord(letter):04x}"')
    plain = json.dumps(body_of(dialect, part))
    assert bound(dialect, raw.encode()) - len(raw) >= bound(dialect, plain.encode()) - len(plain)


@pytest.mark.parametrize(
    ("dialect", "inside"),
    [
        (
            "anthropic",
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"type": "url", "url": URL}}],
            },
        ),
        (
            "gemini",
            {
                "functionResponse": {
                    "name": "look",
                    "response": {},
                    "parts": [{"fileData": {"mimeType": "image/png", "fileUri": URL}}],
                }
            },
        ),
    ],
)
def test_media_inside_a_tools_result_count(dialect: str, inside: dict[str, Any]) -> None:
    assert media_of(dialect, inside) == IMAGE - len(URL)


def test_a_screenshot_and_a_made_image_count() -> None:
    shot = {
        "type": "computer_call_output",
        "call_id": "c",
        "output": {"type": "computer_screenshot", "image_url": URL},
    }
    made = {"type": "image_generation_call", "id": "i", "result": "AAAA"}
    body = {"model": "pro", "input": [shot, made]}
    assert bound("responses", body) == len(json.dumps(body)) + 2 * IMAGE


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, IMAGE),
        ({"type": "video_url", "video_url": {"url": URL}}, DOCUMENT),
        ({"type": "audio_url", "audio_url": {"url": URL}}, AUDIO),
    ],
)
def test_media_count_also_where_only_the_provider_can_read_the_body(
    part: dict[str, Any], tokens: int
) -> None:
    """Such a body passes to its own dialect."""
    body = body_of("openai", part, {"type": "hologram"})
    with pytest.raises(GatewayError):
        exchange(PATHS["openai"], body).read_request()
    assert bound("openai", body) == len(json.dumps(body)) + tokens


def test_what_lies_deep_is_found_without_an_end() -> None:
    deep: dict[str, Any] = {"type": "video_url"}
    for _ in range(300):
        deep = {"in": [deep]}
    body = body_of("openai", {"type": "hologram", "of": deep})
    assert bound("openai", body) == len(json.dumps(body)) + DOCUMENT


# ---- text


TEXT: dict[str, dict[str, Any]] = {
    "openai": {"type": "text", "text": "an image, a document, a file"},
    "responses": {"type": "input_text", "text": "input_image"},
    "anthropic": {"type": "text", "text": '{"image_url": "source"}'},
    "gemini": {"text": "inlineData"},
}


@pytest.mark.parametrize("dialect", PATHS)
def test_plain_text_has_no_media(dialect: str) -> None:
    assert media_of(dialect, TEXT[dialect]) == 0


@pytest.mark.parametrize("dialect", PATHS)
def test_plain_text_is_not_even_read(dialect: str) -> None:
    asked = exchange(PATHS[dialect], body_of(dialect, TEXT[dialect]))
    InputBound(asked)
    assert asked.canonical is None


def test_a_document_of_text_counts_by_its_bytes() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "words " * 100}
    assert media_of("anthropic", {"type": "document", "source": source}) == 0


def test_texts_to_embed_count_by_their_bytes() -> None:
    raw = b'{"model":"pro","input":["\\"image\\": x","\\u0041"]}'
    assert InputBound(exchange("/v1/embeddings", raw)).tokens(model()) == len(raw)


def test_what_the_upstream_adds_is_added() -> None:
    body = body_of("openai", TEXT["openai"])
    assert bound("openai", body, overhead_tokens=75) == bound("openai", body) + 75


def test_a_model_may_declare_what_its_media_count() -> None:
    body = body_of("openai", OPENAI_IMAGE, INLINE[1][1])
    declared = {"image": 85, "document": 7}
    usual = bound("openai", body)
    assert bound("openai", body, media_tokens=declared) == usual - IMAGE + 85


tokens_in = st.text(max_size=60)
tools = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {
                    "name": st.just("look"),
                    "description": tokens_in,
                    "parameters": st.dictionaries(
                        tokens_in, tokens_in | st.floats(-1e18, 1e18) | st.integers(0, 10**9)
                    ),
                }
            ),
        }
    ),
    max_size=2,
)


@given(st.lists(tokens_in, min_size=1, max_size=5), tools, st.booleans())
@settings(max_examples=60)
def test_a_bound_is_never_below_what_is_estimated(
    texts: list[str], offered: list[dict[str, Any]], ascii_only: bool
) -> None:
    body = {"messages": [{"role": "user", "content": text} for text in texts], "tools": offered}
    raw = json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    asked = exchange(PATHS["openai"], raw)
    assert InputBound(asked).tokens(model()) >= count_request(asked.read_request())


@given(st.sampled_from(["anthropic", "gemini", "responses"]), st.lists(tokens_in, min_size=1))
@settings(max_examples=60)
def test_in_other_dialects_neither(dialect: str, texts: list[str]) -> None:
    parts = [{**TEXT[dialect], "text": f"x{text}"} for text in texts]
    asked = exchange(PATHS[dialect], body_of(dialect, *parts))
    assert InputBound(asked).tokens(model()) >= count_request(asked.read_request())


# ---- output


@pytest.mark.parametrize(
    ("asked", "facts", "answers", "expected"),
    [
        (None, {}, 1, None),
        (100, {}, 1, 100),
        (100, {}, 3, 300),
        (None, {"max_output_tokens": 50}, 2, 100),
        (100, {"max_output_tokens": 50}, 1, 50),
        (10, {"max_output_tokens": 50}, 1, 10),
        (None, {"context_window": 900}, 1, 900),
        (None, {"context_window": 900, "max_output_tokens": 50}, 1, 50),
    ],
)
def test_output_is_bounded_by_whoever_allows_least(
    asked: int | None, facts: dict[str, Any], answers: int, expected: int | None
) -> None:
    assert output_bound(asked, model(**facts), answers) == expected


# ---- what it may cost


def exposure(
    input_tokens: int, output: int | None, charge: Any = None, cost: Any = None
) -> Exposure:
    return Exposure(Bound(input_tokens, output), Rates(cost, charge))


def test_the_dearest_target_counts_in_each_unit() -> None:
    found = [
        exposure(100, 10, charge=rate(1, 10), cost=rate(3, 3)),
        exposure(50, 20, charge=rate(1, 10), cost=rate(1, 1)),
    ]
    assert most(found, "tokens") == 110
    assert most(found, "charge") == 250_000
    assert most(found, "cost") == 330_000


def test_one_target_without_a_bound_leaves_none() -> None:
    found = [exposure(100, 10, charge=rate()), exposure(100, None, charge=rate())]
    assert [most(found, unit) for unit in ("tokens", "charge", "cost")] == [None] * 3


def test_a_target_without_a_price_counts_nothing_in_money() -> None:
    assert most([exposure(100, 10)], "charge") == 0
    assert most([], "tokens") == 0


@given(
    st.sampled_from(["tokens", "charge"]),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 20)), min_size=1, max_size=3),
    st.integers(0, 2_000_000),
)
@settings(max_examples=100)
def test_the_output_that_fits_is_the_largest_at_every_target(
    unit: str, targets: list[tuple[int, int]], room: int
) -> None:
    def worst(output: int) -> int:
        found = most([exposure(size, output, rate(1, price)) for size, price in targets], unit)
        assert found is not None
        return found

    fits = output_within(
        [exposure(size, None, rate(1, price)) for size, price in targets], unit, room
    )
    if fits is None:
        assert unit == "charge"
        assert worst(10**9) == worst(0)
    elif worst(0) <= room:
        assert worst(fits) <= room < worst(fits + 1)
    else:
        assert fits == 0
