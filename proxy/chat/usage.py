"""Token counts as every provider's report is normalised to."""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Disjoint buckets: `input` is without cached and cache-written tokens, `output` without
    reasoning. They add up to what the provider bills."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def total_input(self) -> int:
        return self.input + self.cached_input + self.cache_write

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning


def disjoint(
    *,
    total_input: int,
    cached: int = 0,
    cache_write: int = 0,
    total_output: int,
    reasoning: int = 0,
) -> Usage:
    """Buckets from a report whose totals include their parts. Parts larger than their total, as
    some servers send, are cut to it."""
    total_input, total_output = max(total_input, 0), max(total_output, 0)
    cached = min(max(cached, 0), total_input) if cached else 0
    cache_write = min(max(cache_write, 0), total_input - cached) if cache_write else 0
    reasoning = min(max(reasoning, 0), total_output) if reasoning else 0
    return Usage(
        input=total_input - cached - cache_write,
        cached_input=cached,
        cache_write=cache_write,
        output=total_output - reasoning,
        reasoning=reasoning,
    )
