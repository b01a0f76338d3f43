"""Requests of callers, read; and requests of other dialects' callers, written for Gemini."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from proxy.dialects.gemini import inbound, outbound
from proxy.dialects.gemini.carried import opened, sealed
from proxy.dialects.gemini.read_contents import as_json
from proxy.dialects.gemini.write_contents import UNCHECKED
from proxy.errors import InvalidRequest

HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def read(**fields: Any) -> ChatRequest:
    return inbound.read_request(inbound.parse({**HELLO, **fields}))


def write(
    request: ChatRequest, model: str = "gemini-2.5-flash"
) -> tuple[dict[str, Any], list[str]]:
    written = outbound.write_request(request, model=model, output_limit=None)
    return json.loads(written.body), list(written.warnings)


def asking(*messages: Message, **settings: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (Message("user", (Text(text="Hello"),)),), **settings)


def user(*parts: Part) -> Message:
    return Message("user", parts)


def model_turn(*parts: Part) -> Message:
    return Message("assistant", parts)


# --- settings, both ways

SETTINGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "limits",
        {"maxOutputTokens": 9, "stopSequences": ["x"]},
        {"max_output_tokens": 9, "stop": ("x",)},
    ),
    (
        "sampling",
        {"temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 7},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7},
    ),
    (
        "penalties",
        {"presencePenalty": 0.1, "frequencyPenalty": 0.2},
        {"presence_penalty": 0.1, "frequency_penalty": 0.2},
    ),
    ("choices", {"candidateCount": 2}, {"n": 2}),
    (
        "log-probabilities",
        {"responseLogprobs": True, "logprobs": 3},
        {"logprobs": True, "top_logprobs": 3},
    ),
    ("JSON", {"responseMimeType": "application/json"}, {"response_format": ResponseFormat("json")}),
    (
        "a schema",
        {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        {"response_format": ResponseFormat("json_schema", schema={"type": "object"})},
    ),
]


@pytest.mark.parametrize(
    ("wire", "canonical"), [case[1:] for case in SETTINGS], ids=[case[0] for case in SETTINGS]
)
def test_a_setting_means_the_same_both_ways(
    wire: dict[str, Any], canonical: dict[str, Any]
) -> None:
    request = read(generationConfig=wire)
    for field, value in canonical.items():
        assert getattr(request, field) == value
    assert request.extras == {}
    assert write(asking(**canonical)) == ({**HELLO, "generationConfig": wire}, [])


CHOICES = [
    ({"mode": "AUTO"}, ToolChoice("auto")),
    ({"mode": "NONE"}, ToolChoice("none")),
    ({"mode": "ANY"}, ToolChoice("required")),
    ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("named", "f")),
]


@pytest.mark.parametrize(("wire", "canonical"), CHOICES)
def test_a_tool_choice_means_the_same_both_ways(
    wire: dict[str, Any], canonical: ToolChoice
) -> None:
    config = {"functionCallingConfig": wire}
    assert read(toolConfig=config).tool_choice == canonical
    body, _ = write(asking(tools=(Tool("f"),), tool_choice=canonical))
    assert body["toolConfig"] == config


def test_either_spelling_is_read() -> None:
    camel = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 5, "thinkingConfig": {"thinkingBudget": 9}},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "f", "parametersJsonSchema": {"properties": {"a_b": {}}}}
                ]
            }
        ],
    }
    snake = {
        "system_instruction": {"parts": {"text": "Be brief."}},
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_budget": 9}},
        "tools": [
            {
                "function_declarations": [
                    {"name": "f", "parameters_json_schema": {"properties": {"a_b": {}}}}
                ]
            }
        ],
    }
    assert read(**camel) == read(**snake)
    assert read(**snake).tools[0].schema == {"properties": {"a_b": {}}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": "hi"}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "model", "parts": []}]}, "contents"),
        ({"contents": [{"role": "system", "parts": [{"text": "a"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        (
            {"contents": [{"parts": [{"inlineData": {"data": "QQ=="}}]}]},
            "contents[0].parts[0].inlineData.mimeType",
        ),
        (
            {"contents": [{"parts": [{"functionCall": {"args": {}}}]}]},
            "contents[0].parts[0].functionCall.name",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": 3}}]}]},
            "contents[0].parts[0].functionResponse.response",
        ),
        ({"generationConfig": {"maxOutputTokens": "many"}}, "generationConfig.maxOutputTokens"),
        ({"generation_config": {"top_k": -1}}, "generationConfig.topK"),
        ({"generationConfig": {}, "generation_config": {}}, "generationConfig"),
        (
            {"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
            "generationConfig.responseSchema",
        ),
        (
            {"tools": [{"functionDeclarations": [{"description": "d"}]}]},
            "tools[0].functionDeclarations[0].name",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0].text"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**fields)
    assert refused.value.param == param


def test_what_only_gemini_has_comes_out_again_and_is_named_to_others() -> None:
    given = {
        "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1",
        "tools": [
            {"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]},
            {"googleSearch": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "VALIDATED"},
            "includeServerSideToolInvocations": True,
        },
        "generationConfig": {
            "speechConfig": {"languageCode": "de"},
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "nullable": True},
        },
    }
    request = read(**given)
    assert write(request) == ({**HELLO, **given}, [])
    told = {name for name in request.extras["gemini"] if not name.startswith("_")}
    assert told == {
        "safetySettings",
        "cachedContent",
        "generationConfig.speechConfig",
        "toolConfig.includeServerSideToolInvocations",
    }
    assert request.tools[1].extras["gemini"]["type"] == "googleSearch"


def test_a_schema_of_openapi_becomes_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "any_of": {"type": "STRING", "nullable": True, "max_length": "5"},
            "list": {"type": "ARRAY", "items": {"any_of": [{"type": "INTEGER"}]}},
        },
        "property_ordering": ["list"],
        "required": ["list"],
    }
    request = read(generationConfig={"responseSchema": schema})
    assert request.response_format is not None
    assert request.response_format.schema == {
        "type": "object",
        "properties": {
            "any_of": {"type": ["string", "null"], "maxLength": 5},
            "list": {"type": "array", "items": {"anyOf": [{"type": "integer"}]}},
        },
        "required": ["list"],
    }


def test_json_schema_is_written_as_the_provider_takes_it() -> None:
    schema = {"$schema": "s", "type": "object", "properties": {"const": {"const": 1}}}
    accepted = {"type": "object", "properties": {"const": {"enum": [1]}}}
    body, _ = write(
        asking(
            tools=(Tool("f", schema=schema),),
            response_format=ResponseFormat("json_schema", schema=schema),
        )
    )
    assert body["generationConfig"]["responseJsonSchema"] == accepted
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == accepted


def test_strict_tools_are_kept_to_their_schemas() -> None:
    body, _ = write(asking(tools=(Tool("f", strict=True),)))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


# --- contents

PARTS: list[tuple[dict[str, Any], Part]] = [
    ({"text": "Hi"}, Text(text="Hi")),
    (
        {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
        Image(data="QQ==", media_type="image/png"),
    ),
    (
        {"fileData": {"fileUri": "https://a/b.png", "mimeType": "image/png"}},
        Image(url="https://a/b.png", media_type="image/png"),
    ),
    ({"inlineData": {"mimeType": "audio/mp3", "data": "QQ=="}}, Audio(data="QQ==", format="mp3")),
    (
        {"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}},
        Document(data="QQ==", media_type="application/pdf"),
    ),
    ({"fileData": {"fileUri": "https://youtu.be/x"}}, Document(url="https://youtu.be/x")),
    (
        {"text": "Hi", "videoMetadata": {"fps": 1}},
        Text(text="Hi", extras={"gemini": {"videoMetadata": {"fps": 1}}}),
    ),
    ({"executableCode": {"code": "1"}}, Part(extras={"gemini": {"executableCode": {"code": "1"}}})),
]


@pytest.mark.parametrize(("wire", "canonical"), PARTS)
def test_a_part_means_the_same_both_ways(wire: dict[str, Any], canonical: Part) -> None:
    contents = [{"role": "user", "parts": [wire]}]
    assert read(contents=contents).messages == (user(canonical),)
    assert write(asking(user(canonical))) == ({"contents": contents}, [])


@pytest.mark.parametrize(
    ("wire", "part"),
    [
        ({"text": "why", "thought": True}, Reasoning(text="why")),
        (
            {"text": "Hi", "thoughtSignature": "QQ=="},
            Text(text="Hi", extras={"gemini": {"thoughtSignature": "QQ=="}}),
        ),
        (
            {"text": "", "thoughtSignature": "QQ=="},
            Reasoning(extras={"gemini": {"text": "", "thoughtSignature": "QQ=="}}),
        ),
        (
            {
                "functionCall": {"id": "1", "name": "f", "args": {"a": 1}},
                "thoughtSignature": "QQ==",
            },
            ToolCall(
                id="1",
                name="f",
                arguments='{"a":1}',
                extras={"gemini": {"thoughtSignature": "QQ=="}},
            ),
        ),
    ],
)
def test_what_a_model_said_means_the_same_both_ways(wire: dict[str, Any], part: Part) -> None:
    contents = [*HELLO["contents"], {"role": "model", "parts": [wire]}]
    assert read(contents=contents).messages[1] == model_turn(part)
    hello = user(Text(text="Hello"))
    assert write(asking(hello, model_turn(part)))[0] == {"contents": contents}


RESULTS: list[tuple[dict[str, Any], ToolResult]] = [
    ({"output": "sunny"}, ToolResult(call_id="1", name="f", content=(Text(text="sunny"),))),
    (
        {"error": "down"},
        ToolResult(call_id="1", name="f", content=(Text(text="down"),), is_error=True),
    ),
    ({"degrees": 3}, ToolResult(call_id="1", name="f", content=(Text(text='{"degrees":3}'),))),
    ({"output": [1]}, ToolResult(call_id="1", name="f", content=(Text(text='{"output":[1]}'),))),
]


@pytest.mark.parametrize(("response", "result"), RESULTS)
def test_a_result_is_read(response: dict[str, Any], result: ToolResult) -> None:
    answer = {"functionResponse": {"id": "1", "name": "f", "response": response}}
    request = read(contents=[{"role": "user", "parts": [answer]}])
    assert request.messages == (Message("tool", (result,)),)
    again = write(request)[0]["contents"][0]["parts"][0]["functionResponse"]["response"]
    assert (
        read(
            contents=[
                {"parts": [{"functionResponse": {"id": "1", "name": "f", "response": again}}]}
            ]
        )
        == request
    )


def test_calls_without_ids_are_matched_by_name_and_order() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"functionCall": {"name": name, "args": {}}}

    def result(name: str) -> dict[str, Any]:
        return {"functionResponse": {"name": name, "response": {}}}

    request = read(
        contents=[
            {"role": "model", "parts": [call("a"), call("b"), call("a")]},
            {"role": "function", "parts": [result("b"), result("a"), result("a"), {"text": "so?"}]},
        ]
    )
    made = [part.id for part in request.messages[0].parts if isinstance(part, ToolCall)]
    answered = [
        part.call_id
        for message in request.messages[1:]
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert len(set(made)) == 3
    assert answered == [made[1], made[0], made[2]]
    assert request.messages[-1] == user(Text(text="so?"))


def test_a_stream_handed_back_frame_by_frame_is_one_message() -> None:
    seal = sealed("sig", {})
    parts = [
        {"text": "th", "thought": True},
        {"text": "ink", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": seal},
        {"text": "He"},
        {"text": "y"},
    ]
    contents = [*HELLO["contents"], *({"role": "model", "parts": [part]} for part in parts)]
    expected = model_turn(Reasoning(text="think", signature="sig"), Text(text="Hey"))
    assert read(contents=contents).messages[1:] == (expected,)


def test_a_foreign_signature_comes_back_but_is_not_shown_to_gemini() -> None:
    extras = {"anthropic": {"redacted": "x"}}
    assert opened(sealed("sig", extras)) == ("sig", extras)
    assert opened("QQ==") is None
    body, _ = write(asking(user(Text(text="a")), model_turn(Reasoning(text="b", signature="c"))))
    assert body["contents"][1]["parts"] == [{"text": "b", "thought": True}]


def test_results_of_one_turn_stand_in_one_content() -> None:
    call = ToolCall(id="1", name="f", arguments="{}")
    other = ToolCall(id="2", name="g", arguments="")
    body, _ = write(
        asking(
            model_turn(call, other),
            Message("tool", (ToolResult(call_id="1", content=(Text(text="a"),)),)),
            Message("tool", (ToolResult(call_id="2", content=(Text(text="b"),)),)),
            user(Text(text="so?")),
        )
    )
    assert [content["role"] for content in body["contents"]] == ["model", "user", "user"]
    names = [part["functionResponse"]["name"] for part in body["contents"][1]["parts"]]
    assert names == ["f", "g"]


def test_messages_that_say_nothing_are_left_out() -> None:
    assert write(asking(user(), user(), user(Text(text="Hello"))))[0] == HELLO
    answered = Message("tool", (ToolResult(call_id="1", content=(), name="f"),))
    body, _ = write(asking(answered, user(), answered))
    assert [len(content["parts"]) for content in body["contents"]] == [2]


def test_instructions_stand_before_everything() -> None:
    system, late = Message("system", (Text(text="a"),)), Message("developer", (Text(text="b"),))
    body, warnings = write(asking(system, user(Text(text="Hello")), late))
    assert body == {**HELLO, "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}}
    assert warnings == ["system messages stand before all others in gemini"]
    assert write(asking(system))[0] == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}


def test_media_of_a_result_go_where_the_model_takes_them() -> None:
    image = Image(data="QQ==", media_type="image/png")
    result = ToolResult(call_id="1", content=(Text(text="a"), image), name="f")
    inline = {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}
    new = write(asking(Message("tool", (result,))), "gemini-3-pro")[0]["contents"][0]["parts"]
    old = write(asking(Message("tool", (result,))), "gemini-2.5-pro")[0]["contents"][0]["parts"]
    assert new[0]["functionResponse"]["parts"] == [inline]
    assert old[1] == inline


def test_calls_that_gemini_did_not_sign_are_marked_for_models_that_ask() -> None:
    calls = (ToolCall(id="1", name="f", arguments="{}"), ToolCall(id="2", name="f", arguments="{}"))
    new = write(asking(model_turn(*calls)), "gemini-3-flash")[0]["contents"][0]["parts"]
    old = write(asking(model_turn(*calls)), "gemini-2.5-flash")[0]["contents"][0]["parts"]
    assert [part.get("thoughtSignature") for part in new] == [UNCHECKED, None]
    assert [part.get("thoughtSignature") for part in old] == [None, None]


@pytest.mark.parametrize(
    "part",
    [
        Document(file_id="file-1"),
        ToolCall(id="1", name="f", arguments="[1]"),
        ToolCall(id="1", name="f", arguments='{"cut'),
        ToolResult(call_id="unknown", content=()),
        Part(extras={"anthropic": {"type": "server_tool_use"}}),
    ],
)
def test_content_that_gemini_cannot_take_is_refused_by_its_place(part: Part) -> None:
    with pytest.raises(InvalidRequest) as refused:
        write(asking(user(Text(text="a")), model_turn(part)))
    assert refused.value.param == "messages[1].content[0]"


@pytest.mark.parametrize(
    ("request_", "warning"),
    [
        (asking(user(Text(text="a", extras={"cache": {}}))), "cache markers"),
        (asking(Message("user", (Text(text="a"),), name="bob")), "name of a"),
        (asking(user(Image(url="https://a/b", detail="high"))), "detail of an image"),
        (asking(user(Document(data="QQ==", name="a.pdf"))), "name of a document"),
        (asking(tools=(Tool("f"),), tool_choice=ToolChoice(parallel=False)), "parallel_tool_calls"),
        (asking(user="bob"), "user"),
        (asking(metadata={"a": "b"}), "metadata"),
        (asking(extras={"openai": {"service_tier": "flex"}}), "service_tier"),
    ],
)
def test_a_setting_that_gemini_lacks_is_named(request_: ChatRequest, warning: str) -> None:
    _, warnings = write(request_)
    assert [told for told in warnings if told.startswith(warning)]


def test_a_text_with_half_a_character_is_written_as_a_file_with_a_question_mark() -> None:
    part = write(asking(user(Document(text="a\ud800"))))[0]["contents"][0]["parts"][0]
    assert base64.b64decode(part["inlineData"]["data"]) == b"a?"


def test_refusals_and_texts_without_a_place_of_their_own_are_written_as_text() -> None:
    body, _ = write(asking(user(Document(text="plain")), model_turn(Refusal(text="no"))))
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "text/plain", "data": "cGxhaW4="}}
    ]
    assert body["contents"][1]["parts"] == [{"text": "no"}]


# --- any conversation

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
names = st.text("abcdef_", min_size=1, max_size=6)
files = st.sampled_from(
    [
        Image(data="QQ==", media_type="image/png"),
        Image(url="https://a/b.png", media_type="image/png"),
        Audio(data="QQ==", format="wav"),
        Document(data="QQ==", media_type="application/pdf"),
        Document(url="https://a/b.pdf", media_type="application/pdf"),
    ]
)
own = st.sampled_from([{}, {"gemini": {"thoughtSignature": "QQ=="}}])
user_parts = st.lists(st.builds(Text, text=words) | files, min_size=1, max_size=3)


@st.composite
def turns(draw: st.DrawFn, number: int) -> list[Message]:
    """What a user says, what the model thinks, says and calls, and what came of the calls."""
    said = [user(*draw(user_parts))]
    spoken: list[Part] = []
    if draw(st.booleans()):
        spoken.append(Reasoning(text=draw(words), extras=draw(own)))
    if draw(st.booleans()):
        spoken.append(Text(text=draw(words), extras=draw(own)))
    results = []
    for place in range(draw(st.integers(0, 2))):
        call_id, name = f"{number}.{place}", draw(names)
        arguments = as_json(draw(st.dictionaries(names, words | st.integers(), max_size=2)))
        spoken.append(ToolCall(id=call_id, name=name, arguments=arguments, extras=draw(own)))
        content = (Text(text=draw(words)), *draw(st.lists(files, max_size=1)))
        failed = draw(st.booleans())
        results.append(ToolResult(call_id=call_id, name=name, content=content, is_error=failed))
    if spoken:
        said.append(model_turn(*spoken))
    return [*said, *(Message("tool", (result,)) for result in results)]


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message("system", (Text(text=draw(words)),)))
    for number in range(draw(st.integers(1, 3))):
        messages += draw(turns(number))
    maybe = st.none()
    return ChatRequest(
        messages=tuple(messages),
        include_usage=True,
        max_output_tokens=draw(maybe | st.integers(1, 99)),
        temperature=draw(maybe | st.floats(0, 2)),
        top_k=draw(maybe | st.integers(1, 99)),
        stop=tuple(draw(st.lists(words, max_size=2))),
        seed=draw(maybe | st.integers(0, 2**31)),
        n=draw(st.integers(1, 3)),
        logprobs=draw(maybe | st.booleans()),
        tools=tuple(
            Tool(name, description=draw(words), schema={"type": "object"})
            for name in draw(st.lists(names, max_size=2))
        ),
        response_format=draw(maybe | st.just(ResponseFormat("json"))),
    )


@given(conversations())
def test_any_conversation_survives_being_written_and_read(request_: ChatRequest) -> None:
    body, warnings = write(request_, "gemini-3-flash")
    for content in body["contents"]:  # calls that nobody signed are marked
        for part in content["parts"]:
            if part.get("thoughtSignature") == UNCHECKED:
                del part["thoughtSignature"]
    assert warnings == []
    assert inbound.read_request(inbound.parse(body)) == request_


# --- thinking

Asked = ReasoningRequest
THINKING: list[tuple[str, ReasoningRequest, dict[str, Any] | None]] = [
    ("gemini-2.5-flash", Asked(effort="low"), {"thinkingBudget": 2048, "includeThoughts": True}),
    ("gemini-2.5-flash", Asked(effort="none"), {"thinkingBudget": 0}),
    ("gemini-2.5-flash", Asked(enabled=False), {"thinkingBudget": 0}),
    ("gemini-2.5-flash", Asked(enabled=True), {"thinkingBudget": -1, "includeThoughts": True}),
    (
        "gemini-2.5-flash",
        Asked(budget_tokens=99_999),
        {"thinkingBudget": 24_576, "includeThoughts": True},
    ),
    ("gemini-2.5-pro", Asked(enabled=False), {"thinkingBudget": 128}),
    (
        "gemini-3-flash",
        Asked(effort="minimal"),
        {"thinkingLevel": "minimal", "includeThoughts": True},
    ),
    ("gemini-3-flash", Asked(effort="xhigh"), {"thinkingLevel": "high", "includeThoughts": True}),
    ("gemini-3-flash", Asked(budget_tokens=500), {"thinkingBudget": 500, "includeThoughts": True}),
    ("gemini-3-flash", Asked(enabled=False), {"thinkingLevel": "minimal"}),
    (
        "gemini-3-pro-preview",
        Asked(effort="medium"),
        {"thinkingLevel": "high", "includeThoughts": True},
    ),
    (
        "gemini-3.1-pro",
        Asked(effort="medium"),
        {"thinkingLevel": "medium", "includeThoughts": True},
    ),
    ("gemini-3.1-pro", Asked(effort="minimal"), {"thinkingLevel": "low", "includeThoughts": True}),
    ("gemini-flash-latest", Asked(summary="auto"), {"includeThoughts": True}),
    ("gemini-2.0-flash", Asked(effort="low"), None),
]


@pytest.mark.parametrize(("model", "asked", "config"), THINKING)
def test_how_much_to_think_is_said_as_the_model_takes_it(
    model: str, asked: ReasoningRequest, config: dict[str, Any] | None
) -> None:
    body, warnings = write(asking(reasoning=asked), model)
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    off = asked.enabled is False and config != {"thinkingBudget": 0}
    assert bool(warnings) == (off or config is None)


@pytest.mark.parametrize(
    ("config", "reasoning"),
    [
        ({"thinkingBudget": 0}, Asked(enabled=False)),
        ({"thinkingBudget": -1}, Asked(enabled=True)),
        ({"thinkingBudget": 500}, Asked(budget_tokens=500, enabled=True)),
        ({"thinkingLevel": "HIGH", "includeThoughts": True}, Asked(effort="high", summary="auto")),
    ],
)
def test_how_much_to_think_is_read(config: dict[str, Any], reasoning: ReasoningRequest) -> None:
    request = read(generationConfig={"thinkingConfig": config})
    assert request.reasoning == reasoning
    assert write(request)[0]["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: outbound.path("m", stream=False), "/models/m:generateContent"),
        (lambda: outbound.path("m", stream=True), "/models/m:streamGenerateContent?alt=sse"),
    ],
)
def test_the_path_says_the_model_and_the_method(call: Callable[[], str], path: str) -> None:
    assert call() == path
    assert outbound.headers("k") == [("x-goog-api-key", "k")]
    assert outbound.headers(None) == []
    assert outbound.splice(b'{"contents":1}', None, "m") == (b'{"contents":1}', False)
