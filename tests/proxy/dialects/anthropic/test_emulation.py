"""Reasoning and JSON answers, in the words that each model understands."""

import json
from typing import Any

import pytest

from proxy.chat.events import Event, Finished, TextDelta
from proxy.chat.fold import fold
from proxy.chat.request import (
    ChatRequest,
    Message,
    Reasoning,
    ReasoningRequest,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from proxy.dialects.anthropic import outbound
from proxy.dialects.anthropic.structured import TOOL
from proxy.dialects.anthropic.thinking import version_of

HI = Message("user", (Text(text="hi"),))
WEATHER = Tool("weather", schema={"type": "object"})
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}


def write(model: str, *messages: Message, **settings: Any) -> tuple[Any, tuple[str, ...]]:
    request = ChatRequest(messages=messages or (HI,), **settings)
    written = outbound.write_request(request, model=model, output_limit=None)
    return json.loads(written.body), written.warnings


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-6", (4, 6)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-3-7-sonnet-20250219", (3, 7)),
        ("claude-sonnet-4-5@20250929", (4, 5)),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
        ("claude-sonnet-5", (5, 0)),
        ("kimi-k2", None),
    ],
)
def test_a_models_version_is_in_its_name(model: str, version: tuple[int, int] | None) -> None:
    assert version_of(model) == version


@pytest.mark.parametrize(
    ("model", "asked", "limit", "thinking", "effort"),
    [
        ("claude-haiku-4-5", {"effort": "low"}, 9000, ("enabled", 2048), None),
        ("claude-haiku-4-5", {"effort": "high"}, 9000, ("enabled", 6750), None),
        ("claude-haiku-4-5", {"budget_tokens": 9999}, 2000, ("enabled", 1999), None),
        ("claude-haiku-4-5", {"budget_tokens": 5}, 2000, ("enabled", 1024), None),
        ("claude-haiku-4-5", {"effort": "low"}, 500, None, None),
        ("kimi-k2", {"effort": "medium"}, 99_999, ("enabled", 8192), None),
        ("claude-opus-4-6", {"effort": "minimal"}, 9000, ("adaptive", None), "low"),
        ("claude-opus-4-6", {"effort": "xhigh"}, 9000, ("adaptive", None), "high"),
        ("claude-opus-4-6", {"budget_tokens": 2048}, 9000, ("enabled", 2048), None),
        ("claude-opus-4-7", {"effort": "xhigh"}, 9000, ("adaptive", None), "xhigh"),
        ("claude-opus-4-7", {"budget_tokens": 8000}, 9000, ("adaptive", None), "medium"),
        ("claude-opus-4-7", {"enabled": True}, 9000, ("adaptive", None), None),
        ("claude-opus-4-7", {"enabled": False}, 9000, ("disabled", None), None),
        ("claude-opus-4-7", {"effort": "none"}, 9000, ("disabled", None), None),
    ],
)
def test_reasoning_is_asked_for_as_the_model_understands(
    model: str,
    asked: dict[str, Any],
    limit: int,
    thinking: tuple[str, int | None] | None,
    effort: str | None,
) -> None:
    body, warnings = write(model, reasoning=ReasoningRequest(**asked), max_output_tokens=limit)
    field = body.get("thinking")
    assert (field and (field["type"], field.get("budget_tokens"))) == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert bool(warnings) == (thinking is None)


def test_a_summary_asks_for_thinking_to_be_shown() -> None:
    asked = ReasoningRequest(effort="low", summary="auto")
    body, _ = write("claude-opus-4-7", reasoning=asked)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}


def test_a_budget_and_a_forced_tool_do_not_go_together() -> None:
    asked = {"reasoning": ReasoningRequest(effort="low"), "tools": (WEATHER,)}
    body, [warning] = write("claude-haiku-4-5", tool_choice=ToolChoice("required"), **asked)
    assert "thinking" not in body
    assert warning == "reasoning is not supported by anthropic together with a forced tool"


@pytest.mark.parametrize(("signature", "thinks"), [("", False), ("c2ln", True)])
def test_a_turn_goes_on_thinking_only_from_signed_thoughts(signature: str, thinks: bool) -> None:
    call = ToolCall(id="a", name="weather", arguments="{}")
    own = {"anthropic": {"type": "thinking"}} if signature else {}
    thought = Reasoning(text="hm", signature=signature, extras=own)
    body, warnings = write(
        "claude-haiku-4-5",
        HI,
        Message("assistant", (thought, call)),
        Message("tool", (ToolResult(call_id="a", content=(Text(text="1"),)),)),
        reasoning=ReasoningRequest(effort="low"),
        tools=(WEATHER,),
    )
    assert ("thinking" in body) == thinks
    assert [block["type"] for block in body["messages"][1]["content"]] == (
        ["thinking", "tool_use"] if thinks else ["tool_use"]
    )
    unsigned = "reasoning that anthropic has not signed is not supported by it"
    assert (unsigned in warnings) == (not thinks)


def test_newer_models_take_no_sampling() -> None:
    body, warnings = write("claude-opus-4-7", temperature=0.5, top_p=0.5, top_k=5)
    assert not {"temperature", "top_p", "top_k"} & body.keys()
    assert len(warnings) == 3


def test_thinking_takes_no_temperature() -> None:
    asked = ReasoningRequest(effort="low")
    body, [warning] = write("claude-haiku-4-5", reasoning=asked, temperature=0.5)
    assert "temperature" not in body
    assert warning == "temperature is not supported by anthropic together with reasoning"


@pytest.mark.parametrize(
    ("model", "schema", "settings", "native"),
    [
        ("claude-sonnet-4-5", CLOSED, {}, True),
        ("claude-sonnet-4-5", OPEN, {}, False),
        ("claude-sonnet-4-0", CLOSED, {}, False),
        ("claude-sonnet-4-0", OPEN, {"tools": (WEATHER,)}, True),
        ("claude-opus-4-6", OPEN, {"reasoning": ReasoningRequest(effort="low")}, True),
    ],
)
def test_a_schema_is_asked_for_natively_or_by_a_forced_tool(
    model: str, schema: dict[str, Any], settings: dict[str, Any], native: bool
) -> None:
    wanted = ResponseFormat("json_schema", "answer", schema, strict=True)
    body, warnings = write(model, response_format=wanted, **settings)
    assert not warnings
    if native:
        assert body["output_config"]["format"] == {"type": "json_schema", "schema": schema}
    else:
        assert body["tool_choice"] == {"type": "tool", "name": TOOL}
        assert body["tools"][0]["input_schema"] == schema


def test_effort_and_a_schema_share_one_field() -> None:
    wanted = ResponseFormat("json_schema", "answer", CLOSED)
    asked = ReasoningRequest(effort="low")
    body, _ = write("claude-opus-4-6", response_format=wanted, reasoning=asked)
    assert body["output_config"].keys() == {"effort", "format"}


def test_any_json_is_a_forced_tool_of_any_object() -> None:
    body, _ = write("claude-sonnet-4-5", response_format=ResponseFormat("json"))
    [tool] = body["tools"]
    assert tool["input_schema"] == {"type": "object", "additionalProperties": True}


def test_any_json_beside_tools_is_a_warning() -> None:
    _, [warning] = write(
        "claude-sonnet-4-5", response_format=ResponseFormat("json"), tools=(WEATHER,)
    )
    assert warning.startswith("response_format json is not supported by anthropic")


def _frames(*data: dict[str, Any]) -> list[Event]:
    reader = outbound.read_events()
    frames = [b"data: " + json.dumps(fields).encode() + b"\n\n" for fields in data]
    return [event for frame in frames for event in reader.read(frame)]


def test_the_forced_tools_call_comes_back_as_text() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"a":1}'}
    events = _frames(
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "content_block_delta", "index": 0, "delta": piece},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
    )
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta(0, '{"a":1}')]
    assert [event for event in events if isinstance(event, Finished)] == [Finished("stop")]


def test_the_forced_tools_call_comes_back_as_text_in_a_whole_answer_too() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {"a": 1}}
    body = {"id": "m", "content": [call], "stop_reason": "tool_use", "usage": {}}
    answer = fold(outbound.read_body(json.dumps(body).encode()))
    [block] = answer.blocks
    assert (block.kind, block.text, answer.finish) == ("text", '{"a":1}', "stop")
