"""A fake OpenAI-compatible provider that is much faster than anything put before it.

Every answer is built before the server starts; a request costs one parse and one write.

    python -m bench.upstream --port 9900

`"stream": true` answers 64 content events at once, a finish frame, a usage frame when
`stream_options.include_usage` asks for one, and `[DONE]`. The header `x-bench-pace: 20` or a model
named `paced-20` spreads the content events 20 ms apart. `GET /served` tells the count so
far, without those that say `x-bench-direct`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httptools
import orjson
import uvloop

from bench.calls import CONTENT_EVENTS

USAGE = {"prompt_tokens": 32, "completion_tokens": 64, "total_tokens": 96}
HEAD = {"id": "chatcmpl-bench", "created": 1767225600, "model": "bench"}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def _whole(status: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(**fields: object) -> bytes:
    value = {**HEAD, "object": "chat.completion.chunk", **fields}
    return _chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


def _choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


MESSAGE = {
    "role": "assistant",
    "content": "It knows who asks, picks a model, and keeps count. " * 4,
}
ANSWER = _whole(
    "200 OK",
    {
        **HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": USAGE,
    },
)
CONTENT = [_event(choices=_choice({"content": f"word{n} "})) for n in range(CONTENT_EVENTS)]
FINISH = _event(choices=_choice({}, "stop"))
USAGE_EVENT = _event(choices=[], usage=USAGE)
DONE = _chunk(b"data: [DONE]\n\n") + LAST_CHUNK
ENDING = {False: FINISH + DONE, True: FINISH + USAGE_EVENT + DONE}
STREAM = {usage: STREAM_HEAD + b"".join(CONTENT) + end for usage, end in ENDING.items()}
BAD_REQUEST = _whole("400 Bad Request", {"error": {"message": "not JSON", "type": "bad_request"}})


class Upstream(asyncio.Protocol):
    """One connection; httptools takes care of keep-alive, chunked and sized request bodies."""

    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = b""
        self._pace = 0.0
        self._counts = 1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-bench-pace":
            self._pace = float(value) / 1000
        elif name.lower() == b"x-bench-direct":
            self._counts = 0

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() != b"POST":
            self._transport.write(_whole("200 OK", {"served": Upstream.served}))
            return
        Upstream.served += self._counts
        try:
            self._answer(orjson.loads(self._body))
        except orjson.JSONDecodeError:
            self._transport.write(BAD_REQUEST)

    def _answer(self, request: dict[str, Any]) -> None:
        if not request.get("stream"):
            self._transport.write(ANSWER)
            return
        usage = bool((request.get("stream_options") or {}).get("include_usage"))
        pace = self._pace or _pace_of(request.get("model", ""))
        if not pace:
            self._transport.write(STREAM[usage])
            return
        self._transport.write(STREAM_HEAD)
        self._send_paced(iter(CONTENT), ENDING[usage], self._loop.time(), pace)

    def _send_paced(self, events: Iterator[bytes], ending: bytes, due: float, pace: float) -> None:
        if self._transport.is_closing():
            return
        event = next(events, None)
        self._transport.write(event or ending)
        if event:  # from the time it was due, not from now: a late frame must not delay the rest
            due += pace
            self._loop.call_at(due, self._send_paced, events, ending, due, pace)


def _pace_of(model: str) -> float:
    return int(model.removeprefix("paced-")) / 1000 if model.startswith("paced-") else 0.0


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a fake OpenAI-compatible provider")
    parser.add_argument("--port", type=int, default=9900)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(parser.parse_args().port))
