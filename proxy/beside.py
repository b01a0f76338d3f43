"""What a target used that was asked beside another: a hedge that lost, or a mirror. It stands on
the row of its attempt, with what the amounts come from."""

from fractions import Fraction

import msgspec

from billing.pricing import share_of
from billing.records import AttemptRow, AttemptUse
from proxy.chat.usage import Usage
from proxy.exchange import Exchange
from proxy.settle import metered, tokens_of

_encode = msgspec.json.Encoder().encode


def note_use(
    exchange: Exchange, attempt: AttemptRow, factor: Fraction, usage: Usage | None = None
) -> int:
    """Puts what an attempt used on its row, by default what its exchange has heard of it or what
    can be estimated; returns the tokens. `factor` is the share of its price that is charged."""
    source = "estimated"
    if usage is None:
        usage, source = metered(exchange)
    assert exchange.target is not None
    rates = exchange.rates[exchange.target.model.identity]
    tokens = tokens_of(usage)
    use = AttemptUse(
        usage_source=source,
        input_tokens=usage.input,
        cached_input_tokens=usage.cached_input,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        charge_factor=str(factor),
    )
    if rates.cost is not None:
        attempt.cost, use.cost_price_version = rates.cost.amount(tokens), rates.cost.version
    if rates.charge is not None and factor:
        attempt.charge = share_of(rates.charge.amount(tokens), factor)
        use.charge_price_version = rates.charge.version
    else:
        attempt.charge = 0
    attempt.usage = _encode(use).decode()
    return usage.total_input + usage.total_output
