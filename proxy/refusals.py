"""What a caller is told of limits and budgets: which one refused, and how much is left."""

import datetime
from collections.abc import Sequence

from billing.budgets import Purse
from billing.claims import Claim
from billing.counters.asks import BUCKET, PURSE, Ask, Short
from billing.limits import Limit
from gateway_project.units import from_nano
from proxy.errors import InsufficientQuota, InvalidRequest, RateLimitExceeded
from proxy.exchange import Exchange

_REQUESTS, _TOKENS = (
    tuple(b"x-ratelimit-%b-%b" % (what, unit) for what in (b"limit", b"remaining", b"reset"))
    for unit in (b"requests", b"tokens")
)
CONCURRENCY_RETRY = 1.0
"""Seconds: nobody knows when a slot is given back."""


def over_limit(claim: Claim, short: Short) -> RateLimitExceeded:
    """Names the limit, its scope and window."""
    assert isinstance(claim.rule, Limit)
    wait = short.wait / 1000 if short.wait >= 0 else CONCURRENCY_RETRY
    error = RateLimitExceeded(
        f"The limit of {claim.rule.said(claim.scope)} is used up.", retry_after=wait
    )
    names = {"requests": _REQUESTS, "tokens": _TOKENS}.get(claim.rule.unit)
    if names is not None and claim.scope.owner:
        left = _left(names, claim.ask, short.room)
        error.headers.update({name.decode(): value.decode() for name, value in left})
    return error


def over_budget(claim: Claim, short: Short, currency: str, now: float) -> InsufficientQuota:
    """Names the budget, its amount, period and reset time. How much the gateway itself may spend is
    nobody's business."""
    purse, period = claim.rule, claim.period
    assert isinstance(purse, Purse) and period is not None
    if claim.scope.owner:
        unit = "" if purse.unit == "tokens" else f" {currency}"
        room = f"{purse.written(max(short.room, 0))}{unit}"
        amount = f"{purse.written(purse.most)}{unit} {purse.per} of {claim.scope.said}"
        message = f"The budget of {amount} has no room for this request: {room} left"
    else:
        message = f"The budget {purse.per} of {claim.scope.said} has no room for this request"
    if not period.end:
        return InsufficientQuota(f"{message}; it does not reset.", retry_after=None)
    return InsufficientQuota(
        f"{message}; it resets at {_moment(period.end)}.", retry_after=period.end - now
    )


def _moment(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_size(smallest: Claim, least: int) -> None:
    """A request that even a full bucket could not hold. `least` is what it surely takes, in tokens.
    Raises InvalidRequest."""
    rule = smallest.rule
    assert isinstance(rule, Limit)
    if least > rule.most:
        raise InvalidRequest(
            f"This request takes about {least} tokens, more than the limit of "
            f"{rule.said(smallest.scope)} ever allows at once."
        )


def left_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The tightest limit of requests and of tokens, and the tightest budget of money: a tenant's
    own only, the gateway's are nobody's business."""
    requests = tokens = room = None
    for (rule, _, _, ask), level in zip(exchange.claims, exchange.levels, strict=False):
        if not rule.scope.owner:
            continue
        if ask[0] == PURSE:
            if rule.unit == "charge":
                left = rule.least - level  # type: ignore[union-attr]
                room = left if room is None else min(room, left)
        elif ask[0] == BUCKET:
            share = level / ask[3]
            if rule.unit == "requests":
                if requests is None or share < requests[0]:
                    requests = (share, ask, level)
            elif tokens is None or share < tokens[0]:
                tokens = (share, ask, level)
    headers = []
    if requests is not None:
        headers += _left(_REQUESTS, requests[1], requests[2])
    if tokens is not None:
        headers += _left(_TOKENS, tokens[1], tokens[2])
    if room is not None:
        headers.append((b"x-gateway-budget-remaining", from_nano(max(room, 0)).encode()))
    if exchange.clamped_to is not None:
        headers.append((b"x-gateway-max-tokens-clamped", b"%d" % exchange.clamped_to))
    return headers


def _left(names: Sequence[bytes], ask: Ask, level: int) -> list[tuple[bytes, bytes]]:
    full_in = (ask.most - level) * ask.window // ask.amount
    return [
        (names[0], b"%d" % ask.amount),
        (names[1], b"%d" % max(level, 0)),
        (names[2], b"%d.%03ds" % divmod(max(full_in, 0), 1000)),
    ]
