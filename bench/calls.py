"""What every subject is asked, and at which door."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass

CONTENT_EVENTS = 64
PACE = 0.020
"""Seconds between two frames of a stream of the model `paced-20`."""


SYSTEM = "You are a patient assistant. Answer in one short paragraph."
QUESTION = "What does a gateway between an application and a model do?"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Call:
    """What is asked, and where."""

    body: bytes
    path: str = CHAT
    end: bytes = b""
    """What stands in the last bytes of a stream; empty for a whole answer."""
    blank: bytes = b"\n\n"
    """What ends each event of a stream."""


def _chat(model: str, *, stream: bool) -> Call:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    fields: dict[str, object] = {"model": model, "max_tokens": 256, "messages": messages}
    body = json.dumps(fields | ({"stream": True} if stream else {})).encode()
    return Call(body, end=b"[DONE]" if stream else b"")


WHOLE = _chat("bench", stream=False)
STREAM = _chat("bench", stream=True)
TRICKLE = _chat("paced-1", stream=True)
PACED = _chat("paced-20", stream=True)
MODELS = ("bench", "paced-1", "paced-20")


def _messages(*, stream: bool) -> Call:
    turns = [{"role": "user", "content": QUESTION}]
    fields = {"model": "bench", "max_tokens": 256, "system": SYSTEM, "messages": turns}
    body = json.dumps(fields | {"stream": stream}).encode()
    return Call(body, "/v1/messages", end=b"message_stop" if stream else b"")


def _responses(*, stream: bool) -> Call:
    fields = {"model": "bench", "max_output_tokens": 256, "instructions": SYSTEM, "input": QUESTION}
    body = json.dumps(fields | {"stream": stream}).encode()
    return Call(body, "/v1/responses", end=b"completed_at" if stream else b"")


def _gemini(*, stream: bool) -> Call:
    fields = {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
        "generationConfig": {"maxOutputTokens": 256},
    }
    body, models = json.dumps(fields).encode(), "/v1beta/models/bench"
    if not stream:
        return Call(body, f"{models}:generateContent")
    path = f"{models}:streamGenerateContent?alt=sse"
    return Call(body, path, end=b"finishReason", blank=b"\r\n\r\n")


TRANSLATED = {
    dialect: (write(stream=False), write(stream=True))
    for dialect, write in (
        ("messages", _messages),
        ("responses", _responses),
        ("gemini", _gemini),
    )
}
"""The same question in the dialects that are not the upstream's: a whole answer, and a stream."""


@dataclass(frozen=True)
class Door:
    """An HTTP server on the loopback interface and the credential it wants."""

    port: int
    headers: tuple[tuple[str, str], ...] = ()
    host: str = "127.0.0.1"

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        return (("content-type", "application/json"), *self.headers)

    def request(self, call: Call) -> bytes:
        """The whole request as it goes over the wire: built once, sent many times."""
        lines = [f"POST {call.path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.all_headers]
        lines += [f"content-length: {len(call.body)}", "", ""]
        return "\r\n".join(lines).encode() + call.body


def served(upstream: Door) -> int:
    """How many chat requests the fake upstream has answered since it started."""
    with urllib.request.urlopen(upstream.base + "/served", timeout=5) as answer:
        return int(json.load(answer)["served"])
