"""Requests of Responses as canonical ones, and back. Shapes are those of the API reference."""

import base64
import json
from typing import Any

import pytest

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
from proxy.dialects.carrying import opened, sealed
from proxy.dialects.openai import inbound as chat
from proxy.dialects.responses import inbound, outbound
from proxy.errors import InvalidRequest

DATA = base64.b64encode(b"%PDF-1.4").decode()


def read(**fields: Any) -> ChatRequest:
    return inbound.read_request(inbound.parse({"model": "pro", "input": "?", **fields}))


def write(request: ChatRequest) -> dict[str, Any]:
    written = outbound.write_request(request, model="m", output_limit=None)
    body: dict[str, Any] = json.loads(written.body)
    return body


def warnings(request: ChatRequest) -> tuple[str, ...]:
    return outbound.write_request(request, model="m", output_limit=None).warnings


def asking(*parts: Part, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message("user", parts or (Text(text="?"),)),), **fields)


ITEMS: list[tuple[dict[str, Any], Message]] = [
    ({"role": "user", "content": "Hi"}, Message("user", (Text(text="Hi"),))),
    (
        {"role": "developer", "content": [{"type": "input_text", "text": "Be terse"}]},
        Message("developer", (Text(text="Be terse"),)),
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"},
            ],
        },
        Message("user", (Text(text="See"), Image(url="https://a.example/b.png", detail="low"))),
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"},
                {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
            ],
        },
        Message("user", (Image(data=DATA, media_type="image/png"), Audio(data=DATA, format="mp3"))),
    ),
    (
        {
            "role": "user",
            "content": [
                {
                    "type": "input_file",
                    "filename": "a.pdf",
                    "file_data": f"data:application/pdf;base64,{DATA}",
                },
                {"type": "input_file", "file_url": "https://a.example/b.pdf"},
                {"type": "input_file", "file_id": "file-1"},
            ],
        },
        Message(
            "user",
            (
                Document(data=DATA, media_type="application/pdf", name="a.pdf"),
                Document(url="https://a.example/b.pdf"),
                Document(file_id="file-1"),
            ),
        ),
    ),
    (
        {"type": "function_call_output", "call_id": "c1", "output": "12 C"},
        Message("tool", (ToolResult(call_id="c1", content=(Text(text="12 C"),)),)),
    ),
    (
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "A map"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"},
            ],
        },
        Message(
            "tool",
            (
                ToolResult(
                    call_id="c1",
                    content=(Text(text="A map"), Image(data=DATA, media_type="image/png")),
                ),
            ),
        ),
    ),
    (
        {
            "role": "user",
            "content": [
                {
                    "type": "input_text",
                    "text": "Long",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                }
            ],
        },
        Message(
            "user",
            (
                Text(
                    text="Long",
                    extras={
                        "responses": {"prompt_cache_breakpoint": {"mode": "explicit"}},
                        "cache": {"type": "ephemeral"},
                    },
                ),
            ),
        ),
    ),
    (
        {"type": "mcp_approval_response", "approval_request_id": "r", "approve": True},
        Message(
            "tool",
            (
                Part(
                    extras={
                        "responses": {
                            "item": {
                                "type": "mcp_approval_response",
                                "approval_request_id": "r",
                                "approve": True,
                            }
                        }
                    }
                ),
            ),
        ),
    ),
]


@pytest.mark.parametrize(("item", "message"), ITEMS)
def test_an_item_is_a_message_and_back(item: dict[str, Any], message: Message) -> None:
    assert read(input=[item]).messages == (message,)
    written = write(ChatRequest(messages=(message,)))["input"]
    assert read(input=written).messages == (message,)
    content = item.get("content") or item.get("output")
    if content is not None:
        got = written[0].get("content") or written[0].get("output")
        assert got in (content, content[0].get("text") if isinstance(content, list) else None)


def test_a_turn_of_the_assistant_is_one_message_whose_items_are_told_apart_again() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "Looking"}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "c1",
            "name": "weather",
            "arguments": "{}",
        },
        {"type": "function_call", "call_id": "c2", "name": "time", "arguments": '{"zone": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "12"},
        {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        {"type": "message", "role": "user", "content": "Thanks"},
    ]
    request = read(input=items)
    assert [message.role for message in request.messages] == ["assistant", "tool", "tool", "user"]
    turn = request.messages[0].parts
    assert isinstance(turn[0], Reasoning)
    assert turn[0].signature == "gAAAA"
    assert isinstance(turn[1], Text)
    assert [part.name for part in turn[2:] if isinstance(part, ToolCall)] == ["weather", "time"]
    written = write(request)["input"]
    assert [item.get("id") for item in written[:3]] == ["rs_1", "msg_1", "fc_1"]
    assert written[1]["phase"] == "commentary"
    assert written[0] == items[0]
    assert read(input=written) == request


def test_instructions_come_first_and_go_out_again() -> None:
    request = read(instructions="Be terse")
    assert request.messages[0].role == "system"
    assert request.messages[0].parts == (Text(text="Be terse"),)
    body = write(request)
    assert body["instructions"] == "Be terse"
    assert len(body["input"]) == 1


SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_output_tokens": 64}, {"max_output_tokens": 64}),
    ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
    (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
        {"logprobs": True, "top_logprobs": 3},
    ),
    ({"tool_choice": "none"}, {"tool_choice": ToolChoice(mode="none")}),
    (
        {"tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False},
        {"tool_choice": ToolChoice(mode="named", name="f", parallel=False)},
    ),
    (
        {"reasoning": {"effort": "high", "summary": "auto"}},
        {"reasoning": ReasoningRequest(effort="high", summary="auto")},
    ),
    (
        {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        {
            "response_format": ResponseFormat(kind="json"),
            "extras": {"responses": {"text": {"verbosity": "low"}}},
        },
    ),
    (
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "city",
                    "schema": {"type": "object"},
                    "strict": True,
                }
            }
        },
        {
            "response_format": ResponseFormat(
                kind="json_schema", name="city", schema={"type": "object"}, strict=True
            )
        },
    ),
    ({"user": "u", "metadata": {"a": "b"}}, {"user": "u", "metadata": {"a": "b"}}),
    (
        {"truncation": "auto", "prompt_cache_key": "k", "service_tier": "flex"},
        {
            "extras": {
                "responses": {
                    "truncation": "auto",
                    "prompt_cache_key": "k",
                    "service_tier": "flex",
                }
            }
        },
    ),
    ({"stream": True}, {"stream": True}),
]


@pytest.mark.parametrize(("fields", "canonical"), SETTINGS)
def test_a_setting_is_read_and_written(fields: dict[str, Any], canonical: dict[str, Any]) -> None:
    request = read(**fields)
    assert {name: getattr(request, name) for name in canonical} == canonical
    body = write(request)
    assert {name: body.get(name) for name in fields} == fields


def test_a_safety_identifier_is_the_user_of_a_request_that_names_none() -> None:
    request = read(safety_identifier="hashed")
    assert request.user == "hashed"
    body = write(request)
    assert body["safety_identifier"] == "hashed"
    assert "user" not in body


STATE = [
    ("store", True),
    ("background", True),
    ("previous_response_id", "resp_1"),
    ("conversation", "conv_1"),
]


@pytest.mark.parametrize(("name", "value"), STATE)
def test_what_needs_stored_state_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name) as raised:
        inbound.parse({"input": "?", name: value})
    assert raised.value.param == name


@pytest.mark.parametrize(("name", "value"), [("store", False), *((n, None) for n, _ in STATE)])
def test_saying_that_there_is_none_is_fine(name: str, value: Any) -> None:
    inbound.parse({"input": "?", name: value})


def test_an_item_reference_refers_to_nothing() -> None:
    with pytest.raises(InvalidRequest) as raised:
        inbound.parse({"input": [{"type": "item_reference", "id": "msg_1"}]})
    assert raised.value.param == "input[0]"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "input"),
    ({"input": 3}, "input"),
    ({"input": ["hi"]}, "input[0]"),
    ({"input": "?", "tools": {}}, "tools"),
    ({"input": "?", "max_output_tokens": "9"}, "max_output_tokens"),
    ({"input": "?", "reasoning": {"effort": 3}}, "reasoning.effort"),
    ({"input": "?", "text": {"format": "json"}}, "text.format"),
    ({"input": [{"role": "robot", "content": "?"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": 3}]}, "input[0].content"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0].text",
    ),
    ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
    ({"input": "?", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "?", "tool_choice": "maybe"}, "tool_choice"),
    ({"input": "?", "text": {"format": {"type": "xml"}}}, "text.format"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        inbound.read_request(inbound.parse(fields))
    assert raised.value.param == param


def test_functions_are_not_strict_unless_somebody_says_so() -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    own = write(read(tools=[function]))["tools"]
    assert own == [function]  # the provider decides, as if we were not there
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    fields = {"messages": [{"role": "user", "content": "?"}], "tools": tools}
    asked = chat.read_request(chat.parse(fields))
    assert write(asked)["tools"] == [{**function, "strict": False}]


def test_tools_that_the_provider_runs_stay_as_they_are() -> None:
    tools = [
        {"type": "web_search", "search_context_size": "low"},
        {"type": "function", "name": "f", "parameters": {}, "defer_loading": True},
        {"type": "mcp", "server_label": "s", "server_url": "https://a.example"},
    ]
    choice = {"type": "mcp", "server_label": "s"}
    body = write(read(tools=tools, tool_choice=choice))
    assert body["tools"] == tools
    assert body["tool_choice"] == choice


def test_allowed_tools_are_all_the_tools_there_are() -> None:
    tools = [{"type": "function", "name": name, "parameters": {}} for name in "abc"]
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "b"}],
    }
    request = read(tools=tools, tool_choice=allowed)
    assert [tool.name for tool in request.tools] == ["b"]
    assert request.tool_choice == ToolChoice(mode="required")


def test_a_tool_that_takes_free_text_is_one_of_chat_completions_too() -> None:
    tool = {
        "type": "custom",
        "name": "math",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: INT"},
    }
    items = [
        {"type": "custom_tool_call", "call_id": "c", "name": "math", "input": "4 + 4"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "8"},
    ]
    request = read(input=items, tools=[tool], tool_choice={"type": "custom", "name": "math"})
    grammar = {"syntax": "lark", "definition": "start: INT"}
    assert request.tools[0].extras["openai"] == {
        "type": "custom",
        "custom": {"name": "math", "format": {"type": "grammar", "grammar": grammar}},
    }
    body = write(request)
    assert body["tools"] == [tool]
    assert body["tool_choice"] == {"type": "custom", "name": "math"}
    assert body["input"] == items


LOST: list[tuple[ChatRequest, str]] = [
    (asking(stop=("\n",)), "stop"),
    (asking(seed=7), "seed"),
    (asking(top_k=40), "top_k"),
    (asking(presence_penalty=0.5), "presence_penalty"),
    (asking(frequency_penalty=0.5), "frequency_penalty"),
    (asking(Text(text="?", extras={"cache": {"type": "ephemeral"}})), "cache_control"),
    (asking(extras={"anthropic": {"container": "c"}}), "container"),
    (asking(ToolResult(call_id="c", content=(), is_error=True)), "tool_result.is_error"),
    (
        ChatRequest(messages=(Message("user", (Text(text="?"),), name="Ada"),)),
        "messages.name",
    ),
    (
        ChatRequest(messages=(Message("assistant", (Reasoning(text="Hm", signature="s"),)),)),
        "reasoning of another provider",
    ),
]


@pytest.mark.parametrize(("request_", "what"), LOST, ids=[what for _, what in LOST])
def test_a_setting_that_is_lost_is_named(request_: ChatRequest, what: str) -> None:
    assert warnings(request_) == (f"{what} is not supported by responses",)


REFUSED: list[tuple[ChatRequest, str]] = [
    (asking(n=2), "n"),
    (asking(Part(extras={"gemini": {"videoMetadata": {}}})), "messages[0]"),
    (asking(tools=(Tool("search", extras={"anthropic": {"type": "web_search"}}),)), "tools[0]"),
    (ChatRequest(messages=(Message("assistant", (Image(url="https://a.b/c"),)),)), "messages[0]"),
    (
        asking(ToolResult(call_id="c", content=(Audio(data=DATA, format="mp3"),))),
        "messages[0]",
    ),
]


@pytest.mark.parametrize(("request_", "param"), REFUSED, ids=lambda value: str(value)[:20])
def test_content_that_has_no_form_here_is_refused_by_name(
    request_: ChatRequest, param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        write(request_)
    assert raised.value.param == param


def test_what_chat_completions_shares_is_carried() -> None:
    fields = {
        "messages": [{"role": "user", "content": "?"}],
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "verbosity": "low",
        "reasoning_effort": "low",
    }
    request = chat.read_request(chat.parse(fields))
    body = write(request)
    assert (body["service_tier"], body["prompt_cache_key"]) == ("flex", "k")
    assert body["text"] == {"verbosity": "low"}
    assert body["reasoning"] == {"effort": "low"}
    assert warnings(request) == ()


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        (ReasoningRequest(budget_tokens=1024), "low"),
        (ReasoningRequest(budget_tokens=8192), "medium"),
        (ReasoningRequest(budget_tokens=32000), "high"),
        (ReasoningRequest(enabled=False), "none"),
    ],
)
def test_a_budget_of_thoughts_is_an_effort(asked: ReasoningRequest, effort: str) -> None:
    assert write(asking(reasoning=asked))["reasoning"] == {"effort": effort}


def test_a_conversation_of_chat_completions_becomes_items() -> None:
    fields = {
        "messages": [
            {"role": "system", "content": "Be terse"},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "Looking",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "12 C"},
            {"role": "assistant", "refusal": "No"},
        ]
    }
    body = write(chat.read_request(chat.parse(fields)))
    assert body["store"] is False
    assert body["input"] == [
        {"type": "message", "role": "system", "content": "Be terse"},
        {"type": "message", "role": "user", "content": "Weather?"},
        {"type": "message", "role": "assistant", "content": "Looking"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "12 C"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "No"}],
        },
    ]
    again = inbound.read_request(inbound.parse({"input": body["input"]}))
    assert again.messages[-1].parts == (Refusal(text="No"),)


SPLICES: list[tuple[bytes, bytes]] = [
    (
        b'{ "model": "pro", "input": "?" }',
        b'{"store":false, "model": "m", "input": "?" }',
    ),
    (b'{"model":"pro","input":"?","store":false}', b'{"model":"m","input":"?","store":false}'),
    (b'{"model":"pro","input":"?","store":null}', b'{"model":"m","input":"?","store":false}'),
    (
        b'{"input":"store","tools":[{"type":"function","name":"store"}]}',
        b'{"store":false,"model":"m","input":"store","tools":[{"type":"function","name":"store"}]}',
    ),
]


@pytest.mark.parametrize(("raw", "sent"), SPLICES)
def test_a_body_that_passes_asks_for_nothing_to_be_stored(raw: bytes, sent: bytes) -> None:
    body = inbound.parse(json.loads(raw))
    assert outbound.splice(raw, body, "m") == (sent, False)


def test_what_other_providers_want_back_goes_through_callers() -> None:
    encrypted = sealed("sig", {"anthropic": {"redacted": "x"}})
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted},
        {
            "type": "function_call",
            "call_id": "c",
            "name": "f",
            "arguments": "{}",
            "gateway_extras": {"gemini": {"thoughtSignature": "t"}},
        },
        {"type": "function_call_output", "call_id": "c", "output": ""},
    ]
    turn = read(input=items).messages[0].parts
    assert turn == (
        Reasoning(signature="sig", extras={"anthropic": {"redacted": "x"}}),
        ToolCall(id="c", name="f", arguments="{}", extras={"gemini": {"thoughtSignature": "t"}}),
    )


def test_what_other_providers_want_back_is_not_for_this_one() -> None:
    encrypted = sealed("sig", {})
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": encrypted},
        {**call, "gateway_extras": {"gemini": {"thoughtSignature": "t"}}},
    ]
    raw = json.dumps({"model": "pro", "input": items}).encode()
    sent, _ = outbound.splice(raw, inbound.parse(json.loads(raw)), "m")
    assert json.loads(sent) == {"model": "m", "input": [call], "store": False}


@pytest.mark.parametrize("text", ["", "gAAAAB", "gateway.", "gateway.!!", "gateway.bnVsbA=="])
def test_what_was_not_sealed_opens_to_nothing(text: str) -> None:
    assert opened(text) in (None, ("", {}))
