"""The limits of targets after admission: taken when another one is asked, instead of the last or
beside it, and given back. Budgets were reserved for all of them at once."""

import asyncio
from collections.abc import Sequence

from billing.claims import Claim
from billing.counters.asks import Admitted, Ask, Cold, CountersAway, Refused
from billing.limits import Limit
from proxy.admit import TRIES, Admission
from proxy.claims import Wanted
from proxy.errors import StoreUnavailable
from proxy.exchange import Exchange
from proxy.store import Store
from routing.choose import Target

Given = Sequence[tuple[Claim, int]]
"""Claims that are given up, each with what was used of it."""


async def move(admission: Admission, exchange: Exchange, target: Target, store: Store) -> bool:
    """Takes the limits of another target, and gives back those of the last: its requests were made,
    its tokens came to nothing. False: they are used up. With the counters away the attempt goes on:
    its budget is held."""
    last = [claim for claim in exchange.claims if claim.is_targets]
    return await _exchange(admission, exchange, target, store, given=_unused(last))


async def join(
    admission: Admission, exchange: Exchange, target: Target, store: Store
) -> list[Claim] | None:
    """Takes the limits of a target that is asked beside another. None: they are used up."""
    before = list(exchange.claims)
    if not await _exchange(admission, exchange, target, store, given=()):
        return None
    return exchange.claims[len(before) :]


async def leave(admission: Admission, exchange: Exchange, claims: list[Claim], tokens: int) -> None:
    """Gives back what a target took that was asked beside another, for the tokens that it used."""
    held = {id(claim) for claim in exchange.claims}
    given = [
        (claim, tokens if claim.rule.unit == "tokens" else claim.ask.take)
        for claim in claims
        if id(claim) in held
    ]
    if not given or exchange.hold is None:
        return
    try:
        await admission.counters.change(exchange.hold, _asks(given), [])
    except (CountersAway, StoreUnavailable):
        return  # it is settled with all the rest
    _give_up(exchange, given)


async def _exchange(
    admission: Admission, exchange: Exchange, target: Target, store: Store, *, given: Given
) -> bool:
    claims = _claims(admission, exchange, target)
    if not claims and not given:
        return True
    try:
        return await _change(admission, exchange, store, claims, given)
    except (CountersAway, StoreUnavailable):
        return True


def _claims(admission: Admission, exchange: Exchange, target: Target) -> list[Claim]:
    body = exchange.body
    exposures = [exchange.exposures[target.model.identity]]
    want = Wanted(exposures, answers=body.answers, asked=body.output_limit)
    is_free = exchange.endpoint.kind == "count"
    return admission.plans.target_outline(exchange, target).claims(want, is_free=is_free)


async def _change(
    admission: Admission, exchange: Exchange, store: Store, claims: list[Claim], given: Given
) -> bool:
    """The claims follow what the hold has become: after any answer those given up are settled, and
    with none nobody knows, so that they stay as they were."""
    asks = [claim.ask for claim in claims]
    for _ in range(TRIES):
        if exchange.hold is None:
            answer = await admission.ask(exchange, store, claims)
        else:
            answer = await admission.counters.change(exchange.hold, _asks(given), asks)
        if given:
            _give_up(exchange, given)
            given = ()
        if type(answer) is Admitted:
            exchange.claims = [*exchange.claims, *claims]
            exchange.levels = [*exchange.levels, *answer.levels]
            return True
        if isinstance(answer, Refused):
            return False
        assert isinstance(answer, Cold)
        if exchange.hold is not None:
            await asyncio.gather(*(admission.warm(claims[at], store) for at in answer.places))
    return False


def _asks(given: Given) -> list[tuple[Ask, int]]:
    return [(claim.ask, used) for claim, used in given]


def _give_up(exchange: Exchange, given: Given) -> None:
    gone = {id(claim) for claim, _ in given}
    kept = [
        (claim, level)
        for claim, level in zip(exchange.claims, exchange.levels, strict=True)
        if id(claim) not in gone
    ]
    exchange.claims = [claim for claim, _ in kept]
    exchange.levels = [level for _, level in kept]


def _unused(claims: list[Claim]) -> Given:
    """What a target's limits are left with after a failed attempt: the request was made."""
    given = []
    for claim in claims:
        assert isinstance(claim.rule, Limit)
        given.append((claim, claim.ask.take if claim.rule.unit == "requests" else 0))
    return given
