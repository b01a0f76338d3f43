"""Embeddings and token counts at Gemini."""

import json

import pytest

from proxy.chat.embeddings import EmbeddingsRequest
from proxy.chat.request import ChatRequest, Message, Text, Tool
from proxy.chat.usage import Usage
from proxy.dialects.gemini import counting, embeddings
from proxy.errors import InvalidRequest, UpstreamError
from tests.proxy.dialects.gemini import recorded
from tests.proxy.dialects.gemini.recorded import Exchange


def test_texts_are_embedded_in_one_batch() -> None:
    written = embeddings.write_embeddings(
        EmbeddingsRequest(inputs=("a", "b"), dimensions=8), model="gemini-embedding-001"
    )
    assert embeddings.embeddings_path("m") == "/models/m:batchEmbedContents"
    assert json.loads(written.body) == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 8,
            }
            for text in ("a", "b")
        ]
    }


def test_token_ids_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"input\[0\]"):
        embeddings.write_embeddings(EmbeddingsRequest(inputs=((1, 2),)), model="m")


def _embeds(exchange: Exchange) -> bool:
    return exchange["dialect"] == "gemini" and "mbedContent" in exchange["endpoint"]


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("exchange", recorded.params(_embeds))
def test_recorded_vectors_are_read(exchange: Exchange) -> None:
    told = json.loads(exchange["response_body"])
    expected = told.get("embeddings") or [told["embedding"]]
    answer = embeddings.read_embeddings(recorded.body_of(exchange))
    assert [list(vector) for vector in answer.vectors] == [one["values"] for one in expected]


def test_a_report_of_usage_is_read() -> None:
    body = b'{"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 3}}'
    assert embeddings.read_embeddings(body).usage == Usage(input=3)


@pytest.mark.parametrize("body", [b"{}", b"<html>", b'{"embeddings": [{}]}'])
def test_what_holds_no_vectors_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        embeddings.read_embeddings(body)


def test_instructions_and_tools_are_counted_too() -> None:
    request = ChatRequest(
        messages=(Message("system", (Text(text="a"),)), Message("user", (Text(text="b"),))),
        tools=(Tool("f"),),
    )
    asked = json.loads(counting.write_count(request, model="m").body)["generateContentRequest"]
    assert counting.count_path("m") == "/models/m:countTokens"
    assert asked.keys() == {"model", "contents", "systemInstruction", "tools"}


def _counts(exchange: Exchange) -> bool:
    return exchange["endpoint"] == "countTokens" and exchange["response_status"] == 200


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize("exchange", recorded.params(_counts))
def test_recorded_counts_are_read(exchange: Exchange) -> None:
    told = json.loads(exchange["response_body"])["totalTokens"]
    assert counting.read_count(recorded.body_of(exchange)) == told


def test_what_counts_nothing_is_no_answer() -> None:
    with pytest.raises(UpstreamError):
        counting.read_count(b"{}")
