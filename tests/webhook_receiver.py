"""Somebody who is sent webhooks, on a real socket.

with WebhookReceiver() as receiver:
    receiver.answers(500, 200)              # the first and every later request
    …                                       # a webhook whose URL is receiver.url
    assert receiver.received[0].verified(secret)["type"] == "key.expiring"
"""

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

Script = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str | bytes) -> Any:
        """The payload, once the official library has checked its signature."""
        return Webhook(secret).verify(self.body, self.headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default, 5, refuses who comes in a crowd


class WebhookReceiver(AbstractContextManager["WebhookReceiver"]):
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self._scripts: list[Script] = [with_status(204)]
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/very-hidden-path"

    def answers(self, *answers: int | Script) -> None:
        """One after another; the last one from then on."""
        self._scripts = [with_status(one) if isinstance(one, int) else one for one in answers]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                later = len(receiver._scripts) > 1
                script = receiver._scripts.pop(0) if later else receiver._scripts[0]
                try:
                    script(self)
                except OSError:
                    self.close_connection = True  # the sender has seen enough

            def do_GET(self) -> None:
                """What a followed redirect becomes."""
                receiver.received.append(Received(self.path, {}, b""))
                with_status(200)(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def with_status(status: int, **headers: str) -> Script:
    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return script


def after(seconds: float, then: Script) -> Script:
    def script(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(handler)

    return script


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body that does not stop."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"more and more " * 1000)


def trickling(handler: BaseHTTPRequestHandler) -> None:
    """A header every now and then: never silent, never done."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(f"x-more-{number}: yes\r\n".encode())
        time.sleep(0.05)
