"""The provider's usage report in disjoint buckets."""

from typing import Any

from proxy.chat.usage import Usage, disjoint


def _count(report: Any, name: str) -> int:
    value = report.get(name) if isinstance(report, dict) else None
    return int(value) if isinstance(value, int | float) else 0


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usage` object; None where there is none that counts anything.

    `prompt_tokens` includes cached ones and `completion_tokens` reasoning ones
    (API reference, "The chat completion object"). Some servers say only `prompt_cache_hit_tokens`.
    """
    if not isinstance(report, dict) or not {"prompt_tokens", "completion_tokens"} & report.keys():
        return None
    prompt, completion = (
        report.get("prompt_tokens_details"),
        report.get("completion_tokens_details"),
    )
    return disjoint(
        total_input=_count(report, "prompt_tokens"),
        cached=_count(prompt, "cached_tokens") or _count(report, "prompt_cache_hit_tokens"),
        total_output=_count(report, "completion_tokens"),
        reasoning=_count(completion, "reasoning_tokens"),
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
