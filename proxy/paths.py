"""The data plane's paths, in one table: what is not here reaches no upstream."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

DATA_PLANE = ("/chat/", "/v1/", "/v1beta/", "/healthz", "/readyz", "/metrics")

Kind = Literal["chat", "embeddings", "count"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a path is called in records, what its callers speak, and what it does.

    `alias` and `stream` are what the path itself says, where it does; `array` asks for a stream as
    one JSON array instead of events.
    """

    name: str
    dialect: str
    kind: Kind = "chat"
    alias: str | None = None
    stream: bool | None = None
    array: bool = False


_POSTS = {
    "/v1/chat/completions": Endpoint("chat", "openai"),
    "/v1/responses": Endpoint("responses", "responses"),
    "/v1/embeddings": Endpoint("embeddings", "openai", kind="embeddings"),
    "/v1/messages": Endpoint("messages", "anthropic"),
    "/v1/messages/count_tokens": Endpoint("count_tokens", "anthropic", kind="count"),
}
_CHAT_ALIAS = re.compile(r"/chat/([^/]{1,200})")
_GEMINI = re.compile(r"/v1(?:beta)?/models/([^/:]{1,200}):(generateContent|streamGenerateContent)")
_REQUEST = re.compile(r"/v1/requests/(.+)", re.DOTALL)
_MODEL = re.compile(r"/(v1|v1beta)/models/([^/]{1,200})")


def find_endpoint(path: str, query: bytes) -> Endpoint | None:
    """The endpoint of a POST; None where there is none."""
    fixed = _POSTS.get(path)
    if fixed is not None:
        return fixed
    if match := _CHAT_ALIAS.fullmatch(path):
        return Endpoint("chat", "openai", alias=unquote(match[1]))
    if match := _GEMINI.fullmatch(path):
        stream = match[2] == "streamGenerateContent"
        array = stream and b"alt=sse" not in query.split(b"&")
        return Endpoint(match[2], "gemini", alias=unquote(match[1]), stream=stream, array=array)
    return None


@dataclass(frozen=True, slots=True)
class Reading:
    """A GET that reaches no upstream."""

    what: Literal["models", "model", "usage", "request"]
    dialect: str = "openai"
    name: str = ""
    """The alias, or the request."""


def _dialect_of_reader(headers: dict[bytes, bytes]) -> str:
    if b"anthropic-version" in headers:
        return "anthropic"
    return "gemini" if b"x-goog-api-client" in headers else "openai"


def find_reading(path: str, headers: dict[bytes, bytes]) -> Reading | None:
    """What a GET reads. Model lists are written as the SDK that asks for them expects, which its
    path or its version header tells."""
    if path == "/v1/usage":
        return Reading("usage")
    if match := _REQUEST.fullmatch(path):
        return Reading("request", name=match[1])
    if path == "/v1beta/models":
        return Reading("models", "gemini")
    dialect = _dialect_of_reader(headers)
    if path == "/v1/models":
        return Reading("models", dialect)
    if match := _MODEL.fullmatch(path):
        return Reading("model", dialect if match[1] == "v1" else "gemini", unquote(match[2]))
    return None
