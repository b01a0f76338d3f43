"""What callers of the messages API see: requests read, answers and errors written."""

from collections.abc import Iterable
from typing import Any

import orjson

from proxy.chat.events import Event
from proxy.chat.fold import fold
from proxy.chat.request import ChatRequest
from proxy.chat.usage import Usage
from proxy.dialects.anthropic.answer import finish_of, whole_block
from proxy.dialects.anthropic.errors import write_error as write_error
from proxy.dialects.anthropic.errors import write_stream_error as write_stream_error
from proxy.dialects.anthropic.request import parse as parse
from proxy.dialects.anthropic.request import read_request as read_request
from proxy.dialects.anthropic.stream import StreamWriter
from proxy.dialects.anthropic.usage import write_usage
from proxy.dialects.faces import Start
from proxy.dialects.serialising import serialised


def stream_writer(request: ChatRequest, start: Start) -> StreamWriter:
    return StreamWriter(start)


def write_body(events: Iterable[Event], request: ChatRequest, start: Start) -> bytes:
    """A whole answer."""
    answer = fold(events)
    blocks = [block for block in answer.blocks if block.choice == 0]
    written = [whole_block(block, number) for number, block in enumerate(blocks)]
    refused = any(block.kind == "refusal" for block in blocks)
    return serialised(
        {
            "id": answer.id or start.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model or start.model,
            "content": [block for block in written if block is not None],
            **finish_of(answer.finishes.get(0), refused=refused),
            "usage": write_usage(answer.usage or Usage(), answer.usage_extras),
        }
    )


def _model(alias: str, description: str) -> dict[str, Any]:
    """An alias has no release date: the epoch stands for "unknown" (API reference, "Models")."""
    return {
        "type": "model",
        "id": alias,
        "display_name": description or alias,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def write_models(aliases: Iterable[tuple[str, str]]) -> bytes:
    """All on one page."""
    models = [_model(alias, description) for alias, description in aliases]
    ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]} if models else {}
    page = {"data": models, "has_more": False, "first_id": None, "last_id": None, **ends}
    return orjson.dumps(page)


def write_model(alias: str, description: str) -> bytes:
    return orjson.dumps(_model(alias, description))
