"""What happens between dialects when a provider fails: another dialect answers, or the caller is
told in its own words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.dialects import OUTBOUND
from tests.proxy import matrix
from tests.proxy.frozen import frozen_in
from tests.proxy.in_process import InProcess, Script

pytestmark = pytest.mark.django_db

ANTHROPIC = b"".join(
    b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
    for event in (
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "usage": {"input_tokens": 3, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hello"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    )
)
WHOLE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
SSE, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
DOWN = Script(500, JSON, [b'{"error": {"message": "down"}}'])
ERROR_FIRST = Script(200, SSE, [b'data: {"error": {"message": "down"}}\n\n'])


@pytest.fixture(scope="module")
def gateway(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    document = matrix.document()
    document["aliases"]["both"] = {
        "routes": [{"targets": [{"model": "openai-model"}]}],
        "fallbacks": ["anthropic-model"],
    }
    folder: Path = tmp_path_factory.mktemp("between")
    with django_db_blocker.unblock():
        process = frozen_in(document, folder)
    yield process
    process.close()


@pytest.mark.parametrize("client", matrix.CLIENTS)
@pytest.mark.parametrize(
    ("stream", "first", "second"),
    [
        (False, DOWN, Script(200, JSON, [json.dumps(WHOLE).encode()])),
        (True, DOWN, Script(200, SSE, [ANTHROPIC])),
        (True, ERROR_FIRST, Script(200, SSE, [ANTHROPIC])),
    ],
    ids=["whole", "streamed", "an error inside a 200"],
)
def test_another_dialect_answers(
    gateway: InProcess, client: str, stream: bool, first: Script, second: Script
) -> None:
    path, body = matrix.question(client, "both", stream=stream)
    outcome = gateway.ask(path, json.dumps(body).encode(), [first, second])
    assert outcome.status == 200, outcome.body
    assert b"Hello" in outcome.body
    assert outcome.record is not None
    assert (outcome.record.provider, outcome.record.attempts) == ("anthropic", 2)
    assert (outcome.record.input_tokens, outcome.record.output_tokens) == (3, 5)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", matrix.CLIENTS)
@pytest.mark.parametrize("provider", sorted(OUTBOUND.keys() - {"gemini"}))
def test_a_provider_is_asked_for_a_stream_where_the_caller_wants_one(
    gateway: InProcess, provider: str, client: str, stream: bool
) -> None:
    """Gemini's callers say it in the path, and in no body."""
    path, body = matrix.question(client, provider, stream=stream)
    outcome = gateway.ask(path, json.dumps(body).encode(), [DOWN])
    assert bool(json.loads(outcome.sent[0]).get("stream")) is stream


def _streams() -> dict[str, bytes]:
    """A stream of each provider's dialect, the shortest with some length."""
    found: dict[str, bytes] = {}
    for exchange in matrix.exchanges().values():
        provider = matrix.PROVIDERS[exchange["dialect"]]
        body = exchange["response_body"].encode()
        good = exchange["stream"] and exchange["response_status"] == 200 and len(body) > 1_500
        if good and b"error" not in body and len(body) < len(found.get(provider, b"x" * 99_999)):
            found[provider] = body
    return found


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("client", matrix.CLIENTS)
@pytest.mark.parametrize("provider", sorted(OUTBOUND))
def test_a_stream_that_is_cut_ends_in_an_error(
    gateway: InProcess, provider: str, client: str
) -> None:
    """Cut before it says why it stopped, wherever that is: never a silent end."""
    body = _streams()[provider]
    kind = "application/x-ndjson" if provider == "ollama" else "text/event-stream"
    path, question = matrix.question(client, provider, stream=True)
    for at in range(0, len(body) // 2, max(23, len(body) // 300)):
        script = Script(200, {"content-type": kind}, [body[:at]])
        outcome = gateway.ask(path, json.dumps(question).encode(), [script])
        assert outcome.record is not None
        if b"finish" in body[:at].lower() or outcome.record.outcome == "completed":
            break  # it has said why it stopped
        assert b"error" in outcome.body, (at, outcome.body[-300:])
        assert b"[DONE]" not in outcome.body
        started = outcome.status == 200
        assert outcome.record.outcome == ("interrupted" if started else "failed")
