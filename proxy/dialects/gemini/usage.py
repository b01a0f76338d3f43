"""The provider's usage report in disjoint buckets (ai.google.dev/api/generate-content,
"UsageMetadata")."""

from typing import Any

from proxy.chat.usage import Usage
from proxy.dialects.counting import count


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usageMetadata`; None where there is none that counts anything.

    `promptTokenCount` includes cached ones; tokens that tools of the provider put into the prompt
    stand beside it, and thoughts beside `candidatesTokenCount`.
    """
    if not isinstance(report, dict):
        return None
    if "promptTokenCount" not in report and "candidatesTokenCount" not in report:
        return None
    total_input = count(report, "promptTokenCount") + count(report, "toolUsePromptTokenCount")
    cached = min(count(report, "cachedContentTokenCount"), total_input)
    return Usage(
        input=total_input - cached,
        cached_input=cached,
        output=count(report, "candidatesTokenCount"),
        reasoning=count(report, "thoughtsTokenCount"),
    )


def write_usage(usage: Usage) -> dict[str, int]:
    """The `usageMetadata` of these buckets."""
    report = {
        "promptTokenCount": usage.total_input,
        "candidatesTokenCount": usage.output,
        "totalTokenCount": usage.total_input + usage.total_output,
    }
    if usage.cached_input:
        report["cachedContentTokenCount"] = usage.cached_input
    if usage.reasoning:
        report["thoughtsTokenCount"] = usage.reasoning
    return report
