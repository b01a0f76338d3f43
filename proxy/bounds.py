"""The most that a request can use, provably: what budgets reserve.

Input is bounded by its bytes, because no token is shorter than one, plus what the upstream adds
(`overhead_tokens`), plus what each image, sound or document may count (`media_tokens`), whose bytes
say nothing. Output is bounded by what the caller, the alias and the model allow.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.chat.request import Audio, Document, Image, Message, Part, ToolResult
from proxy.dialects.splicing import hides_letters
from proxy.errors import GatewayError
from proxy.exchange import Exchange, Rates
from routing.snapshots import ModelSnapshot

MEDIA_TOKENS: Mapping[str, int] = {"image": 6_000, "audio": 20_000, "document": 100_000}
"""Where a model declares none: above what today's providers count for a usual one."""

_MEDIA = re.compile(
    rb'"(?:image|images|inline_?[dD]ata|file|file_?[dD]ata|input_audio|document|source'
    rb'|(?:image|video|audio|file|document)_url|input_image|input_file)"\s*+:'
    rb'|"type"\s*+:\s*+"(?:image|audio|video|document|file|container_upload|input_(?!text))'
)
"""Where a body of any dialect may hold media; one without it has none, unless it hides letters."""
_UNREAD: Mapping[str, "re.Pattern[str]"] = {
    "image": re.compile("image|screenshot"),
    "audio": re.compile("audio"),
    "document": re.compile("^(?:document|file|input_file|container_upload)$|video|_url$"),
}
"""What the `type` of a part says of its medium, where only its own dialect can read it."""
_BLOBS = {"inlineData", "inline_data", "fileData", "file_data"}
"""Of parts without a `type`."""
_SAID = ("messages", "input", "system", "contents")
"""Where the dialects have what may hold media."""


@dataclass(slots=True)
class Bound:
    """Tokens: of the input, and of the output of all answers together; None: of any number."""

    input: int
    output: int | None


def _media(parts: Iterable[Part]) -> Iterator[tuple[str, int]]:
    """Each image, sound and document, with the bytes of it that are in the body."""
    for part in parts:
        match part:
            case Image():
                yield "image", len(part.data) or len(part.url)
            case Audio():
                yield "audio", len(part.data)
            case Document() if not part.text:
                yield "document", len(part.data)
            case ToolResult():
                yield from _media(part.content)
            case _ if type(part) is Part:
                yield from ((kind, 0) for kind in _unread_media(part.extras))


def _unread_media(value: Any) -> Iterator[str]:
    """The media in what only its own dialect can read; one inside another is part of it."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as members:
                if kind := _medium(members):
                    yield kind
                else:
                    waiting += members.values()
            case list() as items:
                waiting += items


def _medium(members: Mapping[str, Any]) -> str:
    said = str(members.get("type") or "")
    named = next((kind for kind, types in _UNREAD.items() if types.search(said)), "")
    return named or ("document" if members.keys() & _BLOBS else "")


class InputBound:
    """The bound of one request's input at any model; its media are looked for once."""

    def __init__(self, exchange: Exchange) -> None:
        raw = exchange.raw
        self.size = len(raw)
        self._media: list[str] = []
        if exchange.endpoint.kind != "embeddings" and (_MEDIA.search(raw) or hides_letters(raw)):
            self._look(exchange)

    def _look(self, exchange: Exchange) -> None:
        try:
            messages: tuple[Message, ...] = exchange.read_request().messages
        except GatewayError:  # it may pass to its own dialect, which knows how to read it
            given = json.loads(exchange.raw)
            self._media += _unread_media([given.get(name) for name in _SAID])
            return
        for message in messages:
            for kind, size in _media(message.parts):
                self._media.append(kind)
                self.size -= min(size, self.size)

    def tokens(self, model: ModelSnapshot) -> int:
        found = self.size + model.overhead_tokens
        for kind in self._media:
            found += model.media_tokens.get(kind) or MEDIA_TOKENS[kind]
        return found


def output_bound(asked: int | None, model: ModelSnapshot, answers: int) -> int | None:
    """Output tokens of all answers at a model."""
    own = model.max_output_tokens or model.context_window
    if asked is None or (own is not None and own < asked):
        asked = own
    return None if asked is None else asked * answers


@dataclass(slots=True)
class Exposure:
    """What one target may cost: its bounds and its rates."""

    bound: Bound
    rates: Rates


def most(exposures: Iterable[Exposure], unit: str) -> int | None:
    """The dearest of the targets, in nano-units (`charge`, `cost`) or `tokens`; None: no bound. A
    target without a price counts nothing: its record waits for one."""
    dearest = 0
    for exposure in exposures:
        bound = exposure.bound
        if bound.output is None:
            return None
        if unit == "tokens":
            dearest = max(dearest, bound.input + bound.output)
            continue
        rate = exposure.rates.charge if unit == "charge" else exposure.rates.cost
        if rate is not None:
            dearest = max(dearest, rate.most(bound.input, bound.output))
    return dearest


def output_within(exposures: Iterable[Exposure], unit: str, room: int) -> int | None:
    """Output tokens of all answers for which `room` is enough at every target; None: any number."""
    least: int | None = None
    for exposure in exposures:
        if unit == "tokens":
            fits: int | None = max(room - exposure.bound.input, 0)
        else:
            rate = exposure.rates.charge if unit == "charge" else exposure.rates.cost
            fits = rate.output_within(room, exposure.bound.input) if rate else None
        if fits is not None and (least is None or fits < least):
            least = fits
    return least
