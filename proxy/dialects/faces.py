"""The two faces of a dialect, and the small values that cross them. Parsers never touch sockets.

A dialect is a folder with `inbound.py` (callers speak it) and `outbound.py` (we speak it to
providers), each a module that has what is named here; dialects/__init__.py lists them.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from proxy.chat.embeddings import EmbeddingsAnswer, EmbeddingsRequest
from proxy.chat.events import Event
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.errors import GatewayError, UpstreamError


class Body(Protocol):
    """A request's body as a dialect's `parse` gives it: checked, but not yet translated."""

    @property
    def asked_model(self) -> str | None: ...
    @property
    def wants_stream(self) -> bool: ...
    @property
    def end_user(self) -> str | None: ...
    @property
    def output_limit(self) -> int | None:
        """The most output tokens that the caller allows."""
        ...

    @property
    def answers(self) -> int:
        """How many answers it asks for, each of as many tokens."""
        ...


class Start(msgspec.Struct, frozen=True):
    """What an answer is called where its provider gives it no name."""

    id: str
    model: str
    created: int


class StreamWriter(Protocol):
    """Canonical events to the bytes of one stream."""

    content_type: str

    def write(self, event: Event) -> bytes:
        """The bytes of one event; empty where the wire has nothing to say."""
        ...

    def end(self) -> bytes:
        """The last bytes: what closes a stream that is whole."""
        ...


class Inbound(Protocol):
    """What callers see."""

    def parse(self, fields: dict[str, Any]) -> Any:
        """A Body. Raises InvalidRequest naming the field at fault."""

    def read_request(self, body: Any) -> ChatRequest:
        """The canonical request. Raises InvalidRequest naming the field at fault."""

    def stream_writer(self, request: ChatRequest, start: Start) -> StreamWriter: ...

    def write_body(self, events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
        """A whole answer."""

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """The body of an error."""

    def write_stream_error(self, error: GatewayError, request_id: str) -> bytes:
        """The event that ends a stream which failed."""

    def write_models(self, aliases: Iterable[tuple[str, str]]) -> bytes:
        """The list of what a key may use: (alias, description)."""

    def write_model(self, alias: str, description: str) -> bytes:
        """One of them."""


class Sight(msgspec.Struct):
    """What a frame, or a whole answer, shows to whoever watches it pass."""

    has_content: bool = False
    """Something that a caller reads: from here on there is no falling back."""
    finished: bool = False
    """The provider said why it stopped."""
    ends_stream: bool = False
    """Nothing follows this frame."""
    usage: Usage | None = None
    """The counts so far; a later sight replaces them."""
    only_usage: bool = False
    """The frame is there for its usage alone."""
    error: UpstreamError | None = None


class Written(msgspec.Struct, frozen=True):
    """A request for an upstream, and the settings that it could not carry."""

    body: bytes
    warnings: tuple[str, ...] = ()


class Framer(Protocol):
    """Cuts a stream into frames (framing/sse.py, framing/ndjson.py)."""

    @property
    def rest(self) -> bytes:
        """What no frame's end has followed yet."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]: ...


class StreamReader(Protocol):
    """Frames of one stream to canonical events."""

    def read(self, frame: bytes) -> Iterable[Event]:
        """Raises msgspec.DecodeError for a frame that cannot be read."""
        ...

    def end(self) -> Iterable[Event]:
        """What is left to say when the stream has ended: blocks still open."""
        ...


class Watch(Protocol):
    """Looks at the frames of one stream as they pass; holds what spans frames (usage adds up)."""

    def sight(self, frame: bytes) -> Sight:
        """What cannot be read shows nothing, and passes."""
        ...


class Outbound(Protocol):
    """How we speak to providers."""

    def path(self, model: str, *, stream: bool) -> str:
        """Joined to the provider's base URL."""

    def headers(self, secret: str | None) -> list[tuple[str, str]]:
        """The credential's and the dialect's own headers."""

    def splice(self, raw: bytes, body: Any, model: str) -> tuple[bytes, bool]:
        """A caller's body of the same dialect for this model, byte for byte the same elsewhere; and
        whether it asks for a usage frame that the caller did not ask for."""

    def write_request(
        self, request: ChatRequest, *, model: str, output_limit: int | None
    ) -> Written:
        """`output_limit` is the model's own. Raises InvalidRequest for content that the provider
        cannot take, naming it."""

    def new_framer(self) -> Framer: ...

    def watch(self) -> Watch: ...

    def is_notable(self, passing: bytes) -> bool:
        """Whether bytes of a stream may hold a frame that must be watched once content flows."""

    def sight_of_body(self, body: bytes) -> Sight:
        """Raises UpstreamError when it is no answer."""

    def read_events(self) -> StreamReader: ...

    def read_body(self, body: bytes) -> Iterator[Event]:
        """A whole answer. Raises msgspec.DecodeError."""

    def read_error(self, status: int, body: bytes, *, retry_after: float | None) -> UpstreamError:
        """The error of a status other than 200."""


class Embedder(Protocol):
    """An outbound face that also makes embeddings."""

    def embeddings_path(self, model: str) -> str: ...

    def write_embeddings(self, request: EmbeddingsRequest, *, model: str) -> Written:
        """Raises InvalidRequest for inputs that the provider cannot take."""

    def read_embeddings(self, body: bytes) -> EmbeddingsAnswer:
        """Raises UpstreamError when it is no such answer."""


class TokenCounter(Protocol):
    """An outbound face whose provider counts the tokens of a request."""

    def count_path(self, model: str) -> str: ...

    def write_count(self, request: ChatRequest, *, model: str) -> Written: ...

    def read_count(self, body: bytes) -> int:
        """Input tokens. Raises UpstreamError when it is no such answer."""
