"""Every recorded answer of chat completions, of Mistral and of Ollama is read as it was meant,
however it was cut; and every recorded request survives being read and written again."""

import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from proxy.chat.fold import Answer, fold
from proxy.chat.usage import Usage
from proxy.dialects import OUTBOUND
from proxy.dialects.faces import Sight
from proxy.dialects.openai.request import parse, read_request
from tests.proxy.dialects.anthropic.recorded import (
    DIALECTS,
    events_of,
    exchanges,
    expected,
)
from tests.proxy.recorded import Exchange, byte_by_byte, line_by_line, usage_of, whole

OURS = ("openai-chat", "mistral-chat", "ollama-native")
FINISHES = {"model_length": "length", "max_tokens": "length", "function_call": "tool_calls"}
_AUDIO = re.compile(r'"audio_tokens": ?(\d+)')
CUTS = [whole, line_by_line, byte_by_byte]


def _ids(*dialects: str, wanted: Callable[[Exchange], bool] = lambda exchange: True) -> list[str]:
    return [
        id_
        for id_, exchange in exchanges().items()
        if exchange["dialect"] in dialects
        and exchange["response_status"] == 200
        and wanted(exchange)
    ]


def _is_stream(exchange: Exchange) -> bool:
    return bool(exchange["response_framing"] != "json")


def _said(answer: Answer, kind: str) -> str:
    blocks = (block for block in answer.blocks if block.choice == 0 and block.kind == kind)
    return "".join(block.text for block in blocks)


def _calls(answer: Answer) -> list[tuple[str, Any]]:
    found = []
    for block in answer.blocks:
        if block.choice == 0 and block.kind == "tool_call":
            custom = block.extras.get("openai", {}).get("type") == "custom"
            text = block.text or ("" if custom else "{}")
            found.append((block.name, text if custom else json.loads(text)))
    return found


def _expected(exchange: Exchange) -> dict[str, Any]:
    """expect.py tells lines from a body by the content type, which may be wrong."""
    if exchange["response_framing"] == "ndjson":
        exchange = {**exchange, "response_headers": {"content-type": "application/x-ndjson"}}
    return expected(exchange)


def _usage(exchange: Exchange) -> Usage | None:
    """What expect.py reads. Mistral counts audio beside the prompt; half a report is none."""
    reported = _expected(exchange)["usage"]
    if exchange["dialect"] == "openai-chat" or reported is None:
        return usage_of(exchange)
    if reported["input"] is None or reported["output"] is None:
        return None
    audio = _AUDIO.search(exchange["response_body"])
    cached = reported["cached"] or 0
    total = reported["input"] + (int(audio[1]) if audio else 0)
    return Usage(input=total - cached, cached_input=cached, output=reported["output"])


@pytest.mark.parametrize("id_", _ids(*OURS))
def test_an_answer_is_read_as_it_was_meant(id_: str) -> None:
    exchange = exchanges()[id_]
    wanted = _expected(exchange)
    answer = fold(events_of(exchange, OUTBOUND[DIALECTS[exchange["dialect"]]]))
    if wanted["error"] is not None:
        assert answer.failed is not None
        return
    assert _said(answer, "text") == wanted["text"]
    assert _said(answer, "reasoning") == wanted["reasoning"]
    assert _said(answer, "refusal") == wanted["refusal"]
    if "legacy_function_call" not in exchange["features"]:  # which expect.py does not read
        assert _calls(answer) == [tuple(call) for call in wanted["tool_calls"]]
    assert answer.usage == _usage(exchange)
    finish = FINISHES.get(wanted["finish"], wanted["finish"])
    assert (
        answer.finish == ("tool_calls" if _calls(answer) and finish == "stop" else finish)
        or finish is None
    )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("id_", _ids(*OURS, wanted=_is_stream))
def test_a_stream_passes_as_it_is_and_shows_its_usage_and_its_end(
    id_: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    exchange = exchanges()[id_]
    outbound = OUTBOUND[DIALECTS[exchange["dialect"]]]
    body = exchange["response_body"].encode()
    framer, watch = outbound.new_framer(), outbound.watch()
    frames = [frame for chunk in cut(body) for frame in framer.feed(chunk)]
    frames += [framer.rest] if framer.rest else []
    assert b"".join(frames) == body
    sights = [watch.sight(frame) for frame in frames]
    if any(seen.error for seen in sights):
        assert _expected(exchange)["error"] is not None
        return
    assert _last_usage(sights) == _usage(exchange)
    assert any(seen.finished for seen in sights) == (_expected(exchange)["finish"] is not None)
    for frame, seen in zip(frames, sights, strict=True):
        if seen.usage or seen.ends_stream:
            assert outbound.is_notable(frame)


def _last_usage(sights: list[Sight]) -> Usage | None:
    reported = [seen.usage for seen in sights if seen.usage is not None]
    return reported[-1] if reported else None


def _has_messages(exchange: Exchange) -> bool:
    return "messages" in (exchange["request_body"] or {})


@pytest.mark.parametrize("id_", _ids("openai-chat", wanted=_has_messages))
def test_a_request_is_the_same_when_it_was_read_and_written(id_: str) -> None:
    """But that a stream always asks for its usage."""
    given = exchanges()[id_]["request_body"]
    request = read_request(parse(given))
    model = given.get("model") or "m"
    written = OUTBOUND["openai"].write_request(request, model=model, output_limit=None)
    again = read_request(parse(orjson.loads(written.body)))
    assert written.warnings == ()
    for field in request.__struct_fields__:
        if field not in ("include_usage", "extras"):
            assert getattr(again, field) == getattr(request, field)
    assert _without_notes(again.extras) == _without_notes(request.extras)


def _without_notes(extras: dict[str, Any]) -> dict[str, Any]:
    own = extras.get("openai", {})
    return {name: value for name, value in own.items() if not name.startswith("_")}
