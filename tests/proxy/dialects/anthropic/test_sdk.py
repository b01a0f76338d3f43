"""Answers of every provider, written as messages, and read by Anthropic's own SDK."""

from typing import Any

import anthropic
import msgspec
import orjson
import pytest

from proxy.chat.events import Event
from proxy.chat.fold import Answer, Block, fold
from proxy.chat.request import ChatRequest
from proxy.dialects import OUTBOUND
from proxy.dialects.anthropic import inbound
from proxy.dialects.faces import Start
from proxy.errors import (
    AliasNotAllowed,
    AliasNotFound,
    GatewayError,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestTooLarge,
    Unauthenticated,
    UpstreamError,
)
from tests.proxy.dialects.anthropic import sdk
from tests.proxy.dialects.anthropic.recorded import (
    DIALECTS,
    SPLICED_BY_HAND,
    events_of,
    exchanges,
)

ANSWERED = [
    id_
    for id_, exchange in exchanges().items()
    if exchange["response_status"] == 200
    and DIALECTS.get(exchange["dialect"]) in OUTBOUND
    and id_ != SPLICED_BY_HAND
]
STOPS = {
    "stop": ("end_turn", "stop_sequence", "refusal"),
    "length": ("max_tokens", "model_context_window_exceeded"),
    "tool_calls": ("tool_use",),
    "content_filter": ("refusal",),
    "refusal": ("refusal",),
    "pause": ("pause_turn", "compaction"),
    "error": ("end_turn",),
}
START = Start("msg_gateway", "pro", 1_700_000_000)
REQUEST = ChatRequest(messages=())

pytestmark = pytest.mark.usefixtures("recordings")


def written(events: list[Event], *, stream: bool) -> bytes:
    if not stream:
        return inbound.write_body(events, REQUEST, START)
    writer = inbound.stream_writer(REQUEST, START)
    return b"".join([*(writer.write(event) for event in events), writer.end()])


def given(block: Block) -> Any:
    """A call's arguments, as a caller would read them; text that is no object as it stands."""
    if block.extras.get("openai", {}).get("type") == "custom":
        return {"input": block.text}
    try:
        parsed = orjson.loads(block.text or "{}")
    except orjson.JSONDecodeError:
        return {"_raw": block.text}
    return parsed if isinstance(parsed, dict) else {"_raw": block.text}


def differences(answer: Answer, message: Any, *, stream: bool) -> list[str]:
    """What the SDK reads that the answer does not say."""
    first = [block for block in answer.blocks if block.choice == 0]
    words = "".join(block.text for block in first if block.kind in ("text", "refusal"))
    thoughts = "".join(block.text for block in first if block.kind == "reasoning")
    calls = [(block.name, given(block)) for block in first if block.kind == "tool_call"]
    if stream:  # the SDK repairs arguments that were cut off
        calls = [
            (name, got if "_raw" in wanted else wanted)
            for (name, wanted), (_, got) in zip(calls, sdk.calls_of(message), strict=True)
        ]
    usage, buckets = message.usage, answer.usage
    pairs = {
        "text": (words, sdk.text_of(message)),
        "reasoning": (thoughts, sdk.reasoning_of(message)),
        "calls": (calls, sdk.calls_of(message)),
    }
    if buckets is not None:
        pairs |= {
            "input": (buckets.input, usage.input_tokens),
            "cached": (buckets.cached_input, usage.cache_read_input_tokens),
            "cache_write": (buckets.cache_write, usage.cache_creation_input_tokens),
            "output": (buckets.total_output, usage.output_tokens),
        }
    found = [
        f"{what}: {one!r} is {other!r}" for what, (one, other) in pairs.items() if one != other
    ]
    if answer.finish and message.stop_reason not in STOPS[answer.finish]:
        found.append(f"finish: {answer.finish} is {message.stop_reason}")
    return found


@pytest.mark.parametrize("id_", ANSWERED)
def test_the_sdk_reads_what_the_provider_said(id_: str) -> None:
    exchange = exchanges()[id_]
    try:
        events = events_of(exchange, OUTBOUND[DIALECTS[exchange["dialect"]]])
    except msgspec.DecodeError:
        pytest.skip("no answer")
    answer = fold(events)
    if answer.failed or not answer.finishes:
        return  # ends in an error, below
    for stream in (True, False):
        message = sdk.read(written(events, stream=stream), stream=stream)
        assert differences(answer, message, stream=stream) == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (InvalidRequest("no", param="model"), anthropic.BadRequestError),
        (Unauthenticated("unknown"), anthropic.AuthenticationError),
        (AliasNotAllowed("no"), anthropic.PermissionDeniedError),
        (AliasNotFound("no"), anthropic.NotFoundError),
        (NotFound("no"), anthropic.NotFoundError),
        (RequestTooLarge("no"), anthropic.RequestTooLargeError),
        (UpstreamError("rate_limit", "slow"), anthropic.RateLimitError),
        (UpstreamError("server_error", "oops"), anthropic.InternalServerError),
        (UpstreamError("timeout", "late"), anthropic.DeadlineExceededError),
        (Overloaded("full"), anthropic.ServiceUnavailableError),
    ],
)
def test_the_sdk_raises_its_own_error(error: GatewayError, raised: type[Exception]) -> None:
    body = inbound.write_error(error, "req-1")
    speaker = sdk.client(body, status=error.status)
    with pytest.raises(raised) as caught:
        speaker.messages.create(**sdk.ASK)
    said = caught.value.body["error"]
    assert (said["message"], said["code"], said["param"]) == (
        error.message,
        error.code,
        error.param,
    )
    assert caught.value.body["request_id"] == "req-1"


def test_the_sdk_raises_on_an_error_in_a_stream() -> None:
    event = inbound.write_stream_error(UpstreamError("overloaded", "Overloaded"), "req-1")
    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk.read(event, stream=True)
    assert caught.value.body["error"]["type"] == "api_error"


def test_the_sdk_lists_the_aliases() -> None:
    body = inbound.write_models([("pro", "The best"), ("mini", "")])
    page = sdk.client(body).models.list()
    assert [(model.id, model.display_name) for model in page] == [
        ("pro", "The best"),
        ("mini", "mini"),
    ]
    assert not page.has_next_page()
    assert sdk.client(inbound.write_model("pro", "")).models.retrieve("pro").id == "pro"
    assert list(sdk.client(inbound.write_models([])).models.list()) == []
