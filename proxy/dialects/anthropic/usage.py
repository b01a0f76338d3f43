"""The provider's usage report in disjoint buckets."""

from typing import Any

from proxy.chat.usage import Usage

_COUNTS = ("input_tokens", "output_tokens")


def _count(report: dict[str, Any], name: str) -> int:
    value = report.get(name)
    return max(value, 0) if isinstance(value, int) else 0


def replaced(report: dict[str, Any], later: Any) -> dict[str, Any]:
    """A report with what a later one says in its place. Counts are cumulative; one that the later
    report leaves out, or gives as null, still holds (docs, "Streaming messages")."""
    if not isinstance(later, dict):
        return report
    return {**report, **{name: value for name, value in later.items() if value is not None}}


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usage` object; None where there is none that counts anything.

    `input_tokens` is without cached and cache-written tokens; `output_tokens` includes thinking,
    which `output_tokens_details` tells apart (API reference, "Usage").
    """
    if not isinstance(report, dict) or not any(name in report for name in _COUNTS):
        return None
    details = report.get("output_tokens_details")
    output = _count(report, "output_tokens")
    thinking = _count(details, "thinking_tokens") if isinstance(details, dict) else 0
    reasoning = min(thinking, output)
    return Usage(
        input=_count(report, "input_tokens"),
        cached_input=_count(report, "cache_read_input_tokens"),
        cache_write=_count(report, "cache_creation_input_tokens"),
        output=output - reasoning,
        reasoning=reasoning,
    )


def usage_extras(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says beside the counts."""
    own = {
        name: value
        for name, value in report.items()
        if name not in _COUNTS
        and name not in ("cache_read_input_tokens", "cache_creation_input_tokens")
        and name != "output_tokens_details"
    }
    return {"anthropic": own} if own else {}


def write_usage(usage: Usage, extras: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `usage` object of these buckets."""
    written: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.total_output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    own = (extras or {}).get("anthropic")
    return {**own, **written} if isinstance(own, dict) else written
