"""What a caller is told of limits and budgets: which one refused, and how much is left."""

import datetime
from collections.abc import Sequence

from billing.budgets import Purse
from billing.counters.asks import Short
from billing.limits import Limit
from gateway_project.units import from_nano
from proxy.claims import Claim
from proxy.errors import InsufficientQuota, InvalidRequest, RateLimitExceeded
from proxy.exchange import Exchange

CONCURRENCY_RETRY = 1.0
"""Seconds: nobody knows when a slot is given back."""


def over_limit(claim: Claim, short: Short) -> RateLimitExceeded:
    """Names the limit, its scope and window."""
    assert isinstance(claim.rule, Limit)
    wait = short.wait / 1000 if short.wait >= 0 else CONCURRENCY_RETRY
    return RateLimitExceeded(
        f"The limit of {claim.rule.said(claim.scope)} is used up.", retry_after=wait
    )


def over_budget(claim: Claim, short: Short, now: float) -> InsufficientQuota:
    """Names the budget, its amount, period and reset time."""
    purse, period = claim.rule, claim.period
    assert isinstance(purse, Purse) and period is not None
    room = purse.written(max(short.room, 0))
    message = f"The budget of {purse.said(claim.scope)} has no room for this request: {room} left"
    if not period.end:
        return InsufficientQuota(f"{message}; it does not reset.", retry_after=None)
    return InsufficientQuota(
        f"{message}; it resets at {_moment(period.end)}.", retry_after=period.end - now
    )


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_size(claims: Sequence[Claim], least: int) -> None:
    """A request that even a full bucket could not hold. `least` is what it surely takes, in tokens.
    Raises InvalidRequest."""
    for claim in claims:
        rule = claim.rule
        if isinstance(rule, Limit) and rule.unit == "tokens" and least > rule.most:
            raise InvalidRequest(
                f"This request takes about {least} tokens, more than the limit of "
                f"{rule.said(claim.scope)} ever allows at once."
            )


def left_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The tightest limit of requests and of tokens, and the tightest budget of money: a tenant's
    own only, the gateway's are nobody's business."""
    tightest: dict[str, tuple[float, Claim, int]] = {}
    room: int | None = None
    for claim, level in zip(exchange.claims, exchange.levels, strict=False):
        rule = claim.rule
        if not rule.scope.owner:
            continue
        if isinstance(rule, Purse):
            if rule.unit == "charge":
                left = min(budget.amount for budget in rule.budgets) - level
                room = left if room is None else min(room, left)
        elif rule.window:
            share = level / rule.most
            if rule.unit not in tightest or share < tightest[rule.unit][0]:
                tightest[rule.unit] = (share, claim, level)
    headers = [
        pair for unit, (_, claim, level) in tightest.items() for pair in _left(unit, claim, level)
    ]
    if room is not None:
        headers.append((b"x-gateway-budget-remaining", from_nano(max(room, 0)).encode()))
    if exchange.is_clamped:
        headers.append((b"x-gateway-max-tokens-clamped", str(exchange.output_limit).encode()))
    return headers


def _left(unit: str, claim: Claim, level: int) -> list[tuple[bytes, bytes]]:
    rule = claim.rule
    assert isinstance(rule, Limit)
    full_in = (rule.most - level) * rule.window / rule.amount / 1000
    name = unit.encode()
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % rule.amount),
        (b"x-ratelimit-remaining-" + name, b"%d" % max(level, 0)),
        (b"x-ratelimit-reset-" + name, b"%.3fs" % max(full_in, 0.0)),
    ]
