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
QUEUED = {"openai-resp-n-1cae3015", "openai-resp-n-af40da93"}
"""Answers to `background: true`, which we refuse: they are none yet."""


@cache
def folded(id_: str) -> Answer:
    """A recorded answer, read and folded."""
    return fold(events_of(exchanges()[id_], outbound))


def last_response(exchange: Exchange) -> dict[str, Any]:
    """The whole response, as a body or as the last event shows it."""
    body = exchange["response_body"]
    if exchange["response_framing"] == "json":
        response: dict[str, Any] = json.loads(body)
        return response
    datas = [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data: {")]
    found: dict[str, Any] = [data["response"] for data in datas if "response" in data][-1]
    return found


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
