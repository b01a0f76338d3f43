"""Embeddings of OpenAI, Mistral and Ollama, for callers of one form."""

import base64
import json
import struct
from typing import Any

import pytest

from proxy.chat.embeddings import EmbeddingsAnswer
from proxy.chat.usage import Usage
from proxy.dialects import EMBEDDERS
from proxy.dialects.openai import embeddings
from proxy.errors import InvalidRequest, UpstreamError
from tests.conftest import RECORDINGS

ENDPOINTS = ("embeddings", "embed", "openai-compat-embeddings")
PATHS = {"openai": "/embeddings", "mistral": "/embeddings", "ollama": "/api/embed"}


def write(dialect: str, **fields: Any) -> dict[str, Any]:
    request = embeddings.read_request(embeddings.parse({"model": "alias", **fields}))
    written = EMBEDDERS[dialect].write_embeddings(request, model="m")
    body: dict[str, Any] = json.loads(written.body)
    return {**body, "warnings": list(written.warnings)}


@pytest.mark.parametrize("dialect", PATHS)
def test_texts_are_asked_for_in_order(dialect: str) -> None:
    body = write(dialect, input=["a", "b"], dimensions=4)
    assert EMBEDDERS[dialect].embeddings_path("m") == PATHS[dialect]
    assert (body["model"], body["input"]) == ("m", ["a", "b"])
    assert body["output_dimension" if dialect == "mistral" else "dimensions"] == 4


def test_token_ids_are_for_openai_alone() -> None:
    assert write("openai", input=[1, 2])["input"] == [[1, 2]]
    for dialect in ("mistral", "ollama"):
        with pytest.raises(InvalidRequest, match="token ids"):
            write(dialect, input=[[1, 2]])


def test_a_user_is_carried_or_warned_of() -> None:
    assert write("openai", input="a", user="ann")["user"] == "ann"
    assert write("mistral", input="a", user="ann")["warnings"] == [
        "user is not supported by mistral"
    ]


def test_vectors_come_in_the_order_of_their_indexes() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.5)).decode()
    data = [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [0.25, 1]}]
    given = {"data": data, "model": "m", "usage": {"prompt_tokens": 3}}
    answer = EMBEDDERS["openai"].read_embeddings(json.dumps(given).encode())
    assert answer == EmbeddingsAnswer(
        vectors=((0.25, 1.0), (0.5, -1.5)), model="m", usage=Usage(input=3)
    )


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"data":[]}',
        b'{"data":[{"embedding":"?"}]}',
        b'{"data":[{"embedding":"AAA="}]}',
        b'{"embeddings":[["x"]]}',
        b'{"error":"no such model"}',
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(dialect: str, body: bytes) -> None:
    with pytest.raises(UpstreamError):
        EMBEDDERS[dialect].read_embeddings(body)


def _recorded() -> list[Any]:
    found = []
    path = RECORDINGS / "exchanges.jsonl"
    for line in path.read_text().split("\n") if path.exists() else ():
        exchange = json.loads(line) if line else {}
        if exchange.get("endpoint") in ENDPOINTS and exchange["response_status"] == 200:
            found.append(pytest.param(exchange, id=exchange["id"]))
    return found


@pytest.mark.parametrize("exchange", _recorded())
def test_a_recorded_answer_reaches_the_caller_with_its_numbers(exchange: dict[str, Any]) -> None:
    provider = exchange["provider"]
    dialect = "ollama" if exchange["endpoint"] == "embed" else provider
    dialect = "openai" if exchange["dialect"] == "openai-embeddings" else dialect
    answer = EMBEDDERS[dialect].read_embeddings(exchange["response_body"].encode())
    body = json.loads(exchange["response_body"])
    given = body.get("embeddings") or [item["embedding"] for item in body["data"]]
    asked: dict[str, Any] = {"input": "?", "encoding_format": "float"}
    if isinstance(given[0], str):
        asked["encoding_format"] = "base64"
    request = embeddings.read_request(embeddings.parse(asked))
    told = json.loads(embeddings.write_body(answer, request, "alias"))
    assert [item["embedding"] for item in told["data"]] == given
    tokens = body["usage"]["prompt_tokens"] if "usage" in body else body["prompt_eval_count"]
    assert told["usage"]["prompt_tokens"] == tokens
