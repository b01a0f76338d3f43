"""Recorded responses, and what a correct client must see of each."""

import json
from functools import cache
from typing import Any

from proxy.chat.fold import Answer, fold
from proxy.chat.usage import Usage, disjoint
from proxy.dialects.responses import outbound
from tests.proxy.dialects.anthropic.recorded import events_of, exchanges, expected
from tests.proxy.recorded import Exchange, byte_by_byte, line_by_line, whole

CUTS = {"whole": whole, "by line": line_by_line, "byte by byte": byte_by_byte}
ALTERED = {"openai-resp-s-04ab453f", "openai-resp-s-39825271", "openai-resp-s-73340a49"}
"""Somebody's paths were replaced in the last event, but not in the deltas."""
RENAMED = {"openai-resp-s-a486f124", "openai-resp-s-51972b54"}
"""Somebody gave every event ids of its own."""
REPEATED_IDS = {"x-xai-resp-n-6b0be80b", "x-xai-resp-n-106b0c9a"}
"""Two items of one id: a caller of a whole answer gets them, but the SDK takes no such stream."""
QUEUED = {"openai-resp-n-1cae3015", "openai-resp-n-af40da93"}
"""Answers to `background: true`, which we refuse: they are none yet."""


@cache
def folded(id_: str) -> Answer:
    """A recorded answer, read and folded."""
    return fold(events_of(exchanges()[id_], outbound))


def _datas(exchange: Exchange) -> list[dict[str, Any]]:
    lines = exchange["response_body"].splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data: {")]


def last_response(exchange: Exchange) -> dict[str, Any]:
    """The whole response, as a body or as the last event shows it."""
    if exchange["response_framing"] == "json":
        response: dict[str, Any] = json.loads(exchange["response_body"])
        return response
    found: list[dict[str, Any]] = [
        data["response"] for data in _datas(exchange) if "response" in data
    ]
    return found[-1]


def items_of(exchange: Exchange) -> list[dict[str, Any]]:
    """The items of an answer as they ended: encrypted content differs in the last event."""
    whole: list[dict[str, Any]] = last_response(exchange)["output"]
    if exchange["response_framing"] == "json":
        return whole
    done = [
        data["item"] for data in _datas(exchange) if data["type"] == "response.output_item.done"
    ]
    return done if len(done) >= len(whole) else whole


def usage_of(exchange: Exchange) -> Usage | None:
    """What expect.py reads from the bytes, in disjoint buckets, with what was written to a cache,
    which it leaves out."""
    reported = expected(exchange)["usage"]
    if reported is None:
        return None
    details = (last_response(exchange)["usage"] or {}).get("input_tokens_details") or {}
    return disjoint(
        total_input=reported["input"],
        cached=reported["cached"] or 0,
        cache_write=details.get("cache_write_tokens") or 0,
        total_output=reported["output"],
        reasoning=reported["reasoning"] or 0,
    )


def raw_thoughts(exchange: Exchange) -> str:
    """The reasoning itself, which expect.py does not read: it knows its summary only."""
    return "".join(
        part.get("text", "")
        for item in last_response(exchange).get("output", [])
        if item["type"] == "reasoning"
        for part in item.get("content") or []
    )
