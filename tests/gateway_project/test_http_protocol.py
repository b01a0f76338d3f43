"""The server's HTTP/1.1, on real sockets: what leaves together, what ends a connection, and who
hears of a caller that leaves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from gateway_project.http_protocol import HttpProtocol
from proxy.body import read_body
from proxy.departure import watch

pytestmark = pytest.mark.once

App = Callable[[Any, Any, Any], Awaitable[None]]
ASK = b"GET /a%20b?c=d HTTP/1.1\r\nhost: gateway\r\n\r\n"
SECONDS = 5.0
"""Before a test gives up."""
IDLE_SECONDS = 0.3


class Recorder:
    """A transport that keeps what was written, write by write."""

    writes: list[bytes]

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.writes = []

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Recorded(HttpProtocol):
    last: Recorder

    def connection_made(self, transport: Any) -> None:
        Recorded.last = Recorder(transport)
        super().connection_made(Recorded.last)  # type: ignore[arg-type]


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read_until(self, text: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(text), SECONDS)

    async def read_to_the_end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), SECONDS)

    async def hang_up(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def calling(app: App) -> AsyncIterator[Caller]:
    """A caller connected to a server of this application."""
    config = uvicorn.Config(
        app,
        port=0,
        http=Recorded,
        lifespan="off",
        log_config=None,
        interface="asgi3",
        server_header=False,
        date_header=False,
        timeout_keep_alive=IDLE_SECONDS,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    caller = Caller(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield caller
    finally:
        await caller.hang_up()
        await server.shutdown()


def answering(
    body: bytes = b"hello", status: int = 200, headers: Mapping[str, str] | None = None
) -> App:
    """An application that gives a whole answer."""
    fields = {"content-length": str(len(body)), **(headers or {})}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_a_whole_answer_leaves_in_one_write() -> None:
    async with calling(answering()) as caller:
        caller.send(ASK)
        await caller.read_until(b"hello")
    assert Recorded.last.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]


async def test_each_piece_of_a_stream_leaves_by_itself_the_first_with_the_head() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    async with calling(app) as caller:
        caller.send(ASK)
        await caller.read_until(b"0\r\n\r\n")
    assert Recorded.last.writes == [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"3\r\ntwo\r\n",
        b"3\r\nend\r\n0\r\n\r\n",
    ]


async def test_what_was_asked_is_in_the_scope() -> None:
    asked: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.update(scope)
        await answering()(scope, receive, send)

    async with calling(app) as caller:
        caller.send(ASK)
        await caller.read_until(b"hello")
    assert (asked["method"], asked["path"], asked["raw_path"]) == ("GET", "/a b", b"/a%20b")
    assert (asked["query_string"], asked["http_version"]) == (b"c=d", "1.1")


@pytest.mark.parametrize(
    ("ask", "status"),
    [(ASK.replace(b"GET", b"HEAD"), 200), (ASK, 204), (ASK, 304)],
    ids=["HEAD", "204", "304"],
)
async def test_an_answer_without_a_body_is_its_head(ask: bytes, status: int) -> None:
    async with calling(answering(b"", status)) as caller:
        caller.send(ask)
        head = await caller.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        caller.send(ask)  # the connection lives on
        assert await caller.read_until(b"\r\n\r\n") == head


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_begin_another(value: str) -> None:
    async with calling(answering(headers={"x-a": value})) as caller:
        caller.send(ASK)
        answer = await caller.read_to_the_end()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"x-a" not in answer


async def test_an_answer_that_is_shorter_than_it_says_ends_the_connection() -> None:
    async with calling(answering(headers={"content-length": "6"})) as caller:
        caller.send(ASK)
        assert (await caller.read_to_the_end()).endswith(b"content-length: 6\r\n\r\nhello")


async def test_an_answer_that_is_longer_than_it_says_is_an_error() -> None:
    async with calling(answering(headers={"content-length": "4"})) as caller:
        caller.send(ASK)
        answer = await caller.read_to_the_end()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b"\r\n\r\nInternal Server Error")


async def test_one_that_turns_out_longer_than_it_says_ends_with_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"he", "more_body": True})
        await send({"type": "http.response.body", "body": b"llo"})

    async with calling(app) as caller:
        caller.send(ASK)
        answer = await caller.read_to_the_end()
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhe"


@pytest.mark.parametrize("head", [[], [(b"content-length", b"2")]], ids=["chunked", "sized"])
async def test_an_application_that_fails_before_its_first_bytes_is_an_error(head: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": head})
        raise ValueError

    async with calling(app) as caller:
        caller.send(ASK)
        answer = await caller.read_to_the_end()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert answer.endswith(b"content-length: 21\r\nconnection: close\r\n\r\nInternal Server Error")


async def test_requests_sent_at_once_are_answered_in_turn() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.02 if scope["path"] == "/1" else 0)
        await answering(scope["path"].encode())(scope, receive, send)

    async with calling(app) as caller:
        caller.send(b"".join(ASK.replace(b"/a%20b", b"/%d" % n) for n in (1, 2, 3)))
        answers = await caller.read_until(b"/3")
    assert answers.index(b"/1") < answers.index(b"/2") < answers.index(b"/3")


async def test_a_caller_who_waits_for_leave_to_send_its_body_gets_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering((await receive())["body"])(scope, receive, send)

    async with calling(app) as caller:
        caller.send(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert await caller.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(b"body")
        await caller.read_until(b"body")


class TestIdleConnections:
    async def test_one_ends_after_its_time(self) -> None:
        async with calling(answering()) as caller:
            caller.send(ASK)
            await caller.read_until(b"hello")
            asked_at = asyncio.get_running_loop().time()
            assert await caller.read_to_the_end() == b""
            assert asyncio.get_running_loop().time() - asked_at >= IDLE_SECONDS - 0.05

    async def test_each_request_gives_it_its_time_again(self) -> None:
        async with calling(answering()) as caller:
            for _ in range(4):
                caller.send(ASK)
                await caller.read_until(b"hello")
                await asyncio.sleep(IDLE_SECONDS / 2)

    async def test_one_that_is_being_asked_something_is_not_idle(self) -> None:
        async with calling(answering()) as caller:
            caller.send(ASK)
            await caller.read_until(b"hello")
            caller.send(ASK[:20])
            await asyncio.sleep(IDLE_SECONDS * 2)
            caller.send(ASK[20:])
            await caller.read_until(b"hello")

    async def test_one_whose_next_request_had_begun_before_the_last_answer_is_not_idle(
        self,
    ) -> None:
        may_answer = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/slow":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"slow", "more_body": True})
                await asyncio.sleep(IDLE_SECONDS * 2)
                await send({"type": "http.response.body", "body": b"end"})
            else:
                await may_answer.wait()
                await answering()(scope, receive, send)

        async with calling(app) as caller:
            slow = ASK.replace(b"/a%20b", b"/slow")
            caller.send(ASK + slow[:8])
            await asyncio.sleep(0.05)
            may_answer.set()
            await caller.read_until(b"hello")
            caller.send(slow[8:])
            assert (await caller.read_until(b"0\r\n\r\n")).endswith(b"3\r\nend\r\n0\r\n\r\n")


class TestACallerWhoHangsUp:
    @staticmethod
    def watching(heard: list[str], *, stops: bool = False) -> App:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            left = asyncio.Event()

            def departed() -> None:
                heard.append("left")
                left.set()

            stop = watch(scope, receive, departed)
            heard.append("watching")
            if stops:
                stop()
                await asyncio.sleep(0.2)
                heard.append("done")
                await answering()(scope, receive, send)
            else:
                await asyncio.wait_for(left.wait(), SECONDS)

        return app

    @staticmethod
    async def until(heard: list[str], word: str) -> None:
        async with asyncio.timeout(SECONDS):
            while word not in heard:  # noqa: ASYNC110  (what was heard is what is tested)
                await asyncio.sleep(0.01)

    async def test_is_heard_of_without_a_task(self) -> None:
        heard: list[str] = []
        async with calling(self.watching(heard)) as caller:
            caller.send(ASK)
            await self.until(heard, "watching")
            names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
            assert not [name for name in names if "listen" in name]
            await caller.hang_up()
            await self.until(heard, "left")
        assert heard == ["watching", "left"]

    @pytest.mark.parametrize("size", [20_000, 400_000])
    async def test_is_heard_of_after_a_body_of_any_length(self, size: int) -> None:
        heard: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert len(await read_body(receive, 2 * size)) == size
            await self.watching(heard)(scope, receive, send)

        async with calling(app) as caller:
            body = b"x" * size
            caller.send(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size + body[:1000])
            await asyncio.sleep(0.05)
            caller.send(body[1000:])
            await self.until(heard, "watching")
            await caller.hang_up()
            await self.until(heard, "left")

    @pytest.mark.parametrize("when", ["at once", "meanwhile"])
    async def test_is_heard_of_by_who_answers_the_first_of_two_requests(self, when: str) -> None:
        heard: list[str] = []
        async with calling(self.watching(heard)) as caller:
            caller.send(ASK + (ASK if when == "at once" else b""))
            await self.until(heard, "watching")
            if when == "meanwhile":
                caller.send(ASK)
                await asyncio.sleep(0.05)
            await caller.hang_up()
            await self.until(heard, "left")
            await asyncio.sleep(0.05)
        assert heard == ["watching", "left"]  # and the second is not asked

    async def test_is_heard_of_no_more_once_nobody_watches(self) -> None:
        heard: list[str] = []
        async with calling(self.watching(heard, stops=True)) as caller:
            caller.send(ASK)
            await self.until(heard, "watching")
            await caller.hang_up()
            await self.until(heard, "done")
        assert heard == ["watching", "done"]

    async def test_is_heard_of_at_once_by_who_asks_later(self) -> None:
        heard: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            heard.append("asked")
            await asyncio.sleep(0.2)
            watch(scope, receive, lambda: heard.append("left"))
            heard.append("watched")

        async with calling(app) as caller:
            caller.send(ASK)
            await self.until(heard, "asked")
            await caller.hang_up()
            await self.until(heard, "watched")
        assert heard == ["asked", "left", "watched"]


async def test_a_server_that_does_not_tell_is_listened_to() -> None:
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    left = asyncio.Event()
    stop = watch({"type": "http"}, messages.get, left.set)
    messages.put_nowait({"type": "http.request"})
    messages.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(left.wait(), SECONDS)
    stop()
