"""The provider's usage report in disjoint buckets (ai.google.dev/api/generate-content,
"UsageMetadata")."""

from typing import Any

from proxy.chat.usage import Usage, disjoint


def _count(report: dict[str, Any], name: str) -> int:
    value = report.get(name)
    return value if isinstance(value, int) else 0


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usageMetadata`; None where there is none that counts anything.

    `promptTokenCount` includes cached ones; tokens that tools of the provider put into the prompt
    stand beside it, and thoughts beside `candidatesTokenCount`.
    """
    if not isinstance(report, dict):
        return None
    if "promptTokenCount" not in report and "candidatesTokenCount" not in report:
        return None
    thoughts = _count(report, "thoughtsTokenCount")
    return disjoint(
        total_input=_count(report, "promptTokenCount") + _count(report, "toolUsePromptTokenCount"),
        cached=_count(report, "cachedContentTokenCount"),
        total_output=_count(report, "candidatesTokenCount") + thoughts,
        reasoning=thoughts,
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
