"""The provider's usage report in disjoint buckets."""

from typing import Any

from proxy.chat.usage import Usage, disjoint

MOST_TOKENS = 10**12
"""What one request cannot use. A count beyond it is none: no column would hold it."""


def _count(report: Any, name: str) -> int:
    value = report.get(name) if isinstance(report, dict) else None
    return int(value) if isinstance(value, int | float) and 0 <= value <= MOST_TOKENS else 0


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usage` object; None where there is none that counts anything.

    `prompt_tokens` includes cached ones and `completion_tokens` reasoning ones
    (API reference, "The chat completion object"). xAI counts and bills reasoning beside them, as
    its `total_tokens` says; DeepSeek says `prompt_cache_hit_tokens`; OpenRouter tells what was
    written to a cache.
    """
    if not isinstance(report, dict) or not {"prompt_tokens", "completion_tokens"} & report.keys():
        return None
    prompt, completion = (
        report.get("prompt_tokens_details"),
        report.get("completion_tokens_details"),
    )
    total_input = _count(report, "prompt_tokens")
    total_output = _count(report, "completion_tokens")
    reasoning = _count(completion, "reasoning_tokens")
    if _count(report, "total_tokens") == total_input + total_output + reasoning:
        total_output += reasoning
    return disjoint(
        total_input=total_input,
        cached=_count(prompt, "cached_tokens") or _count(report, "prompt_cache_hit_tokens"),
        cache_write=_count(prompt, "cache_write_tokens"),
        total_output=total_output,
        reasoning=reasoning,
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object of these buckets."""
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.total_output,
        "total_tokens": usage.total_input + usage.total_output,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
