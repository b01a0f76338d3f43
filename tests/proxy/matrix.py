"""Every recorded answer, for every caller: what comes out, and whether its SDK agrees.

python -m tests.proxy.matrix            prints the table that docs/dialects.md holds
python -m tests.proxy.matrix --failures names what failed, and why
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

from proxy.dialects import OUTBOUND
from tests.conftest import RECORDINGS
from tests.proxy import recorded
from tests.proxy.in_process import InProcess, Outcome, Script
from tests.proxy.recorded import Exchange
from tests.proxy.sdk import READERS, Seen

Verdict = Literal["identical", "pass", "emulated", "error", "refused", "fail"]

CLIENTS = ("openai", "responses", "anthropic", "gemini")
PROVIDERS = {
    "openai-chat": "openai",
    "openai-responses": "responses",
    "anthropic-messages": "anthropic",
    "gemini": "gemini",
    "mistral-chat": "mistral",
    "ollama-native": "ollama",
}
"""Our dialect for each recorded one."""
_CHATS = {
    "chat",
    "openai-compat-chat",
    "responses",
    "messages",
    "generateContent",
    "streamGenerateContent",
    "rawPredict",
    "streamRawPredict",
}
DISAGREED = {"anthropic-msg-s-3314e949", "anthropic-msg-s-d45ddec7"}
"""Where expect.py and the official SDKs themselves disagree, as the recordings' notes say."""
ALTERED = {"openai-resp-s-04ab453f", "openai-resp-s-39825271", "openai-resp-s-73340a49"}
"""Where the deltas of a stream say other than its last event: one of them was shortened."""


@cache
def exchanges() -> dict[str, Exchange]:
    """Those that answer chats, by id."""
    found = {}
    for name in ("exchanges.jsonl", "compatible.jsonl"):
        path = RECORDINGS / name
        for line in path.read_text().split("\n") if path.exists() else ():
            exchange = json.loads(line) if line else {}
            ours = PROVIDERS.get(exchange.get("dialect", ""))
            if ours in OUTBOUND and exchange["endpoint"] in _CHATS:
                found[exchange["id"]] = exchange
    return found


def document() -> dict[str, Any]:
    """A provider, a model and an alias for each outbound dialect."""
    dialects = sorted(OUTBOUND.keys() & set(PROVIDERS.values()))
    prices = {"input": "1", "output": "2"}
    return {
        "version": 1,
        "providers": {
            name: {"dialect": name, "base_url": "http://recorded.invalid"} for name in dialects
        },
        "models": {f"{name}-model": {"provider": name, "upstream": "u"} for name in dialects},
        "price_books": {
            "cost": {
                "currency": "USD",
                "versions": [
                    {
                        "effective": "2020-01-01",
                        "prices": {f"{name}-model": prices for name in dialects},
                    }
                ],
            }
        },
        "aliases": {
            name: {"routes": [{"targets": [{"model": f"{name}-model"}]}]} for name in dialects
        },
        "tenants": {"acme": {}},
    }


def question(client: str, alias: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """A path and a body that ask, in a client's dialect."""
    user = {"role": "user", "content": "?"}
    if client == "openai":
        options = {"stream_options": {"include_usage": True}} if stream else {}
        body = {"model": alias, "messages": [user], "stream": stream, **options}
        return "/v1/chat/completions", body
    if client == "responses":
        return "/v1/responses", {"model": alias, "input": "?", "stream": stream}
    if client == "anthropic":
        body = {"model": alias, "max_tokens": 999, "messages": [user], "stream": stream}
        return "/v1/messages", body
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{alias}:{method}", {"contents": [{"parts": [{"text": "?"}]}]}


def headers_of(exchange: Exchange) -> dict[str, str]:
    kinds = {
        "sse": "text/event-stream",
        "json": "application/json",
        "ndjson": "application/x-ndjson",
    }
    return {"content-type": kinds[exchange["response_framing"]]}


def replay(
    gateway: InProcess,
    exchange: Exchange,
    client: str,
    cut: Callable[[bytes], list[bytes]] = recorded.whole,
) -> Outcome:
    """One caller asks; the recording answers, cut like that."""
    alias = PROVIDERS[exchange["dialect"]]
    path, body = question(client, alias, stream=exchange["stream"])
    if exchange["response_framing"] == "json":  # Gemini's streams are an array where nobody asks
        path = path.removesuffix("?alt=sse")  # for events
    chunks = cut(exchange["response_body"].encode())
    script = Script(exchange["response_status"], headers_of(exchange), chunks)
    return gateway.ask(path, json.dumps(body).encode(), [script])


_FINISHES = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "model_length": "length",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "content_filter",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "completed": "stop",
    "incomplete": "length",
}
_UNFINISHED = {"queued", "in_progress"}


def _same_text(left: Any, right: Any) -> bool:
    return str(left).split() == str(right).split()


def _finish(expected: dict[str, Any], seen: Seen) -> tuple[str, str | None]:
    """Both in canonical words. A forced tool may end with `stop`; only Anthropic pauses; a refusal
    is a stop where there is a field for it, and filtered content where there is none."""
    wanted = _FINISHES.get(str(expected["finish"]), "content_filter")
    got = seen["finish"]
    if seen["tool_calls"]:
        wanted, got = ("tool_calls" if end == "stop" else end for end in (wanted, got))
    if wanted == "pause" or (wanted == "content_filter" and got == "stop" and seen["refusal"]):
        wanted = got
    if expected["refusal"] or expected["finish"] == "refusal":
        wanted = got
    return wanted, got


def _calls(expected: dict[str, Any], seen: Seen) -> tuple[bool, bool]:
    """Whether the tool calls agree, and whether they had to be emulated: a free text as the one
    argument of a function."""
    wanted, got = expected["tool_calls"], seen["tool_calls"]
    if [tuple(call) for call in wanted] == [tuple(call) for call in got]:
        return True, False
    wrapped = [(name, {"input": text}) for name, text in wanted]
    return wrapped == [tuple(call) for call in got], True


def differences(exchange: Exchange, expected: dict[str, Any], seen: Seen) -> list[str]:
    """What a caller's SDK read that is not what a correct client must see."""
    found = []
    spoken = expected["text"] + expected["refusal"]
    if not _same_text(expected["text"], seen["text"]) and not _same_text(spoken, seen["text"]):
        found.append(f"text: {expected['text'][:60]!r} is {seen['text'][:60]!r}")
    # expect.py reads summaries; some vendors send the reasoning itself instead.
    told = "reasoning_text" in exchange["response_body"] and not expected["reasoning"]
    if not told and not _same_text(expected["reasoning"], seen["reasoning"]):
        found.append(f"reasoning: {expected['reasoning'][:60]!r} is {seen['reasoning'][:60]!r}")
    if not _calls(expected, seen)[0] and not _only_we_read(exchange, expected, seen):
        found.append(f"tool calls: {expected['tool_calls']!s:.90} are {seen['tool_calls']!s:.90}")
    wanted, got = _finish(expected, seen)
    if wanted != got:
        found.append(f"finish: {expected['finish']} is {seen['finish']}")
    return found


def usage_differences(outcome: Outcome, seen: Seen) -> list[str]:
    """The caller is told the totals that it is charged for."""
    record = outcome.record
    assert record is not None
    if record.usage_source != "provider":
        return []
    metered = {
        "input": record.input_tokens + record.cached_input_tokens + record.cache_write_tokens,
        "output": record.output_tokens + record.reasoning_tokens,
    }
    told = seen.get("usage")
    return [] if told == metered else [f"usage: {metered} is told as {told}"]


def _only_we_read(exchange: Exchange, expected: dict[str, Any], seen: Seen) -> bool:
    """Calls that expect.py passes over: the legacy `function_call`, custom tools of responses,
    arguments that arrive in parts."""
    body = exchange["response_body"]
    if "partialArgs" in body:
        return [name for name, _ in expected["tool_calls"]] == [n for n, _ in seen["tool_calls"]]
    unread = '"function_call"' in body or '"custom_tool_call"' in body
    return unread and not expected["tool_calls"] and len(seen["tool_calls"]) == 1


def _is_error(exchange: Exchange, expected: dict[str, Any]) -> bool:
    return (
        exchange["response_status"] >= 400
        or expected["error"] is not None
        or expected["finish"] in _UNFINISHED
    )


def judge(
    gateway: InProcess,
    exchange: Exchange,
    client: str,
    cut: Callable[[bytes], list[bytes]] = recorded.whole,
) -> tuple[Verdict, str]:
    """What became of a recording for one kind of caller, and why it failed."""
    outcome = replay(gateway, exchange, client, cut)
    expected = recorded._expect()(exchange)
    same = PROVIDERS[exchange["dialect"]] == client
    if _is_error(exchange, expected):
        return ("error", "") if b"error" in outcome.body else ("fail", "no error came out")
    if outcome.status != 200:
        return "refused" if outcome.status == 400 else "fail", outcome.body[:200].decode()
    if same and expected["finish"] not in _UNFINISHED:
        given = exchange["response_body"].encode()
        return ("identical", "") if outcome.body == given else ("fail", "bytes differ")
    if expected["finish"] is None or exchange["id"] in DISAGREED | ALTERED:
        return "pass", ""
    try:
        seen = READERS[client](outcome.body, stream=exchange["stream"])
    except Exception as error:  # noqa: BLE001  (whatever an SDK raises is a finding)
        return "fail", f"the SDK raised {type(error).__name__}: {error!s:.200}"
    found = differences(exchange, expected, seen) + usage_differences(outcome, seen)
    if found:
        return "fail", "; ".join(found)
    return ("emulated" if _calls(expected, seen)[1] else "pass"), ""


def judged(gateway: InProcess, client: str) -> Iterator[tuple[Exchange, Verdict, str]]:
    for exchange in exchanges().values():
        yield exchange, *judge(gateway, exchange, client)


def table(gateway: InProcess) -> tuple[str, list[str]]:
    """The table in Markdown, and a line for each failure."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    failures = []
    for client in CLIENTS:
        for exchange, verdict, why in judged(gateway, client):
            provider = PROVIDERS[exchange["dialect"]]
            counts.setdefault((provider, client), Counter())[verdict] += 1
            if verdict in ("fail", "refused"):
                failures.append(f"{exchange['id']} for {client}: {verdict}: {why}")
    lines = ["| provider | " + " | ".join(CLIENTS) + " |", "|---" * (len(CLIENTS) + 1) + "|"]
    for provider in dict.fromkeys(PROVIDERS.values()):
        cells = [
            ", ".join(
                f"{count} {verdict}" for verdict, count in sorted(counts[provider, c].items())
            )
            for c in CLIENTS
            if (provider, c) in counts
        ]
        lines.append(f"| {provider} | " + " | ".join(cells) + " |")
    return "\n".join(lines), failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", action="store_true")
    options = parser.parse_args()
    from tests.proxy.frozen import frozen_gateway

    with frozen_gateway(document()) as gateway:
        lines, failures = table(gateway)
    print(lines)
    if options.failures:
        print("\n".join(failures))
    print(f"{len(failures)} failures", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    main()
