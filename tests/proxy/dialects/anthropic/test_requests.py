"""Requests, in both directions."""

import json
from typing import Any

import pytest

from proxy.chat.events import (
    BlockEnded,
    BlockStarted,
    Finished,
    ReasoningDelta,
    ToolArgumentsDelta,
)
from proxy.chat.request import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ReasoningRequest,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from proxy.dialects.anthropic import inbound, outbound
from proxy.dialects.faces import Start, Written
from proxy.errors import InvalidRequest
from tests.proxy.dialects.anthropic import sdk

EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}
HI = Message("user", (Text(text="hi"),))


def ask(*messages: Message, **settings: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (HI,), **settings)


def read(**fields: Any) -> ChatRequest:
    said = [{"role": "user", "content": "hi"}]
    return inbound.read_request(inbound.parse({"messages": said, "max_tokens": 9, **fields}))


def write(request: ChatRequest, model: str = "claude-sonnet-4-5", limit: int | None = None) -> Any:
    return json.loads(written(request, model, limit).body)


def written(
    request: ChatRequest, model: str = "claude-sonnet-4-5", limit: int | None = None
) -> Written:
    return outbound.write_request(request, model=model, output_limit=limit)


# One row for each kind of content: (role on the wire, block, canonical role, part).
BLOCKS = [
    ("user", {"type": "text", "text": "hi"}, "user", Text(text="hi")),
    (
        "user",
        {"type": "text", "text": "hi", "cache_control": EPHEMERAL},
        "user",
        Text(text="hi", extras={"cache": EPHEMERAL}),
    ),
    (
        "user",
        {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}},
        "user",
        Image(url="https://a.b/c.png"),
    ),
    (
        "user",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
        "user",
        Image(data="QQ==", media_type="image/png"),
    ),
    (
        "user",
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        "user",
        Part(
            extras={"anthropic": {"type": "image", "source": {"type": "file", "file_id": "file_1"}}}
        ),
    ),
    (
        "user",
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
            "title": "a.pdf",
            "citations": {"enabled": True},
        },
        "user",
        Document(
            data="QQ==",
            media_type="application/pdf",
            name="a.pdf",
            extras={"anthropic": {"citations": {"enabled": True}}},
        ),
    ),
    (
        "user",
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "words"},
        },
        "user",
        Document(text="words", media_type="text/plain"),
    ),
    (
        "user",
        {"type": "document", "source": {"type": "url", "url": "https://a.b/c.pdf"}},
        "user",
        Document(url="https://a.b/c.pdf"),
    ),
    (
        "user",
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        "user",
        Document(file_id="file_1"),
    ),
    (
        "user",
        {"type": "container_upload", "file_id": "file_1"},
        "user",
        Part(extras={"anthropic": {"type": "container_upload", "file_id": "file_1"}}),
    ),
    (
        "user",
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "text", "text": "no such city"}],
            "is_error": True,
        },
        "tool",
        ToolResult(call_id="toolu_1", content=(Text(text="no such city"),), is_error=True),
    ),
    (
        "assistant",
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
        "assistant",
        ToolCall(id="toolu_1", name="weather", arguments='{"city":"Oslo"}'),
    ),
    (
        "assistant",
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        "assistant",
        Reasoning(text="hm", signature="c2ln", extras={"anthropic": {"type": "thinking"}}),
    ),
    (
        "assistant",
        {"type": "redacted_thinking", "data": "ZW5j"},
        "assistant",
        Reasoning(
            redacted="ZW5j",
            extras={"anthropic": {"type": "redacted_thinking", "data": "ZW5j"}},
        ),
    ),
    (
        "assistant",
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
        "assistant",
        Part(
            extras={
                "anthropic": {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"q": "x"},
                }
            }
        ),
    ),
]


@pytest.mark.parametrize(
    ("role", "block", "canonical_role", "part"),
    BLOCKS,
    ids=[f"{row[1]['type']}-{number}" for number, row in enumerate(BLOCKS)],
)
def test_each_block_is_a_part_and_each_part_that_block(
    role: str, block: dict[str, Any], canonical_role: Any, part: Part
) -> None:
    message = read(messages=[{"role": role, "content": [block]}]).messages[0]
    assert message == Message(canonical_role, (part,))
    turns = write(ask(message))["messages"]
    assert turns == [{"role": role, "content": [block]}]


# One row for each setting: (fields on the wire, fields of the request).
SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}),
    ({"top_p": 0.9}, {"top_p": 0.9}),
    ({"stop_sequences": ["END"]}, {"stop": ("END",)}),
    ({"metadata": {"user_id": "u-1"}}, {"user": "u-1"}),
    ({"max_tokens": 77}, {"max_output_tokens": 77}),
    ({"stream": True}, {"stream": True}),
    ({"service_tier": "auto"}, {"extras": {"anthropic": {"service_tier": "auto"}}}),
    (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
        {
            "extras": {
                "anthropic": {
                    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]}
                }
            }
        },
    ),
    (
        {
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        },
        {
            "tools": (Tool("f", "d", {"type": "object"}),),
            "tool_choice": ToolChoice("required", parallel=False),
        },
    ),
    (
        {
            "tools": [
                {
                    "name": "f",
                    "input_schema": {"type": "object"},
                    "strict": True,
                    "cache_control": EPHEMERAL,
                    "defer_loading": True,
                }
            ],
            "tool_choice": {"type": "tool", "name": "f"},
        },
        {
            "tools": (
                Tool(
                    "f",
                    schema={"type": "object"},
                    strict=True,
                    extras={"cache": EPHEMERAL, "anthropic": {"defer_loading": True}},
                ),
            ),
            "tool_choice": ToolChoice("named", "f"),
        },
    ),
    (
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]},
        {
            "tools": (
                Tool(
                    "web_search",
                    extras={
                        "anthropic": {
                            "type": "web_search_20250305",
                            "name": "web_search",
                            "max_uses": 2,
                        }
                    },
                ),
            )
        },
    ),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4000},
        {
            "reasoning": ReasoningRequest(budget_tokens=2048, enabled=True),
            "max_output_tokens": 4000,
            "extras": {
                "anthropic": {"_thinking": {"type": "enabled", "budget_tokens": 2048}},
            },
        },
    ),
    (
        {
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": {"type": "object"}},
            }
        },
        {
            "reasoning": ReasoningRequest(effort="low"),
            "response_format": ResponseFormat(
                "json_schema", schema={"type": "object"}, strict=True
            ),
            "extras": {
                "anthropic": {
                    "_output_config": {
                        "effort": "low",
                        "format": {"type": "json_schema", "schema": {"type": "object"}},
                    }
                }
            },
        },
    ),
]


@pytest.mark.parametrize(("fields", "settings"), SETTINGS, ids="-".join)
def test_each_setting_is_read_and_written_back(
    fields: dict[str, Any], settings: dict[str, Any]
) -> None:
    request = read(**fields)
    for name, value in settings.items():
        assert getattr(request, name) == value
    body = write(request)
    assert {name: body[name] for name in fields} == fields


def test_a_turn_of_results_and_words_is_apart_here_and_one_turn_there() -> None:
    turn = {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "tool_result", "tool_use_id": "b"},
            {"type": "text", "text": "and?"},
        ],
    }
    request = read(messages=[turn])
    assert [message.role for message in request.messages] == ["tool", "tool", "user"]
    [back] = write(request)["messages"]
    assert [block["type"] for block in back["content"]] == ["tool_result", "tool_result", "text"]


def test_system_and_developer_messages_go_to_the_top() -> None:
    body = write(
        ask(
            Message("system", (Text(text="Be brief.", extras={"cache": EPHEMERAL}),)),
            HI,
            Message("developer", (Text(text="Be kind."),)),
        )
    )
    assert body["system"] == [
        {"type": "text", "text": "Be brief.", "cache_control": EPHEMERAL},
        {"type": "text", "text": "Be kind."},
    ]
    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_a_system_message_between_turns_stays_there() -> None:
    said = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
    ]
    assert write(read(messages=said))["messages"] == said


def test_a_request_of_a_system_prompt_alone_asks_as_a_user() -> None:
    body = write(ask(Message("system", (Text(text="Say hi."),))))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    assert "system" not in body


def test_calls_without_an_id_are_numbered_and_answered_in_order() -> None:
    call = ToolCall(id="", name="f", arguments="")
    answer = ToolResult(call_id="", content=(Text(text="1"),))
    body = write(
        ask(
            HI,
            Message("assistant", (call, call)),
            Message("tool", (answer,)),
            Message("tool", (answer,)),
        )
    )
    calls, results = body["messages"][1]["content"], body["messages"][2]["content"]
    assert [block["id"] for block in calls] == [block["tool_use_id"] for block in results]
    assert len({block["id"] for block in calls}) == 2
    assert [block["input"] for block in calls] == [{}, {}]


def test_numbers_of_any_size_survive_in_arguments() -> None:
    given = '{"id":123456789012345678901234567890}'
    call = ToolCall(id="a", name="f", arguments=given)
    body = written(ask(HI, Message("assistant", (call,)))).body
    assert given.encode() in body
    [_, message] = read(**json.loads(body)).messages
    assert message.parts == (call,)


def test_arguments_survive_beside_what_is_written_the_slow_way() -> None:
    call = ToolCall(id="a", name="f", arguments='{"a":1}')
    huge = Tool("f", schema={"type": "object", "maximum": 10**30})
    body = write(ask(HI, Message("assistant", (call,)), tools=(huge,)))
    assert body["messages"][1]["content"][0]["input"] == {"a": 1}
    assert body["tools"][0]["input_schema"]["maximum"] == 10**30


@pytest.mark.parametrize(
    ("asked", "limit", "max_tokens"),
    [(None, None, 4096), (None, 64_000, 64_000), (100, 64_000, 100), (9_000, 8_192, 8_192)],
)
def test_a_limit_is_always_said_and_never_more_than_the_model_gives(
    asked: int | None, limit: int | None, max_tokens: int
) -> None:
    assert write(ask(max_output_tokens=asked), limit=limit)["max_tokens"] == max_tokens


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"seed": 0}, "seed is not supported by anthropic"),
        ({"presence_penalty": 0.5}, "presence_penalty is not supported by anthropic"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported by anthropic"),
        ({"logprobs": True}, "logprobs is not supported by anthropic"),
        ({"top_logprobs": 3}, "top_logprobs is not supported by anthropic"),
        ({"metadata": {"a": "b"}}, "metadata is not supported by anthropic"),
        ({"temperature": 1.5}, "temperature is lowered to 1"),
        ({"temperature": 0.5, "top_p": 0.5}, "top_p is not supported"),
        ({"user": "ann@example.com"}, "user with a mail address is not supported"),
        ({"stop": (" ", "END")}, "stop of nothing but white space"),
        ({"extras": {"openai": {"logit_bias": {}}}}, "logit_bias is not supported by anthropic"),
    ],
)
def test_a_setting_that_it_lacks_is_a_warning_by_name(
    settings: dict[str, Any], warning: str
) -> None:
    assert any(text.startswith(warning) for text in written(ask(**settings)).warnings)


@pytest.mark.parametrize("settings", [{"presence_penalty": 0.0}, {"logprobs": False}, {"n": 1}])
def test_a_setting_that_asks_for_nothing_is_no_warning(settings: dict[str, Any]) -> None:
    assert written(ask(**settings)).warnings == ()


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ask(n=2), "n"),
        (ask(Message("user", (Audio(data="QQ==", format="wav"),))), "messages[0].content[0]"),
        (
            ask(Message("user", (Document(data="QQ==", media_type="application/zip"),))),
            "messages[0].content[0]",
        ),
        (
            ask(Message("assistant", (ToolCall(id="a", name="f", arguments='{"a":'),))),
            "messages[0].content[0].arguments",
        ),
        (ask(Message("user", (Part(extras={"gemini": {}}),))), "messages[0].content[0]"),
        (ask(tools=(Tool("f", extras={"openai": {"type": "custom"}}),)), "tools[0]"),
        (ask(Message("system", (Image(url="https://a.b"),)), HI), "messages[0]"),
    ],
)
def test_content_that_it_cannot_take_is_refused_by_name(request_: ChatRequest, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        written(request_)
    assert refused.value.param == param


def test_a_text_file_is_sent_as_text() -> None:
    part = Document(data="w6k=", media_type="text/csv", name="a.csv")
    [turn] = write(ask(Message("user", (part,))))["messages"]
    assert turn["content"][0]["source"] == {
        "type": "text",
        "media_type": "text/plain",
        "data": "é",
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "bot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0].source",
        ),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param


def test_tokens_are_counted_of_what_counts() -> None:
    request = ask(HI, max_output_tokens=5, temperature=0.5, user="u-1", stream=True)
    body = json.loads(outbound.write_count(request, model="claude-sonnet-4-5").body)
    assert body.keys() == {"model", "messages"}
    assert outbound.read_count(b'{"input_tokens":16}') == 16


def test_the_callers_bytes_stay_but_for_the_model() -> None:
    raw = (
        b'{ "model": "pro", "max_tokens": 5,\n "messages": [{"role":"user","content":"\\u00e9"}] }'
    )
    body = inbound.parse(json.loads(raw))
    expected = (raw.replace(b'"pro"', b'"claude-x"'), False)
    assert outbound.splice(raw, body, "claude-x") == expected


FOREIGN = {"gemini": {"thoughtSignature": "c2ln"}}


@pytest.mark.parametrize("streamed", [True, False])
def test_what_another_provider_wants_back_comes_back_and_never_reaches_this_one(
    streamed: bool,
) -> None:
    events = [
        BlockStarted(0, "reasoning"),
        ReasoningDelta(0, "hm", "theirs", extras=FOREIGN),
        BlockEnded(0),
        BlockStarted(1, "tool_call", call_id="a", name="f", extras=FOREIGN),
        ToolArgumentsDelta(1, "{}"),
        BlockEnded(1),
        Finished("tool_calls"),
    ]
    start = Start("m", "pro", 0)
    if streamed:
        writer = inbound.stream_writer(ask(), start)
        body = b"".join([*(writer.write(event) for event in events), writer.end()])
        answer = sdk.read(body, stream=True)
    else:
        answer = sdk.read(inbound.write_body(events, ask(), start), stream=False)
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": answer.to_dict()["content"]},
    ]
    thought, call = read(messages=turns).messages[1].parts
    assert thought == Reasoning(text="hm", signature="theirs", extras=FOREIGN)
    assert call == ToolCall(id="a", name="f", arguments="{}", extras=FOREIGN)
    raw = json.dumps({"model": "pro", "messages": turns, "max_tokens": 5}).encode()
    passed, _ = outbound.splice(raw, inbound.parse(json.loads(raw)), "claude-x")
    assert b"gateway" not in passed
    [block] = json.loads(passed)["messages"][1]["content"]
    assert block["type"] == "tool_use"


def test_the_provider_is_called_as_its_documentation_says() -> None:
    assert outbound.path("claude-x", stream=True) == "/v1/messages"
    assert outbound.count_path("claude-x") == "/v1/messages/count_tokens"
    assert outbound.headers("key") == [("x-api-key", "key"), ("anthropic-version", "2023-06-01")]
    assert outbound.headers(None) == [("anthropic-version", "2023-06-01")]
