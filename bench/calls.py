"""What every subject is asked, and at which door."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass

CONTENT_EVENTS = 64
PACE = 0.020
"""Seconds between two frames of a stream of the model `paced-20`."""


def _body(model: str, **extra: object) -> bytes:
    messages = [
        {
            "role": "system",
            "content": "You are a patient assistant. Answer in one short paragraph.",
        },
        {"role": "user", "content": "What does a gateway between an application and a model do?"},
    ]
    return json.dumps({"model": model, "max_tokens": 256, "messages": messages, **extra}).encode()


WHOLE = _body("bench")
STREAM = _body("bench", stream=True)
TRICKLE = _body("paced-1", stream=True)
PACED = _body("paced-20", stream=True)
MODELS = ("bench", "paced-1", "paced-20")


@dataclass(frozen=True)
class Door:
    """An HTTP server on the loopback interface and the credential it wants."""

    port: int
    headers: tuple[tuple[str, str], ...] = ()
    path: str = "/v1/chat/completions"
    host: str = "127.0.0.1"

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        return (("content-type", "application/json"), *self.headers)

    def request(self, body: bytes) -> bytes:
        """The whole request as it goes over the wire: built once, sent many times."""
        lines = [f"POST {self.path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.all_headers]
        lines += [f"content-length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


def served(upstream: Door) -> int:
    """How many chat requests the fake upstream has answered since it started."""
    with urllib.request.urlopen(upstream.base + "/served", timeout=5) as answer:
        return int(json.load(answer)["served"])
