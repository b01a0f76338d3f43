"""Requests of chat completions: read into canonical ones, refused by the name of the field."""

import json
from typing import Any

import msgspec
import pytest

from proxy.body import parse_json
from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ReasoningRequest,
    Refusal,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from proxy.dialects.openai import outbound
from proxy.dialects.openai.request import parse, read_request
from proxy.errors import InvalidRequest

Fields = dict[str, Any]

USER = {"role": "user", "content": "hi"}
SAID = Message("user", (Text(text="hi"),))


def _read(**fields: Any) -> ChatRequest:
    body = {"messages": [USER], **fields}
    return read_request(parse(parse_json(json.dumps(body).encode())))


def _written(request: ChatRequest) -> Fields:
    written = outbound.write_request(request, model="gpt-4o", output_limit=None)
    assert written.warnings == ()
    fields: Fields = json.loads(written.body)
    return fields


SCHEMA = {"type": "object", "properties": {"at": {"type": "integer"}}}
FUNCTION = {"type": "function", "function": {"name": "look"}}

SETTINGS: dict[str, tuple[Fields, Fields]] = {
    "nothing": ({}, {}),
    "temperature": ({"temperature": 0.5}, {"temperature": 0.5}),
    "temperature 0": ({"temperature": 0.0}, {"temperature": 0.0}),
    "top_p": ({"top_p": 0.9}, {"top_p": 0.9}),
    "penalties": (
        {"presence_penalty": -2.0, "frequency_penalty": 0.5},
        {"presence_penalty": -2.0, "frequency_penalty": 0.5},
    ),
    "seed": ({"seed": 10**20}, {"seed": 10**20}),
    "n": ({"n": 3}, {"n": 3}),
    "several stops": ({"stop": ["\n", "END"]}, {"stop": ("\n", "END")}),
    "log probabilities": (
        {"logprobs": True, "top_logprobs": 5},
        {"logprobs": True, "top_logprobs": 5},
    ),
    "user": ({"user": "ada"}, {"user": "ada"}),
    "metadata": ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
    "effort": ({"reasoning_effort": "low"}, {"reasoning": ReasoningRequest(effort="low")}),
    "json": (
        {"response_format": {"type": "json_object"}},
        {"response_format": ResponseFormat("json")},
    ),
    "json schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "description": "b", "schema": SCHEMA, "strict": True},
            }
        },
        {"response_format": ResponseFormat("json_schema", "a", SCHEMA, True, "b")},
    ),
    "tools": (
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "look",
                        "description": "Looks",
                        "parameters": SCHEMA,
                        "strict": False,
                    },
                },
                FUNCTION,
            ]
        },
        {"tools": (Tool("look", "Looks", SCHEMA, False), Tool("look"))},
    ),
    "a choice of tools": (
        {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": (Tool("look"),), "tool_choice": ToolChoice("required", parallel=False)},
    ),
    "a named tool": (
        {"tools": [FUNCTION], "tool_choice": FUNCTION},
        {"tools": (Tool("look"),), "tool_choice": ToolChoice("named", "look")},
    ),
}
"""What is said, and what it means; each can be written again as it was."""


@pytest.mark.parametrize(("fields", "meant"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_is_read_and_written_again(fields: Fields, meant: Fields) -> None:
    request = _read(**fields)
    assert request == ChatRequest(messages=(SAID,), **meant)
    assert _written(request) == {"model": "gpt-4o", "messages": [USER], **fields}


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"stop": "END"}, {"stop": ("END",)}),
        ({"stop": []}, {}),
        ({"stop": None, "n": None, "user": None, "tools": None}, {}),
        ({"n": 1}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"tool_choice": "auto"}, {"tool_choice": ToolChoice("auto")}),
        ({"tool_choice": "none"}, {"tool_choice": ToolChoice("none")}),
        ({"parallel_tool_calls": True}, {"tool_choice": ToolChoice(parallel=True)}),
        ({"metadata": {"n": 1, "b": True}}, {"metadata": {"n": "1", "b": "True"}}),
        ({"stream": True}, {"stream": True}),
        ({"stream": True, "stream_options": {}}, {"stream": True}),
        (
            {"stream": True, "stream_options": {"include_usage": True}},
            {"stream": True, "include_usage": True},
        ),
    ],
)
def test_what_is_said_in_another_way_means_the_same(fields: Fields, meant: Fields) -> None:
    assert _read(**fields) == ChatRequest(messages=(SAID,), **meant)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({}, None),
    ],
)
def test_the_newer_name_of_the_limit_goes_before_the_older(
    fields: Fields, limit: int | None
) -> None:
    assert _read(**fields).max_output_tokens == limit


MESSAGES: dict[str, tuple[Fields, Message]] = {
    "system": (
        {"role": "system", "content": "be kind"},
        Message("system", (Text(text="be kind"),)),
    ),
    "developer": ({"role": "developer", "content": "x"}, Message("developer", (Text(text="x"),))),
    "a name": (
        {"role": "user", "content": "hi", "name": "ada"},
        Message("user", (Text(text="hi"),), "ada"),
    ),
    "parts": (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
                },
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
                },
            ],
        },
        Message(
            "user",
            (
                Text(text="what is"),
                Image(url="https://a.example/b.png"),
                Image(data="AA", media_type="image/png", detail="low"),
                Audio(data="AA", format="wav"),
                Document(file_id="file-1"),
                Document(data="AA", media_type="application/pdf", name="a.pdf"),
            ),
        ),
    ),
    "tool calls": (
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": 1}'},
                }
            ],
        },
        Message(
            "assistant",
            (Text(text="let me see"), ToolCall(id="a", name="look", arguments='{"at": 1}')),
        ),
    ),
    "a tool's result": (
        {"role": "tool", "tool_call_id": "a", "content": "a wall"},
        Message("tool", (ToolResult(call_id="a", content=(Text(text="a wall"),)),)),
    ),
    "a refusal": (
        {"role": "assistant", "content": None, "refusal": "No."},
        Message("assistant", (Refusal(text="No."),)),
    ),
}


@pytest.mark.parametrize(("given", "meant"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_read_and_written_again(given: Fields, meant: Message) -> None:
    request = _read(messages=[given, USER])
    assert request.messages == (meant, SAID)
    written = _written(request)["messages"]
    assert [_without_nothing(message) for message in written] == [_without_nothing(given), USER]


def _without_nothing(message: Fields) -> Fields:
    return {name: value for name, value in message.items() if value is not None}


def _plain(message: Message) -> tuple[Part, ...]:
    return tuple(msgspec.structs.replace(part, extras={}) for part in message.parts)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"role": "user"}, ()),
        ({"role": "user", "content": ""}, ()),
        ({"role": "user", "content": []}, ()),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://a.example"}]},
            (Image(url="https://a.example"),),
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "AA"}}]},
            (Document(data="AA", media_type="application/pdf"),),
        ),
        (
            {"role": "assistant", "content": "x", "reasoning_content": "hm"},
            (Reasoning(text="hm"), Text(text="x")),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            (Refusal(text="No."),),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}],
            },
            (ToolCall(id="a", name="f", arguments='{"x":[1]}'),),
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            (ToolCall(id="call_f", name="f", arguments="{}"),),
        ),
    ],
)
def test_content_in_its_other_forms_is_read_too(given: Fields, parts: tuple[Part, ...]) -> None:
    [message, _] = _read(messages=[given, USER]).messages
    assert _plain(message) == parts


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": 1}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[1].content[0].image_url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].input_audio",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0].file",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0]",
        ),
        ({"model": 1}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 1}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"seed": 1.5}, "seed"),
        ({"tools": {}}, "tools"),
        ({"tools": ["look"]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"metadata": []}, "metadata"),
        ({"user": 7}, "user"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: Fields, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _read(**fields)
    assert refused.value.param == param
    assert refused.value.message.startswith(param.partition(".")[0].partition("[")[0])


def test_a_body_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse({"model": "pro"})
    assert (refused.value.param, refused.value.message) == ("messages", "messages is required")
