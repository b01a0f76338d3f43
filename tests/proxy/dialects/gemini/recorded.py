"""Recorded exchanges with Gemini and Vertex AI, and what a caller must see of each."""

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from proxy.chat.events import Event
from proxy.chat.fold import Answer
from proxy.chat.usage import Usage
from proxy.dialects import OUTBOUND
from proxy.dialects.faces import Outbound
from tests.conftest import RECORDINGS

Exchange = dict[str, Any]

STREAMED_ARGUMENTS = {"gemini-gen-s-0a0cbfd5", "gemini-gen-s-5c842bbc"}
"""Arguments in parts, which expect.py does not put together."""


@cache
def everything() -> dict[str, Exchange]:
    """All exchanges, by id. Empty where the recordings are not."""
    found = {}
    for name in ("exchanges.jsonl", "compatible.jsonl"):
        path = RECORDINGS / name
        for line in path.read_text().split("\n") if path.exists() else ():
            exchange = json.loads(line) if line else {}
            if exchange:
                found[exchange["id"]] = exchange
    return found


@cache
def _expect() -> Callable[[Exchange], dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("expect", RECORDINGS / "expect.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    expect: Callable[[Exchange], dict[str, Any]] = module.expect
    return expect


def expected(exchange: Exchange) -> dict[str, Any]:
    return _expect()(exchange)


def generates(exchange: Exchange) -> bool:
    return exchange["dialect"] == "gemini" and "enerateContent" in exchange["endpoint"]


def answers(exchange: Exchange) -> bool:
    return generates(exchange) and exchange["response_status"] == 200


def flows(exchange: Exchange) -> bool:
    """Whether it was answered by server-sent events."""
    return answers(exchange) and exchange["response_framing"] == "sse"


def params(wanted: Callable[[Exchange], bool]) -> list[Any]:
    return [
        pytest.param(exchange, id=id_) for id_, exchange in everything().items() if wanted(exchange)
    ]


def body_of(exchange: Exchange) -> bytes:
    body: str = exchange["response_body"]
    return body.encode()


def framed(outbound: Outbound, chunks: list[bytes]) -> list[bytes]:
    framer = outbound.new_framer()
    frames = [frame for chunk in chunks for frame in framer.feed(chunk)]
    return [*frames, framer.rest] if framer.rest else frames


def events_of(exchange: Exchange, outbound: Outbound = OUTBOUND["gemini"]) -> list[Event]:
    """What an answer says, streamed or whole."""
    body = body_of(exchange)
    if exchange["response_framing"] == "json":
        return list(outbound.read_body(body))
    reader = outbound.read_events()
    events = [event for frame in framed(outbound, [body]) for event in reader.read(frame)]
    return [*events, *reader.end()]


def usage_of(exchange: Exchange) -> Usage | None:
    """What expect.py reads from the bytes, in disjoint buckets; and the tokens of the provider's
    own tools, which it leaves out."""
    counts = expected(exchange)["usage"]
    if counts is None or counts["input"] is None:
        return None
    counts = {name: count or 0 for name, count in counts.items()}
    return Usage(
        input=counts["input"] - counts["cached"] + _tool_tokens(exchange),
        cached_input=counts["cached"],
        output=counts["output"],
        reasoning=counts["reasoning"],
    )


def _tool_tokens(exchange: Exchange) -> int:
    name = '"toolUsePromptTokenCount":'
    _, found, after = exchange["response_body"].rpartition(name)
    return int(after.lstrip().partition(",")[0].partition("\n")[0].strip(" }\r")) if found else 0


def said(answer: Answer, kind: str) -> str:
    return "".join(
        block.text for block in answer.blocks if block.kind == kind and block.choice == 0
    )


def called(answer: Answer) -> list[tuple[str, Any]]:
    return [
        (block.name, json.loads(block.text or "{}"))
        for block in answer.blocks
        if block.kind == "tool_call" and block.choice == 0
    ]
