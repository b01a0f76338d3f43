"""Recorded messages, and what a correct client must see of each."""

import json
from functools import cache
from typing import Any

from proxy.chat.events import Event
from proxy.chat.usage import Usage
from proxy.dialects.faces import Outbound
from tests.conftest import RECORDINGS
from tests.proxy.recorded import Exchange, _expect

DIALECTS = {
    "openai-chat": "openai",
    "openai-responses": "responses",
    "anthropic-messages": "anthropic",
    "gemini": "gemini",
    "mistral-chat": "mistral",
    "ollama-native": "ollama",
}
"""Our name for the dialect of a recording."""
_ENDPOINTS = {
    "chat",
    "openai-compat-chat",
    "responses",
    "messages",
    "count_tokens",
    "generateContent",
    "streamGenerateContent",
    "rawPredict",
    "streamRawPredict",
}
SPLICED_BY_HAND = "anthropic-msg-s-3314e949"
"""Two blocks of one index, which no provider sends (the recordings' own notes)."""


@cache
def exchanges() -> dict[str, Exchange]:
    """Every chat and every count, by id. Empty where the recordings are not."""
    found = {}
    for name in ("exchanges.jsonl", "compatible.jsonl"):
        path = RECORDINGS / name
        for line in path.read_text().split("\n") if path.exists() else ():
            exchange = json.loads(line) if line else {}
            if exchange.get("endpoint") in _ENDPOINTS:
                found[exchange["id"]] = exchange
    return found


def ids(dialect: str, *, status: int = 200) -> list[str]:
    return [
        id_
        for id_, exchange in exchanges().items()
        if exchange["dialect"] == dialect and exchange["response_status"] == status
    ]


def expected(exchange: Exchange) -> dict[str, Any]:
    return _expect()(exchange)


def usage_of(reported: dict[str, Any] | None) -> Usage | None:
    """What expect.py reads from the bytes of a message, in disjoint buckets."""
    if reported is None:
        return None
    counts = {name: count or 0 for name, count in reported.items()}
    return Usage(
        input=counts["input"],
        cached_input=counts["cached"],
        cache_write=counts["cache_write"],
        output=counts["output"] - counts["reasoning"],
        reasoning=counts["reasoning"],
    )


def events_of(exchange: Exchange, outbound: Outbound) -> list[Event]:
    """A recorded answer as canonical events."""
    body = exchange["response_body"].encode()
    if exchange["response_framing"] == "json":
        return list(outbound.read_body(body))
    framer, reader = outbound.new_framer(), outbound.read_events()
    frames = framer.feed(body)
    frames += [framer.rest] if framer.rest else []
    return [*(event for frame in frames for event in reader.read(frame)), *reader.end()]
