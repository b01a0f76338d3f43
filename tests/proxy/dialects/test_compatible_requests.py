"""What callers ask, as chat completions, Mistral and Ollama are told it: carried, warned of, or
refused."""

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
from proxy.dialects import OUTBOUND
from proxy.dialects.openai.request import parse, read_request
from proxy.errors import InvalidRequest

HELLO = Message("user", (Text(text="hello"),))
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOL = Tool("f", "does", SCHEMA, strict=True)
PNG = Image(data="AAAA", media_type="image/png")
URL = Image(url="https://a.example/i.png", detail="low")
BRIEF = Message("developer", (Text(text="be brief"),), name="ops")


def write(dialect: str, *messages: Message, model: str = "m", **asked: Any) -> dict[str, Any]:
    request = ChatRequest(messages=messages or (HELLO,), **asked)
    written = OUTBOUND[dialect].write_request(request, model=model, output_limit=None)
    body: dict[str, Any] = json.loads(written.body)
    return {**body, "warnings": list(written.warnings)}


def spelled(dialect: str, *parts: Part, role: Any = "user") -> Any:
    return write(dialect, Message(role, parts))["messages"][0]


@pytest.mark.parametrize(
    ("asked", "openai", "mistral", "ollama"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}, {"temperature": 0.5}, {"temperature": 0.5}),
        ({"max_output_tokens": 9}, {"max_tokens": 9}, {"max_tokens": 9}, {"num_predict": 9}),
        ({"stop": ("a",)}, {"stop": ["a"]}, {"stop": ["a"]}, {"stop": ["a"]}),
        ({"seed": 4}, {"seed": 4}, {"random_seed": 4}, {"seed": 4}),
        ({"top_k": 3}, "top_k", "top_k", {"top_k": 3}),
        ({"user": "ann"}, {"user": "ann"}, "user", "user"),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}, "metadata", "metadata"),
        ({"n": 2}, {"n": 2}, {"n": 2}, InvalidRequest),
        ({"logprobs": True}, {"logprobs": True}, "logprobs", {"logprobs": True}),
        (
            {"reasoning": ReasoningRequest(effort="low")},
            {"reasoning_effort": "low"},
            {"reasoning_effort": "high"},
            {"think": "low"},
        ),
        (
            {"reasoning": ReasoningRequest(enabled=True, budget_tokens=20_000)},
            {"reasoning_effort": "high"},
            {"reasoning_effort": "high"},
            {"think": "high"},
        ),
        ({"reasoning": ReasoningRequest(enabled=False)}, {}, {}, {"think": False}),
        ({"reasoning": ReasoningRequest(summary="auto")}, *["reasoning.summary"] * 3),
        (
            {"response_format": ResponseFormat("json")},
            {"response_format": {"type": "json_object"}},
            {"response_format": {"type": "json_object"}},
            {"format": "json"},
        ),
        (
            {"tools": (TOOL,), "tool_choice": ToolChoice("required", parallel=False)},
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"tool_choice": "any", "parallel_tool_calls": False},
            "tool_choice",
        ),
        (
            {"tools": (TOOL,), "tool_choice": ToolChoice("named", "f")},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tool_choice",
        ),
        (
            {"extras": {"openai": {"verbosity": "low", "prediction": {"content": "x"}}}},
            {"verbosity": "low", "prediction": {"content": "x"}},
            "verbosity",
            "prediction",
        ),
        ({"extras": {"gemini": {"labels": {}}}}, "labels", "labels", "labels"),
        ({"extras": {"openai": {"safe_prompt": True}}}, {}, {"safe_prompt": True}, "safe_prompt"),
        ({"extras": {"openai": {"options": {"num_ctx": 8}}}}, {}, "options", {"num_ctx": 8}),
    ],
)
def test_a_setting_is_carried_or_warned_of(
    asked: dict[str, Any], openai: Any, mistral: Any, ollama: Any
) -> None:
    for dialect, wanted in (("openai", openai), ("mistral", mistral), ("ollama", ollama)):
        if wanted is InvalidRequest:
            with pytest.raises(InvalidRequest):
                write(dialect, **asked)
            continue
        body = write(dialect, **asked)
        if isinstance(wanted, str):
            assert f"{wanted} is not supported by {dialect}" in body["warnings"]
        else:
            told = {**body, **body.get("options", {})}
            assert {name: told.get(name) for name in wanted} == wanted


def test_a_strict_schema_binds_the_answer_of_each() -> None:
    wanted = ResponseFormat("json_schema", "thing", SCHEMA, strict=True)
    described = {"name": "thing", "schema": SCHEMA, "strict": True}
    for dialect in ("openai", "mistral"):
        told = write(dialect, response_format=wanted)["response_format"]
        assert told == {"type": "json_schema", "json_schema": described}
    assert write("ollama", response_format=wanted)["format"] == SCHEMA


KNOWN_TO_MISTRAL = {
    *("model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop", "random_seed"),
    *("presence_penalty", "frequency_penalty", "n", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "reasoning_effort", "prompt_mode", "safe_prompt", "prediction"),
}


def test_mistral_is_sent_nothing_that_it_does_not_know() -> None:
    body = write(
        "mistral",
        BRIEF,
        HELLO,
        stream=True,
        include_usage=True,
        logprobs=True,
        top_logprobs=2,
        user="ann",
        metadata={"a": "b"},
        top_k=1,
        tools=(Tool("f", extras={"cache": {"type": "ephemeral"}}),),
        extras={"openai": {"store": True, "_max_completion_tokens": True}},
        max_output_tokens=5,
    )
    assert body.keys() - {"warnings"} <= KNOWN_TO_MISTRAL
    assert body["messages"][0] == {"role": "system", "content": "be brief"}
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("model", "asked", "field"),
    [
        ("gpt-4o", {}, "max_tokens"),
        ("o3-mini", {}, "max_completion_tokens"),
        ("openai/gpt-5-nano", {}, "max_completion_tokens"),
        ("m", {"reasoning": ReasoningRequest(effort="high")}, "max_completion_tokens"),
        ("m", {"extras": {"openai": {"_max_completion_tokens": True}}}, "max_completion_tokens"),
    ],
)
def test_the_output_limit_has_the_name_that_the_model_knows(
    model: str, asked: dict[str, Any], field: str
) -> None:
    assert write("openai", model=model, max_output_tokens=7, **asked)[field] == 7


def test_a_stream_always_reports_its_usage() -> None:
    own = {"openai": {"stream_options": {"include_obfuscation": False}}}
    assert write("openai", stream=True, extras=own)["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert "stream_options" not in write("mistral", stream=True)


@pytest.mark.parametrize(
    ("part", "openai", "mistral", "ollama"),
    [
        (
            PNG,
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
            {"role": "user", "content": "", "images": ["AAAA"]},
        ),
        (
            URL,
            {"type": "image_url", "image_url": {"url": URL.url, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": URL.url, "detail": "low"}},
            InvalidRequest,
        ),
        (
            Audio(data="AA", format="wav"),
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            InvalidRequest,
        ),
        (
            Document(data="AA", media_type="application/pdf", name="a.pdf"),
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
            },
            {
                "type": "document_url",
                "document_url": "data:application/pdf;base64,AA",
                "document_name": "a.pdf",
            },
            InvalidRequest,
        ),
        (
            Document(url="https://a.example/a.pdf"),
            InvalidRequest,
            {"type": "document_url", "document_url": "https://a.example/a.pdf"},
            InvalidRequest,
        ),
        (Document(text="plain"), "plain", "plain", {"role": "user", "content": "plain"}),
    ],
)
def test_content_is_carried_or_refused_by_name(
    part: Part, openai: Any, mistral: Any, ollama: Any
) -> None:
    for dialect, wanted in (("openai", openai), ("mistral", mistral), ("ollama", ollama)):
        if wanted is InvalidRequest:
            with pytest.raises(InvalidRequest, match=r"messages\[0\].*" + dialect):
                spelled(dialect, part)
        elif dialect == "ollama":
            assert spelled(dialect, part) == wanted
        else:
            content = spelled(dialect, part)["content"]
            assert content == (wanted if isinstance(wanted, str) else [wanted])


TURN = (
    Message(
        "assistant",
        (
            Reasoning(text="hm"),
            Text(text="wait"),
            ToolCall(id="call_1", name="f", arguments='{"x":1}'),
            ToolCall(id="call_2", name="g", arguments=""),
        ),
    ),
    Message(
        "user",
        (
            ToolResult(call_id="call_1", content=(Text(text="one"), PNG), is_error=True),
            ToolResult(call_id="call_2", content=()),
            Text(text="go on"),
        ),
    ),
)


def test_results_follow_their_calls_and_their_images_follow_them() -> None:
    body = write("openai", *TURN)
    turn, first, second, rest = body["messages"]
    assert [call["function"]["arguments"] for call in turn["tool_calls"]] == ['{"x":1}', "{}"]
    assert first == {"role": "tool", "tool_call_id": "call_1", "content": "one"}
    assert second == {"role": "tool", "tool_call_id": "call_2", "content": ""}
    assert [part["type"] for part in rest["content"]] == ["image_url", "text"]
    assert body["warnings"] == [
        "reasoning of earlier turns is not supported by openai",
        "is_error of a tool result is not supported by openai",
    ]


def test_mistral_gets_its_own_ids_thoughts_and_turns() -> None:
    turn, first, second, between, rest = write("mistral", *TURN)["messages"]
    assert turn["content"][0] == {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "hm"}],
        "closed": True,
    }
    ids = [call["id"] for call in turn["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert all(len(id_) == 9 and id_.isalnum() for id_ in ids)
    assert (between["role"], rest["role"]) == ("assistant", "user")
    assert write("mistral", HELLO, TURN[0])["messages"][-1]["prefix"] is True


def test_ollama_gets_arguments_as_objects_and_the_names_of_tools() -> None:
    turn, first, second, rest = write("ollama", *TURN)["messages"]
    assert turn["thinking"] == "hm"
    assert [call["function"]["arguments"] for call in turn["tool_calls"]] == [{"x": 1}, {}]
    assert [first["tool_name"], second["tool_name"]] == ["f", "g"]
    assert rest == {"role": "user", "content": "go on", "images": ["AAAA"]}
    cut = Message("assistant", (ToolCall(id="a", name="f", arguments='{"x'),))
    with pytest.raises(InvalidRequest, match="arguments"):
        write("ollama", cut)


def test_forbidden_tools_are_left_out_for_ollama() -> None:
    assert "tools" not in write("ollama", tools=(TOOL,), tool_choice=ToolChoice("none"))


@pytest.mark.parametrize("dialect", ["mistral", "ollama"])
def test_a_tool_of_another_provider_is_refused_by_name(dialect: str) -> None:
    fields = {"messages": [{"role": "user", "content": "?"}], "tools": [{"type": "web_search"}]}
    request = read_request(parse(fields))
    with pytest.raises(InvalidRequest, match="web_search"):
        OUTBOUND[dialect].write_request(request, model="m", output_limit=None)
    body = OUTBOUND["openai"].write_request(request, model="m", output_limit=None).body
    assert json.loads(body)["tools"] == [{"type": "web_search"}]


OWN_SETTINGS: list[dict[str, Any]] = [
    {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
    {"logit_bias": {"1": 2}, "store": True, "service_tier": "flex", "top_k": 4},
    {"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}},
    {"web_search_options": {}, "verbosity": "low", "prediction": {"type": "content"}},
    {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
    {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required", "tools": [{"type": "function"}]},
        },
    },
    {"max_completion_tokens": 4},
    {"max_tokens": 4, "reasoning_effort": "low"},
]
OWN_MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"x": 1}}]},
    {"role": "assistant", "content": "a", "audio": {"id": "audio_1"}},
    {"role": "assistant", "content": None, "reasoning_content": "hm", "refusal": "no"},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "4"},
]


@pytest.mark.parametrize("fields", OWN_SETTINGS)
@pytest.mark.parametrize("message", OWN_MESSAGES)
def test_what_only_chat_completions_say_is_written_as_it_was(
    fields: dict[str, Any], message: dict[str, Any]
) -> None:
    given = {"model": "m", "messages": [message], **fields}
    request = read_request(parse(given))
    body = OUTBOUND["openai"].write_request(request, model="m", output_limit=None).body
    assert json.loads(body) == given


def test_a_refusal_of_the_model_is_text_where_it_has_no_field() -> None:
    refusal = Refusal(text="No.")
    assert spelled("openai", refusal, role="assistant")["refusal"] == "No."
    assert spelled("mistral", refusal, role="assistant")["content"] == "No."
    assert spelled("ollama", refusal, role="assistant")["content"] == "No."
