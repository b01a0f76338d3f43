"""Speaking to Mistral: requests out, answers in. What is the same as in chat completions is theirs:
frames, sights, usage (on the last chunk, unasked) and errors, in whichever of its shapes."""

from collections.abc import Iterator
from typing import Any

from proxy.chat.events import Event
from proxy.dialects.mistral import writer
from proxy.dialects.mistral.reader import MistralReader
from proxy.dialects.openai import outbound as openai
from proxy.dialects.openai.reader import BodyReader
from proxy.dialects.splicing import ask_for_model

path = openai.path
headers = openai.headers
new_framer = openai.new_framer
watch = openai.watch
is_notable = openai.is_notable
sight_of_body = openai.sight_of_body
read_error = openai.read_error
write_request = writer.write_request


def splice(raw: bytes, body: Any, model: str) -> tuple[bytes, bool]:
    return ask_for_model(raw, body.asked_model, model), False


def read_events() -> MistralReader:
    return MistralReader()


def read_body(body: bytes) -> Iterator[Event]:
    """A whole answer as canonical events. Raises msgspec.DecodeError."""
    return iter(BodyReader(MistralReader).read(body))
