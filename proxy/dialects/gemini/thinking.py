"""How much to think (ai.google.dev/gemini-api/docs/thinking): models of the second generation take
a budget in tokens, later ones a level."""

import re
from typing import Any, Literal

from proxy.chat.request import ReasoningRequest
from proxy.dialects.efforts import budget_of
from proxy.dialects.gemini.shapes import ThinkingConfig

Family = Literal["none", "budget", "level"]

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_MOST, _MOST_OF_PRO = 24_576, 32_768
_LEVELS = ("minimal", "low", "medium", "high")
_LEAST_OF_PRO = 128
"""gemini-2.5-pro cannot stop thinking; this is the smallest budget it takes."""


def generation(model: str) -> tuple[int, int]:
    """A model's version; one that its name does not tell is of the newest."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _family(model: str) -> Family:
    version = generation(model)
    if version >= (3, 0):
        return "level"
    return "budget" if version >= (2, 5) else "none"


def read_thinking(config: ThinkingConfig | None) -> ReasoningRequest | None:
    """A budget of 0 means no thinking, -1 as much as the model likes."""
    if config is None:
        return None
    budget = config.thinking_budget
    return ReasoningRequest(
        effort=(config.thinking_level or "").lower().replace("thinking_level_unspecified", ""),
        budget_tokens=budget if budget and budget > 0 else None,
        enabled=None if budget is None else budget != 0,
        summary="auto" if config.include_thoughts else "",
    )


def write_thinking(
    asked: ReasoningRequest | None, model: str, warnings: list[str]
) -> dict[str, Any] | None:
    """The `thinkingConfig` for a model. Who asks for reasoning is shown it."""
    if asked is None:
        return None
    family = _family(model)
    off = asked.enabled is False or asked.effort == "none"
    if family == "none":
        if not off:
            warnings.append(f"reasoning is not supported by gemini ({model})")
        return None
    config = _budget(asked, model, off=off) if family == "budget" else _level(asked, model, off=off)
    if off and config != {"thinkingBudget": 0}:
        warnings.append(f"reasoning cannot be turned off by gemini ({model})")
    if not off:
        config["includeThoughts"] = True
    return config


def _budget(asked: ReasoningRequest, model: str, *, off: bool) -> dict[str, Any]:
    is_pro = "pro" in model
    if off:
        return {"thinkingBudget": _LEAST_OF_PRO if is_pro else 0}
    budget = asked.budget_tokens
    if budget is None and asked.effort:
        budget = budget_of(asked.effort)
    if budget is not None:
        return {"thinkingBudget": min(budget, _MOST_OF_PRO if is_pro else _MOST)}
    return {"thinkingBudget": -1} if asked.enabled else {}


def _level(asked: ReasoningRequest, model: str, *, off: bool) -> dict[str, Any]:
    """Levels go from `minimal` to `high`; the pro models start at `low`, the first one of them has
    no `medium`."""
    if asked.budget_tokens is not None and not off and not asked.effort:
        return {"thinkingBudget": min(asked.budget_tokens, _MOST_OF_PRO)}
    if not off and not asked.effort:
        return {}
    level = "minimal" if off else asked.effort
    level = level if level in _LEVELS else "high"
    if "pro" in model:
        if level == "minimal":
            level = "low"
        elif level == "medium" and generation(model) == (3, 0):
            level = "high"
    return {"thinkingLevel": level}
