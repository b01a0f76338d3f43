"""The provider's usage report in disjoint buckets."""

from typing import Any

from proxy.chat.usage import Usage, disjoint
from proxy.dialects.counting import count


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usage` object; None where there is none that counts anything.

    `prompt_tokens` includes cached ones and `completion_tokens` reasoning ones
    (API reference, "The chat completion object"). xAI counts and bills reasoning beside them, as
    its `total_tokens` says; so does Mistral with the tokens of audio. DeepSeek says
    `prompt_cache_hit_tokens`; OpenRouter tells what was written to a cache. Mistral's older
    `num_cached_tokens` may exceed the prompt, and lowers no bill: it is not read.
    """
    if not isinstance(report, dict):
        return None
    if "prompt_tokens" not in report and "completion_tokens" not in report:
        return None
    prompt, completion = (
        report.get("prompt_tokens_details"),
        report.get("completion_tokens_details"),
    )
    total_input = count(report, "prompt_tokens")
    total_output = count(report, "completion_tokens")
    reasoning = count(completion, "reasoning_tokens")
    audio = count(prompt, "audio_tokens")
    beside = count(report, "total_tokens") - total_input - total_output
    if beside == reasoning:
        total_output += reasoning
    elif beside == audio:
        total_input += audio
    return disjoint(
        total_input=total_input,
        cached=count(prompt, "cached_tokens") or count(report, "prompt_cache_hit_tokens"),
        cache_write=count(prompt, "cache_write_tokens"),
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
