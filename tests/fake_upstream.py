"""A provider on real sockets, which answers as each test says.

    with FakeUpstream() as upstream:
        upstream.at("first").answers(whole(completion("Hello")))
        …                                       # a provider whose base URL is upstream.url("first")
        assert upstream.received[0].header("authorization") == "Bearer sk-…"

A script is a function of a `Wire`, which is the upstream's end of one request. Scripts wait with
`wire.wait`, which notices at once when the gateway hangs up: that ends the script.
"""

import gzip
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

PATIENCE = 20.0
"""Seconds after which a script that nobody ended gives up."""

LOOK = 0.002
"""Seconds between two looks at whether the gateway has hung up."""

USAGE: Mapping[str, Any] = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
"""20 of input, 10 cached, 8 of output, 4 of reasoning."""

Cut = Literal["rst", "fin"]
Script = Callable[["Wire"], None]


class GatewayGone(Exception):
    """The gateway closed the connection while a script was running."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it reached the upstream."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    connection: "Connection"

    def header(self, name: str) -> str | None:
        """The value of a header that came once, or None."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Connection:
    """A connection that the gateway opened. Times are monotonic."""

    number: int
    opened_at: float
    closed_at: float | None = None
    closed_by: Literal["gateway", "upstream"] | None = None

    def close(self, by: Literal["gateway", "upstream"]) -> None:
        if self.closed_at is None:
            self.closed_at, self.closed_by = time.monotonic(), by


class Wire:
    """The upstream's end of one request: an answer is written here, as right or wrong as wanted."""

    def __init__(self, peer: socket.socket, connection: Connection, request: Received) -> None:
        self._peer = peer
        self._chunked = False
        self.is_last = False
        """The head says that no other request may follow on this connection."""
        self.connection = connection
        self.request = request
        self.sent: list[tuple[float, bytes]] = []
        """What has gone out of the body, and when."""
        self.broken = False

    def raw(self, data: bytes) -> None:
        """Bytes as they are. Raises GatewayGone."""
        try:
            self._peer.sendall(data)
        except OSError:
            self._gone()

    def head(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        """The head; without a `length` the body goes in chunks."""
        self._chunked = length is None
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} Any Reason", size]
        lines += ["connection: close"] if self.is_last else []
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.raw("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.sent.append((time.monotonic(), data))

    def end(self) -> None:
        """The body's own end; the connection stays."""
        if self._chunked:
            self.raw(b"0\r\n\r\n")

    def cut(self, how: Cut) -> None:
        """The connection ends here: RST, or FIN without the last chunk."""
        if how == "rst":
            self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with suppress(OSError):
                self._peer.shutdown(socket.SHUT_WR)
        self._peer.close()
        self.broken = True
        self.connection.close("upstream")

    def wait(self, until: float | threading.Event) -> None:
        """Seconds, or an event of the test's. Raises GatewayGone when the gateway hangs up."""
        event = until if isinstance(until, threading.Event) else None
        patience = PATIENCE if isinstance(until, threading.Event) else until
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and not (event and event.is_set()):
            readable, _, _ = select.select([self._peer], [], [], min(left, LOOK))
            if readable:
                self._look()

    def wait_for_the_end(self) -> None:
        """Until the gateway hangs up."""
        self.wait(PATIENCE)

    def _look(self) -> None:
        try:
            more = self._peer.recv(1, socket.MSG_PEEK)
        except OSError:
            more = b""
        if not more:
            self._gone()

    def _gone(self) -> None:
        self.broken = True
        self.connection.close("gateway")
        raise GatewayGone


@dataclass(slots=True)
class Place:
    """What lies under one prefix of the upstream: the account of one provider."""

    queue: deque[Script] = field(default_factory=deque)
    always: Script | None = None

    def answers(self, *scripts: Script) -> None:
        """The next requests get these, in order."""
        self.queue.extend(scripts)

    def always_answers(self, script: Script) -> None:
        """What requests get for which nothing else waits."""
        self.always = script

    def next(self) -> Script:
        if self.queue:
            return self.queue.popleft()
        return self.always or whole(completion())


class FakeUpstream(AbstractContextManager["FakeUpstream"]):
    """The server. A test's thread writes the scripts, a thread for each connection runs them.

    Without `keeps_connections` each request comes on a new one. With `tls` nothing is answered: it
    is for a gateway that does not get beyond the handshake.
    """

    def __init__(
        self, *, keeps_connections: bool = True, tls: ssl.SSLContext | None = None
    ) -> None:
        self._keeps_connections = keeps_connections
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self._places: dict[str, Place] = defaultdict(Place)
        self.received: list[Received] = []
        self.connections: list[Connection] = []
        self._peers: set[socket.socket] = set()
        self.wires: list[Wire] = []
        self.failures: list[BaseException] = []
        """What went wrong in scripts, to be raised by the test."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()

    def _stop_listening(self) -> None:
        # Closing alone would not wake the thread that waits for a connection.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def goes_down(self) -> None:
        """Nobody listens any more, and who was connected is not."""
        self._stop_listening()
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def comes_back(self) -> None:
        """At the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        threading.Thread(target=self._listen, daemon=True).start()

    def at(self, prefix: str) -> Place:
        return self._places[prefix]

    def url(self, prefix: str) -> str:
        """The base URL of a provider."""
        return f"http://127.0.0.1:{self.port}/{prefix}/v1"

    @property
    def open_connections(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.closed_at is None]

    def at_path(self, prefix: str) -> list[Received]:
        """What reached one place."""
        return [request for request in self.received if request.path.startswith(f"/{prefix}/")]

    def reset(self) -> None:
        """Forgets scripts and what was received, between two tests."""
        with self._lock:
            self._places.clear()
            self.received, self.wires = [], []
            failures, self.failures = self.failures, []
        for failure in failures:
            raise failure

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=[peer], daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with self._lock:
            connection = Connection(len(self.connections), time.monotonic())
            self.connections.append(connection)
            self._peers.add(peer)
        reader = peer.makefile("rb")
        try:
            if self._tls is not None:
                self._tls.wrap_socket(peer, server_side=True).close()
                return
            while request := _read_request(reader, connection):
                if not self._answer(peer, connection, request):
                    return
        except (OSError, ValueError):
            pass
        finally:
            connection.close("gateway")
            with self._lock:
                self._peers.discard(peer)
            peer.close()
            reader.close()

    def _answer(self, peer: socket.socket, connection: Connection, request: Received) -> bool:
        """Runs the script whose turn it is; false once the connection is gone."""
        wire = Wire(peer, connection, request)
        wire.is_last = not self._keeps_connections
        with self._lock:
            self.received.append(request)
            self.wires.append(wire)
            script = self._places[request.path.split("/")[1]].next()
        try:
            script(wire)
        except GatewayGone:
            return False
        except Exception as failure:  # noqa: BLE001  (the test is told)
            self.failures.append(failure)
            return False
        return not wire.broken


def _read_request(reader: Any, connection: Connection) -> Received | None:
    """The next request of a connection, None at its end."""
    line = reader.readline().decode("latin-1").split()
    if len(line) < 2:
        return None
    headers = []
    while (header := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = header.partition(":")
        headers.append((name, value.strip()))
    size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(line[0], line[1], tuple(headers), reader.read(size), connection)


# ---- what a provider of chat completions says


def completion(text: str = "Hello there", usage: Mapping[str, Any] | None = USAGE) -> bytes:
    """A whole answer, spaced as the provider spaces it."""
    answer = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "gpt-answers",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        **({"usage": usage} if usage is not None else {}),
    }
    return json.dumps(answer, indent=2, ensure_ascii=False).encode()


def frame(data: Mapping[str, Any] | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


DONE = frame("[DONE]")


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A frame of a stream."""
    choices = [{"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}]
    head = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1790000000}
    return frame({**head, "model": "gpt-answers", "choices": choices, **more})


def usage_frame(usage: Mapping[str, Any] = USAGE) -> bytes:
    return chunk(choices=[], usage=usage)


def words(count: int = 5) -> list[bytes]:
    """The frames of some words, with the role before them."""
    return [
        chunk({"role": "assistant", "content": ""}),
        *[chunk({"content": f" word{number}"}) for number in range(count)],
    ]


def answer_frames(count: int = 5, usage: Mapping[str, Any] | None = None) -> list[bytes]:
    """A whole stream; with `usage`, the frame of it that `include_usage` brings."""
    report = [usage_frame(usage)] if usage is not None else []
    return [*words(count), chunk(finish="stop"), *report, DONE]


# ---- scripts


def whole(
    body: bytes | Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    after: float | threading.Event = 0.0,
    content_type: str = "application/json",
    gzipped: bool = False,
) -> Script:
    """A whole answer in one go, or after a while."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    extra = {"content-type": content_type, **(headers or {})}
    if gzipped:
        data, extra = gzip.compress(data), {**extra, "content-encoding": "gzip"}

    def script(wire: Wire) -> None:
        wire.wait(after)
        wire.head(status, extra, length=len(data))
        wire.send(data)

    return script


def failing(status: int, message: str = "It failed.", **headers: str) -> Script:
    """An error as the provider writes it."""
    error = {"message": message, "type": "some_error", "param": None, "code": None}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return whole({"error": error}, status=status, headers=named)


def stream(
    pieces: Iterable[bytes | float | threading.Event],
    *,
    pace: float = 0.0,
    ends: Cut | Literal["clean", "never"] = "clean",
    content_type: str = "text/event-stream; charset=utf-8",
    after: float | threading.Event = 0.0,
) -> Script:
    """A stream: each piece of bytes is one write; numbers and events between them are waits."""
    steps = list(pieces)

    def script(wire: Wire) -> None:
        wire.wait(after)
        wire.head(200, {"content-type": content_type})
        for step in steps:
            if isinstance(step, bytes):
                wire.send(step)
                wire.wait(pace)
            else:
                wire.wait(step)
        if ends == "clean":
            wire.end()
        elif ends == "never":
            wire.wait_for_the_end()
        else:
            wire.cut(ends)

    return script


LISTED = whole({"object": "list", "data": []})
"""A list of models."""


def by_method(*, get: Script, post: Script) -> Script:
    """One thing for lists, another for what callers ask."""

    def script(wire: Wire) -> None:
        (get if wire.request.method == "GET" else post)(wire)

    return script


def silent(wire: Wire) -> None:
    """Accepts the request and never says anything."""
    wire.wait_for_the_end()


def cut_in_head(how: Cut) -> Script:
    """The connection ends in the middle of the status line."""

    def script(wire: Wire) -> None:
        wire.raw(b"HTTP/1.1 2")
        wire.cut(how)

    return script
