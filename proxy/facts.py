"""What routes can ask about a request; found out when one asks."""

from collections.abc import Callable, Iterable
from functools import partial

from proxy import meter
from proxy.chat.request import Audio, ChatRequest, Document, Image, Message, Part, Text, ToolResult
from proxy.dialects.openai import embeddings
from proxy.errors import GatewayError
from proxy.exchange import Exchange
from routing.complexity import Question, classify
from routing.facts import Facts

_KINDS: dict[type[Part], str] = {Image: "images", Audio: "audio", Document: "documents"}
_LITTLE_EFFORT = frozenset({"", "none", "minimal", "low"})


def facts_of(exchange: Exchange, budget_used: Callable[[Exchange], float | None]) -> Facts:
    """The facts of a request whose head and body have been read, and whose alias is known."""
    caller = exchange.caller
    assert caller is not None
    is_chat = exchange.endpoint.kind != "embeddings"
    return Facts(
        tenant=caller.tenant.name,
        tier=caller.tier,
        project=exchange.project,
        user=exchange.user,
        key=caller.key or caller.key_id,
        scopes=caller.scopes,
        labels=exchange.labels,
        moment=exchange.started_at,
        timezone=caller.tenant.timezone,
        bytes=len(exchange.raw) if is_chat else 0,
        count_tokens=partial(_count_tokens, exchange),
        look_inside=partial(_look_inside, exchange),
        judge=partial(_judge, exchange),
        weigh_budget=partial(budget_used, exchange),
    )


def _request(exchange: Exchange) -> ChatRequest | None:
    """None for what is no chat, or is written as only its own dialect knows: that passes on."""
    if exchange.endpoint.kind == "embeddings":
        return None
    try:
        return exchange.read_request()
    except GatewayError:
        return None


def _count_tokens(exchange: Exchange) -> int:
    """Estimated."""
    if exchange.endpoint.kind == "embeddings":
        return meter.count_inputs(embeddings.read_request(exchange.body))
    request = _request(exchange)
    return meter.quick_count(exchange.raw) if request is None else meter.count_request(request)


def _parts(parts: Iterable[Part]) -> Iterable[Part]:
    for part in parts:
        yield part
        if isinstance(part, ToolResult):
            yield from _parts(part.content)


def _look_inside(exchange: Exchange) -> frozenset[str]:
    request = _request(exchange)
    return frozenset() if request is None else contents_of(request)


def contents_of(request: ChatRequest) -> frozenset[str]:
    """Of `images`, `audio`, `documents`, `tools` and `json_schema`, what a request contains."""
    found = {
        _KINDS[type(part)]
        for message in request.messages
        for part in _parts(message.parts)
        if type(part) in _KINDS
    }
    if request.tools:
        found.add("tools")
    if request.response_format is not None and request.response_format.kind == "json_schema":
        found.add("json_schema")
    return frozenset(found)


def _judge(exchange: Exchange) -> str | None:
    request = _request(exchange)
    return None if request is None else classify(question_of(request))


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, Text))


def question_of(request: ChatRequest) -> Question:
    """What a request looks like to whoever judges how complex it is."""
    texts = [(message.role, _text(message)) for message in request.messages]
    asked = [text for role, text in texts if role == "user"]
    last = asked[-1] if asked else ""
    thinking = request.reasoning
    contents = contents_of(request)
    return Question(
        text=last,
        context=sum(len(text) for _, text in texts) - len(last),
        turns=len(asked),
        tools=len(request.tools),
        has_schema="json_schema" in contents,
        has_media=not contents.isdisjoint(_KINDS.values()),
        wants_reasoning=thinking is not None
        and (
            bool(thinking.budget_tokens)
            or thinking.effort not in _LITTLE_EFFORT
            or (thinking.enabled is True and not thinking.effort)
        ),
    )
