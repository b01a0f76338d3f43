"""How much to reason, in the words that a model of this provider understands.

Docs, "Extended thinking" and "Adaptive thinking": models before 4.6 take a budget of at least 1024
tokens below `max_tokens`, and then no forced tool; from 4.6 on they think adaptively, by effort;
from 4.7 on a budget is refused, and so are temperature, top_p and top_k. Other servers of this
dialect know the budget.
"""

import re
from dataclasses import dataclass
from typing import Any

from proxy.chat.request import ChatRequest, Message, Reasoning, ToolCall
from proxy.dialects.efforts import asked_effort, budget_of

_VERSION = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_MIN_BUDGET = 1024
_EFFORTS = {"minimal": "low"}
_NOT_WITH = "reasoning is not supported by anthropic together with"


def version_of(model: str) -> tuple[int, int] | None:
    """(4, 6) for `claude-opus-4-6`; None where a name tells no version."""
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else None


@dataclass(frozen=True, slots=True)
class Thinking:
    """The `thinking` field, the effort beside it, and what was lost."""

    field: dict[str, Any] | None = None
    effort: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def is_on(self) -> bool:
        return self.field is not None and self.field.get("type") != "disabled"


def write_thinking(
    request: ChatRequest, *, version: tuple[int, int] | None, max_tokens: int
) -> Thinking:
    """`max_tokens` bounds a budget."""
    asked = request.reasoning
    own = request.extras.get("anthropic", {})
    if "_thinking" in own or "_output_config" in own:
        effort = (own.get("_output_config") or {}).get("effort")
        return Thinking(own.get("_thinking"), effort if isinstance(effort, str) else "")
    if asked is None or (not asked.effort and asked.budget_tokens is None and not asked.enabled):
        off = asked is not None and asked.enabled is False
        return Thinking({"type": "disabled"} if off else None)
    if asked.enabled is False or asked.effort == "none":
        return Thinking({"type": "disabled"})
    shown = {"display": "summarized"} if asked.summary not in ("", "none") else {}
    adaptive_from = (4, 6) if asked.budget_tokens is None else (4, 7)
    if version is not None and version >= adaptive_from:
        return Thinking({"type": "adaptive", **shown}, _effort(request, version))
    return _budgeted(request, max_tokens, shown if version else {})


def _effort(request: ChatRequest, version: tuple[int, int]) -> str:
    asked = request.reasoning
    assert asked is not None
    effort = asked_effort(asked)
    if effort == "xhigh" and version < (4, 7):
        return "high"
    return _EFFORTS.get(effort, effort)


def _budgeted(request: ChatRequest, max_tokens: int, shown: dict[str, str]) -> Thinking:
    asked = request.reasoning
    assert asked is not None
    choice = request.tool_choice
    if choice and choice.mode in ("required", "named") and request.tools:
        return Thinking(warnings=(f"{_NOT_WITH} a forced tool",))
    if not _may_think(request.messages):
        return Thinking(warnings=(f"{_NOT_WITH} tool calls whose reasoning was not handed back",))
    wanted = asked.budget_tokens
    if wanted is None:
        # An effort leaves room for the answer; a budget is the caller's own choice.
        wanted = min(budget_of(asked.effort), max_tokens * 3 // 4)
    budget = min(max(wanted, _MIN_BUDGET), max_tokens - 1)
    if budget < _MIN_BUDGET:
        return Thinking(warnings=(f"{_NOT_WITH} max_output_tokens of {max_tokens}",))
    return Thinking({"type": "enabled", "budget_tokens": budget, **shown})


def _may_think(messages: tuple[Message, ...]) -> bool:
    """With a budget, a turn that called tools and goes on must begin with its thinking (docs,
    "Preserving thinking blocks")."""
    if not messages or messages[-1].role != "tool":
        return True
    for message in reversed(messages):
        if message.role not in ("tool", "assistant"):
            return True
        calls = any(isinstance(part, ToolCall) for part in message.parts)
        thought = any(
            isinstance(part, Reasoning) and "anthropic" in part.extras for part in message.parts
        )
        if calls and not thought:
            return False
    return True
