"""Recorded exchanges of chat completions, and what a caller must see of each."""

import importlib.util
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from proxy.chat.usage import Usage
from tests.conftest import RECORDINGS

Exchange = dict[str, Any]

_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)|.+", re.DOTALL)
_CACHE_WRITE = re.compile(r'"cache_write_tokens": ?(\d+)')
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


@cache
def exchanges() -> dict[str, Exchange]:
    """Those that speak chat completions, by id. Empty where the recordings are not."""
    found = {}
    for name in ("exchanges.jsonl", "compatible.jsonl"):
        path = RECORDINGS / name
        for line in path.read_text().split("\n") if path.exists() else ():
            exchange = json.loads(line) if line else {}
            if exchange.get("dialect") == "openai-chat":
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


def whole(body: bytes) -> list[bytes]:
    return [body]


def line_by_line(body: bytes) -> list[bytes]:
    return _LINE.findall(body)


def byte_by_byte(body: bytes) -> list[bytes]:
    return [body[index : index + 1] for index in range(len(body))]


def headers_of(exchange: Exchange) -> dict[str, str]:
    """What matters of the head; where it was not recorded, what its framing means."""
    types = {"sse": "text/event-stream", "json": "application/json"}
    recorded = {name.lower(): value for name, value in exchange["response_headers"].items()}
    kept = {name: recorded[name] for name in ("content-type", "retry-after") if name in recorded}
    return {"content-type": types[exchange["response_framing"]], **kept}


def asked(exchange: Exchange, alias: str) -> dict[str, Any]:
    """What the caller sends: the recorded body with the alias as its model."""
    body = exchange["request_body"] or {
        "messages": [{"role": "user", "content": "?"}],
        "stream": exchange["stream"],
    }
    return {**body, "model": alias}


def events(body: bytes) -> list[bytes]:
    return _EVENT.findall(body)


def _data(event: bytes) -> Any:
    data = b"\n".join(
        line.removeprefix(b"data:").strip()
        for line in re.split(rb"\r\n|\n|\r", event)
        if line.startswith(b"data:")
    )
    try:
        return json.loads(data)
    except ValueError:
        return None


def _is_only_usage(event: bytes) -> bool:
    data = _data(event)
    return isinstance(data, dict) and not data.get("choices") and bool(data.get("usage"))


def _is_error(event: bytes) -> bool:
    data = _data(event)
    return isinstance(data, dict) and bool(data.get("error")) and not data.get("choices")


def _wants_usage(exchange: Exchange) -> bool:
    options = (exchange["request_body"] or {}).get("stream_options") or {}
    return bool(options.get("include_usage"))


def delivered(exchange: Exchange) -> bytes:
    """The bytes that the caller of a 200 must get, but for an error of our own at the end."""
    body: bytes = exchange["response_body"].encode()
    if exchange["response_framing"] != "sse" or _wants_usage(exchange):
        return body
    return b"".join(event for event in events(body) if not _is_only_usage(event))


def has_error_inside(exchange: Exchange) -> bool:
    return any(_is_error(event) for event in events(exchange["response_body"].encode()))


def usage_of(exchange: Exchange) -> Usage | None:
    """What expect.py reads from the bytes, in disjoint buckets that add up to what is billed.

    xAI counts and bills reasoning beside the completion. OpenRouter may report more reasoning than
    completion, and bills the completion; what it wrote to a cache expect.py does not tell.
    """
    reported = _expect()(exchange)["usage"]
    if reported is None:
        return None
    counts = {name: count or 0 for name, count in reported.items()}
    output, reasoning = counts["output"], counts["reasoning"]
    if exchange["provider"] != "x-xai":
        reasoning = min(reasoning, output)
        output -= reasoning
    written = _CACHE_WRITE.search(exchange["response_body"])
    cache_write = int(written[1]) if written else 0
    return Usage(
        input=counts["input"] - counts["cached"] - cache_write,
        cached_input=counts["cached"],
        cache_write=cache_write,
        output=output,
        reasoning=reasoning,
    )


def ids(wanted: Callable[[Exchange], bool]) -> list[str]:
    return [id_ for id_, exchange in exchanges().items() if wanted(exchange)]
