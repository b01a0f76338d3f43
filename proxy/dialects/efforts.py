"""How much to reason: some providers take a word, others a number of tokens."""

from typing import Literal

from proxy.chat.request import ReasoningRequest

Effort = Literal["low", "medium", "high"]

_BUDGETS: dict[str, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


def budget_of(effort: str) -> int:
    """Tokens that an effort word stands for where a provider wants a number; 0 means: none."""
    return _BUDGETS.get(effort, _BUDGETS["medium"])


def effort_of(budget: int) -> Effort:
    """The word for a budget in tokens where a provider wants a word."""
    if budget <= _BUDGETS["low"]:
        return "low"
    return "medium" if budget <= _BUDGETS["medium"] else "high"


def asked_effort(reasoning: ReasoningRequest) -> str:
    """The effort word of a request; empty where it says nothing of how much."""
    if reasoning.effort or reasoning.budget_tokens is None:
        return reasoning.effort
    return effort_of(reasoning.budget_tokens)
