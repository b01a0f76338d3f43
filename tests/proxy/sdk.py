"""What the official SDKs read from the bytes that a caller gets: the judges of what we write.

Each SDK is given its own HTTP client over a transport that answers with those bytes, so that its
own parser, and nothing of ours, does the reading.
"""

import json
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import anthropic
import google.genai
import httpx
import httpx2
import openai
from google.genai import types as genai

Seen = dict[str, Any]
"""text, reasoning, refusal, tool_calls [(name, arguments)], finish (one of the canonical reasons),
usage {input, output}: totals, cached and reasoning included."""

NOTHING: Seen = {"text": "", "reasoning": "", "refusal": "", "tool_calls": [], "finish": None}


for name in ("httpx", "httpx2", "google_genai.models"):
    logging.getLogger(name).setLevel(logging.WARNING)

_answer = (b"", "")
"""What the next request gets: the clients are made once, because making them is slow."""


def _transport(library: Any) -> Any:
    """httpx, or httpx2, which newer SDKs bring."""

    def answer(request: Any) -> Any:
        body, kind = _answer
        return library.Response(200, headers={"content-type": kind}, content=body)

    return library.Client(transport=library.MockTransport(answer), verify=False)


@cache
def _openai() -> openai.OpenAI:
    url = "http://gateway.invalid/v1"
    return openai.OpenAI(base_url=url, api_key="k", http_client=_transport(httpx))


@cache
def _anthropic() -> anthropic.Anthropic:
    url = "http://gateway.invalid"
    return anthropic.Anthropic(base_url=url, api_key="k", http_client=_transport(httpx2))


@cache
def _gemini() -> google.genai.Client:
    options = genai.HttpOptions(base_url="http://gateway.invalid", httpx_client=_transport(httpx))
    return google.genai.Client(api_key="k", http_options=options)


def _give(body: bytes, *, stream: bool) -> None:
    global _answer  # noqa: PLW0603  (one answer for one question, in one thread)
    _answer = (body, "text/event-stream" if stream else "application/json")


def _arguments(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text


_CHAT_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


def read_openai(body: bytes, *, stream: bool) -> Seen:
    _give(body, stream=stream)
    client = _openai()
    ask: dict[str, Any] = {"model": "a", "messages": [{"role": "user", "content": "?"}]}
    seen: Seen = {**NOTHING, "tool_calls": []}
    calls: dict[int, list[str]] = {}
    parts: list[tuple[Any, Any]] = []
    usage = None
    if stream:
        for chunk in client.chat.completions.create(**ask, stream=True):
            parts += [(c.delta, c.finish_reason) for c in chunk.choices if c.index == 0]
            usage = chunk.usage or usage
    else:
        whole = client.chat.completions.create(**ask)
        parts, usage = [(whole.choices[0].message, whole.choices[0].finish_reason)], whole.usage
    for part, finish in parts:
        seen["text"] += part.content or ""
        seen["reasoning"] += getattr(part, "reasoning_content", None) or ""
        seen["refusal"] += part.refusal or ""
        for position, call in enumerate(part.tool_calls or []):
            held = calls.setdefault(getattr(call, "index", position), ["", ""])
            function = getattr(call, "function", None) or call.custom
            held[0] += function.name or ""
            held[1] += getattr(function, "arguments", None) or getattr(function, "input", "") or ""
        seen["finish"] = _CHAT_FINISH[finish] if finish else seen["finish"]
    seen["tool_calls"] = [(name, _arguments(text)) for name, text in calls.values()]
    if usage:
        seen["usage"] = {"input": usage.prompt_tokens, "output": usage.completion_tokens}
    return seen


_STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}


def read_anthropic(body: bytes, *, stream: bool) -> Seen:
    _give(body, stream=stream)
    client = _anthropic()
    ask: dict[str, Any] = {
        "model": "a",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "?"}],
    }
    if stream:
        with client.messages.stream(**ask) as events:
            message: Any = events.get_final_message()
    else:
        message = client.messages.create(**ask)
    seen: Seen = {**NOTHING, "tool_calls": []}
    for block in message.content:
        if block.type == "text":
            seen["text"] += block.text
        elif block.type == "thinking":
            seen["reasoning"] += block.thinking
        elif block.type == "tool_use":
            seen["tool_calls"].append((block.name, block.input))
    seen["finish"] = _STOP_REASONS[message.stop_reason] if message.stop_reason else None
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    seen["usage"] = {"input": usage.input_tokens + cached, "output": usage.output_tokens}
    return seen


def read_responses(body: bytes, *, stream: bool) -> Seen:
    _give(body, stream=stream)
    client = _openai()
    response: Any = None
    if stream:
        for event in client.responses.create(model="a", input="?", stream=True):
            response = getattr(event, "response", response)
    else:
        response = client.responses.create(model="a", input="?")
    seen: Seen = {**NOTHING, "tool_calls": []}
    for item in response.output:
        if item.type == "message":
            for part in item.content:
                seen["text"] += part.text if part.type == "output_text" else ""
                seen["refusal"] += part.refusal if part.type == "refusal" else ""
        elif item.type == "function_call":
            seen["tool_calls"].append((item.name, _arguments(item.arguments)))
        elif item.type == "custom_tool_call":
            seen["tool_calls"].append((item.name, item.input))
        elif item.type == "reasoning":
            seen["reasoning"] += "".join(summary.text for summary in item.summary)
    seen["finish"] = _responses_finish(response, seen)
    if response.usage:
        seen["usage"] = {
            "input": response.usage.input_tokens,
            "output": response.usage.output_tokens,
        }
    return seen


def _responses_finish(response: Any, seen: Seen) -> str | None:
    if response.status == "completed":
        return "tool_calls" if seen["tool_calls"] else "stop"
    if response.status == "incomplete":
        why = response.incomplete_details.reason
        return {"max_output_tokens": "length", "content_filter": "content_filter"}.get(why, why)
    return None


_GEMINI_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}


def read_gemini(body: bytes, *, stream: bool) -> Seen:
    _give(body, stream=stream)
    client = _gemini()
    if stream:
        answers = list(client.models.generate_content_stream(model="a", contents="?"))
    else:
        answers = [client.models.generate_content(model="a", contents="?")]
    seen: Seen = {**NOTHING, "tool_calls": []}
    for answer in answers:
        for candidate in (c for c in answer.candidates or [] if not c.index):
            parts = (candidate.content.parts if candidate.content else None) or []
            for part in parts:
                if part.function_call:
                    call = part.function_call
                    seen["tool_calls"].append((call.name, call.args or {}))
                elif part.text:
                    seen["reasoning" if part.thought else "text"] += part.text
            if candidate.finish_reason:
                name = candidate.finish_reason.name
                seen["finish"] = _GEMINI_FINISH.get(name, "content_filter")
        if answer.usage_metadata:
            counts = answer.usage_metadata
            seen["usage"] = {
                "input": (counts.prompt_token_count or 0)
                + (counts.tool_use_prompt_token_count or 0),
                "output": (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0),
            }
    if seen["finish"] == "stop" and seen["tool_calls"]:
        seen["finish"] = "tool_calls"
    return seen


READERS: dict[str, Callable[..., Seen]] = {
    "openai": read_openai,
    "anthropic": read_anthropic,
    "responses": read_responses,
    "gemini": read_gemini,
}
