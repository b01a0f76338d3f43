"""OpenAI's own SDK works with only its base URL and key changed, and raises its own errors."""

import base64
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.fake_upstream import (
    USAGE,
    FakeUpstream,
    answer_frames,
    chunk,
    completion,
    failing,
    frame,
    stream,
    whole,
    words,
)
from tests.gateway_process import GatewayProcess, IssuedKey
from tests.proxy.conftest import HELLO, Issue

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n pixel").decode()
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
MESSAGES: Any = [HELLO]


def _client(gateway: GatewayProcess, key: str, path: str = "/v1") -> OpenAI:
    return OpenAI(base_url=gateway.url + path, api_key=key, max_retries=0, timeout=20)


@pytest.fixture
def client(gateway: GatewayProcess, key: IssuedKey) -> Iterator[OpenAI]:
    with _client(gateway, key.token) as client:
        yield client


class TestAnswers:
    def test_whole(self, client: OpenAI, upstream: FakeUpstream) -> None:
        upstream.at("first").answers(whole(completion("Grüße")))
        answer = client.chat.completions.create(model="pro", messages=MESSAGES)
        assert answer.choices[0].message.content == "Grüße"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 42
        assert answer.model == "gpt-answers"

    def test_streamed(self, client: OpenAI, upstream: FakeUpstream) -> None:
        upstream.at("first").answers(stream(answer_frames(4)))
        chunks = list(client.chat.completions.create(model="pro", messages=MESSAGES, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == " word0 word1 word2 word3"
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_streamed_with_usage(self, client: OpenAI, upstream: FakeUpstream) -> None:
        upstream.at("first").answers(stream(answer_frames(4, usage=USAGE)))
        chunks = list(
            client.chat.completions.create(
                model="pro", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.prompt_tokens == 30

    def test_by_the_path_of_an_alias(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        # The SDK adds its own path, so the alias's own is asked through its raw door.
        with _client(gateway, key.token, "") as client:
            answer = client.post("/chat/pro", body={"messages": MESSAGES}, cast_to=object)
        assert isinstance(answer, dict)
        assert answer["choices"][0]["message"]["content"] == "Hello there"

    async def test_asynchronously(
        self, gateway: GatewayProcess, key: IssuedKey, upstream: FakeUpstream
    ) -> None:
        upstream.at("first").answers(whole(completion("one")), stream(answer_frames(2)))
        async with AsyncOpenAI(base_url=gateway.url + "/v1", api_key=key.token) as client:
            answer = await client.chat.completions.create(model="pro", messages=MESSAGES)
            assert answer.choices[0].message.content == "one"
            pieces = await client.chat.completions.create(
                model="pro", messages=MESSAGES, stream=True
            )
            text = "".join([piece.choices[0].delta.content or "" async for piece in pieces])
            assert text == " word0 word1"

    def test_raw_headers_are_there(self, client: OpenAI, upstream: FakeUpstream) -> None:
        raw = client.chat.completions.with_raw_response.create(model="pro", messages=MESSAGES)
        assert raw.headers["x-gateway-provider"] == "first"
        assert raw.parse().choices[0].message.content == "Hello there"
        assert raw.request_id == raw.headers["x-request-id"]


class TestTools:
    CALL: Any = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
    }

    def test_whole(self, client: OpenAI, upstream: FakeUpstream) -> None:
        message = {"role": "assistant", "content": None, "tool_calls": [self.CALL]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        upstream.at("first").answers(
            whole({"id": "x", "object": "chat.completion", "choices": [choice], "usage": USAGE})
        )
        answer = client.chat.completions.create(model="pro", messages=MESSAGES, tools=[WEATHER])
        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.arguments == '{"city": "Köln"}'
        assert upstream.received[0].json()["tools"] == [WEATHER]

    def test_streamed(self, client: OpenAI, upstream: FakeUpstream) -> None:
        opened = {**self.CALL, "index": 0, "function": {"name": "weather", "arguments": ""}}
        pieces = ['{"ci', 'ty": "K', 'öln"}']
        frames = [chunk({"role": "assistant", "tool_calls": [opened]})]
        frames += [
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            for piece in pieces
        ]
        upstream.at("first").answers(stream([*frames, chunk(finish="tool_calls"), frame("[DONE]")]))
        with client.chat.completions.stream(
            model="pro", messages=MESSAGES, tools=[WEATHER]
        ) as events:
            final = events.get_final_completion()
        [call] = final.choices[0].message.tool_calls or []
        assert call.function.arguments == '{"city": "Köln"}'

    def test_and_their_results_go_back(self, client: OpenAI, upstream: FakeUpstream) -> None:
        messages: Any = [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [self.CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]
        client.chat.completions.create(model="pro", messages=messages, tools=[WEATHER])
        assert upstream.received[0].json()["messages"] == messages


def test_images_reach_the_upstream_as_they_are(client: OpenAI, upstream: FakeUpstream) -> None:
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            ],
        }
    ]
    client.chat.completions.create(model="pro", messages=messages)
    assert upstream.received[0].json()["messages"] == messages


class TestErrors:
    def _ask(self, client: OpenAI, **fields: Any) -> None:
        for streaming in (False, True):
            client.chat.completions.create(
                **{"model": "pro", "messages": MESSAGES, "stream": streaming, **fields}
            )

    def test_400_of_the_gateway(self, client: OpenAI, upstream: FakeUpstream) -> None:
        with pytest.raises(openai.BadRequestError) as raised:
            self._ask(client, temperature="hot")
        assert raised.value.code == "invalid_request"
        assert raised.value.param == "temperature"

    @pytest.mark.parametrize(
        ("status", "error"),
        [(400, openai.BadRequestError), (422, openai.BadRequestError)],
    )
    def test_400_of_the_provider(
        self,
        client: OpenAI,
        upstream: FakeUpstream,
        status: int,
        error: type[openai.APIStatusError],
    ) -> None:
        upstream.at("first").always_answers(failing(status, "Not like this."))
        with pytest.raises(error, match="Not like this"):
            self._ask(client)

    def test_401(self, gateway: GatewayProcess, upstream: FakeUpstream) -> None:
        with (
            _client(gateway, "sk-wrong") as client,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            self._ask(client)
        assert raised.value.code == "invalid_api_key"
        assert raised.value.type == "authentication_error"

    def test_403(self, gateway: GatewayProcess, upstream: FakeUpstream, issue: Issue) -> None:
        narrow = issue("acme", alias="safe")
        with (
            _client(gateway, narrow.token) as client,
            pytest.raises(openai.PermissionDeniedError) as raised,
        ):
            self._ask(client)
        assert raised.value.code == "alias_not_allowed"

    def test_404(self, client: OpenAI, upstream: FakeUpstream) -> None:
        with pytest.raises(openai.NotFoundError) as raised:
            self._ask(client, model="nope")
        assert raised.value.code == "alias_not_found"
        assert "pro" in raised.value.message

    def test_429_when_every_attempt_met_one(self, client: OpenAI, upstream: FakeUpstream) -> None:
        upstream.at("resting").always_answers(failing(429, retry_after="3"))
        upstream.at("resting-too").always_answers(failing(429, retry_after="4"))
        with pytest.raises(openai.RateLimitError) as raised:
            self._ask(client, model="both-resting")
        assert raised.value.code == "rate_limit_exceeded"
        assert raised.value.response.headers["retry-after"] == "4"

    @pytest.mark.usefixtures("forgiven")
    @pytest.mark.parametrize(
        ("upstreams", "ours"), [(500, 502), (401, 502), (404, 502), (503, 502), (529, 502)]
    )
    def test_5xx(self, client: OpenAI, upstream: FakeUpstream, upstreams: int, ours: int) -> None:
        upstream.at("first").always_answers(failing(upstreams))
        with pytest.raises(openai.InternalServerError) as raised:
            self._ask(client)
        assert (raised.value.status_code, raised.value.code) == (ours, "upstream_error")

    def test_a_model_without_a_price(self, client: OpenAI, upstream: FakeUpstream) -> None:
        with pytest.raises(openai.InternalServerError) as raised:
            self._ask(client, model="unpriced")
        assert (raised.value.status_code, raised.value.code) == (503, "price_unknown")

    def test_in_the_middle_of_a_stream(self, client: OpenAI, upstream: FakeUpstream) -> None:
        seen = threading.Event()
        upstream.at("first").answers(stream([*words(3), seen], ends="rst"))
        pieces = client.chat.completions.create(model="pro", messages=MESSAGES, stream=True)
        assert next(pieces).choices[0].delta.content == ""
        seen.set()
        with pytest.raises(openai.APIError) as raised:
            list(pieces)
        assert raised.value.code == "upstream_error"


class TestModels:
    def test_are_the_aliases_that_the_key_may_use(
        self, gateway: GatewayProcess, issue: Issue
    ) -> None:
        with _client(gateway, issue("globex").token) as client:
            assert [model.id for model in client.models.list()] == ["pro", "told"]
            assert client.models.retrieve("pro").object == "model"
            with pytest.raises(openai.NotFoundError):
                client.models.retrieve("safe")
