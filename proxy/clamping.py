"""Less than was asked for: an answer held to what budgets have room for, or another target."""

from collections.abc import Sequence

from billing.budgets import Purse
from billing.claims import Claim
from billing.counters.asks import Short
from proxy.bounds import Bound, Exposure, InputBound, output_bound, output_within
from proxy.errors import RateLimitExceeded
from proxy.exchange import Exchange
from routing.choose import Choice

SMALLEST_CLAMP = 16
"""Output tokens below which an answer is of no use; a caller may ask for fewer."""


def expose(exchange: Exchange) -> None:
    """Fills `exposures`, and what the alias holds each answer to."""
    choice, alias, body = exchange.choice, exchange.alias, exchange.body
    assert choice is not None and alias is not None
    asked, cap = body.output_limit, alias.max_output_tokens
    exchange.output_limit = exchange.clamped_to = None
    if cap is not None and (asked is None or asked > cap):
        exchange.output_limit = cap
        exchange.clamped_to = cap if asked is not None else None
        asked = cap
    exchange.exposures = {}
    size = InputBound(exchange)
    exchange.input_bytes = size.size
    for target in choice.targets:
        model = target.model
        output = 0 if exchange.endpoint.kind != "chat" else output_bound(asked, model, body.answers)
        bound = Bound(size.tokens(model), output)
        exchange.exposures[model.identity] = Exposure(bound, exchange.rates[model.identity])


def room_for(exchange: Exchange, claims: Sequence[Claim], short: Sequence[Short]) -> int | None:
    """Output tokens of one answer for which these purses have room; None where that is of no use,
    or where the alias wants to refuse."""
    alias = exchange.alias
    assert alias is not None
    if alias.on_short_budget == "refuse" or exchange.endpoint.kind != "chat":
        return None
    least: int | None = None
    for one in short:
        rule = claims[one.place].rule
        assert isinstance(rule, Purse)
        fits = output_within(exchange.exposures.values(), rule.unit, one.room)
        if fits is not None and (least is None or fits < least):
            least = fits
    if least is None:
        return None
    each = least // exchange.body.answers
    asked = exchange.body.output_limit or SMALLEST_CLAMP
    return each if each >= min(asked, SMALLEST_CLAMP) else None


def hold_to(exchange: Exchange, limit: int) -> None:
    """Every target's output is held to `limit` tokens an answer."""
    asked = exchange.body.output_limit
    exchange.output_limit = limit
    exchange.clamped_to = limit if asked is None or limit < asked else None
    most = limit * exchange.body.answers
    for exposure in exchange.exposures.values():
        output = exposure.bound.output
        exposure.bound.output = most if output is None else min(output, most)


class NoRoom(RateLimitExceeded):
    """No target has room. `wait` is milliseconds until its provider may have, -1 for unknown; None
    where something else is in the way too, for which nobody may wait in a provider's line."""

    def __init__(self, refusal: RateLimitExceeded, wait: int | None) -> None:
        super().__init__(refusal.message, retry_after=refusal.retry_after, headers=refusal.headers)
        self.wait = wait


def pass_over(exchange: Exchange, refusal: RateLimitExceeded, wait: int | None) -> None:
    """The first target has no room: the next one is asked first, where the alias goes on from a
    rate limit. Raises NoRoom when there is none."""
    choice, alias = exchange.choice, exchange.alias
    assert choice is not None and alias is not None
    falls_back = "rate_limit" in alias.fallback_on
    first, *others = choice.targets
    rest = [target for target in others if falls_back or not target.is_fallback]
    if not rest:
        raise NoRoom(refusal, wait)
    exchange.choice = Choice(choice.route, tuple(rest), choice.passed_over)
    exchange.choice.pass_over(first.model, "no_room")
    if all(first.model.identity != target.model.identity for target in rest):
        del exchange.exposures[first.model.identity]
