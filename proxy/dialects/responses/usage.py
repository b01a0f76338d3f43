"""The provider's usage report in disjoint buckets, and back."""

from typing import Any

from proxy.chat.usage import Usage, disjoint
from proxy.dialects.counting import count
from proxy.dialects.responses.shapes import object_of


def read_usage(report: Any) -> Usage | None:
    """Buckets of a `usage` object; None where there is none that counts anything.

    `input_tokens` includes cached and cache-written ones, `output_tokens` reasoning ones (API
    reference, "The response object").
    """
    if not isinstance(report, dict) or not {"input_tokens", "output_tokens"} & report.keys():
        return None
    input_details = object_of(report.get("input_tokens_details"))
    output_details = object_of(report.get("output_tokens_details"))
    return disjoint(
        total_input=count(report, "input_tokens"),
        cached=count(input_details, "cached_tokens"),
        cache_write=count(input_details, "cache_write_tokens"),
        total_output=count(report, "output_tokens"),
        reasoning=count(output_details, "reasoning_tokens"),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object of these buckets."""
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.total_output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_input + usage.total_output,
    }
