"""Targets one after another, until one answers."""

import asyncio
import time
from dataclasses import replace

import structlog

from proxy import moves
from proxy.errors import NoTargetAvailable, UpstreamError
from proxy.exchange import Exchange
from proxy.itinerary import Itinerary, Step
from proxy.one_attempt import new_attempt, try_target
from proxy.pace import PacedReply
from proxy.patience import Impatience
from proxy.race import Race
from proxy.reply import Reply
from proxy.standing import Call
from proxy.store import Store
from proxy.worker import Worker
from routing.choose import Target

log = structlog.get_logger("gateway.attempt")


async def run(exchange: Exchange, reply: Reply, worker: Worker) -> bytes:
    """Everything but the last bytes is sent when this returns them.

    After a failure the same model may be asked with another credential or once more, and then the
    next target on the kinds that the alias names, as long as nothing was sent. Raises the last
    target's error.
    """
    alias = exchange.alias
    assert alias is not None
    if alias.slow is None or alias.slow.tokens_per_second is None:
        return await _ask_in_turn(exchange, reply, worker)
    paced = PacedReply(reply)
    last = await _ask_in_turn(exchange, paced, worker)
    paced.note(exchange, worker.standing.load)
    return last


async def _ask_in_turn(exchange: Exchange, reply: Reply, worker: Worker) -> bytes:
    exchange.called = time.perf_counter()
    failure: UpstreamError | None = None
    way = Itinerary(exchange, worker.standing)
    step = way.next_target("first")
    while step is not None:
        call = await _set_out(exchange, step, failure, worker)
        if call is None:
            step = way.fallback(failure) if failure else way.next_target("first")
            continue
        race = Race(exchange, reply, worker) if exchange.may_hedge and way.has_elsewhere else None
        impatience = _impatience(exchange, way)
        try:
            if race is not None:
                return await race.run(step, call, impatience, way)
            attempt = new_attempt(exchange, step)
            return await try_target(exchange, attempt, reply, worker, call, impatience)
        except UpstreamError as error:
            failed = race.last_step if race and race.last_step else step
            exchange.answered = time.perf_counter()
            _count_rate_limits(error, exchange)
            failure = error
            _log(exchange, failed.target, error)
            step = way.after(failed.target, error, failed.role) or way.fallback(error)
            if race is not None and exchange.is_hedged and step is not None:
                step = replace(step, moves=True)  # both have given their limits back
    raise failure or NoTargetAvailable("All targets have just been taken out.", retry_after=1)


async def _set_out(
    exchange: Exchange, step: Step, failure: UpstreamError | None, worker: Worker
) -> Call | None:
    """Leave for the next attempt, with our own limits and the target's health asked; None: not this
    one. Waits where the step says so."""
    if step.wait:
        await asyncio.sleep(step.wait)
    assert exchange.choice is not None
    model = step.target.model
    if step.moves and not await moves.move(worker.admission, exchange, step.target, worker.store):
        exchange.choice.pass_over(model, "no_room")  # our own limit of that target is used up
        return None
    call = await worker.standing.begin(step.target)
    if call is None:
        exchange.choice.pass_over(model, "ill")
    elif step.moves or failure is not None:
        await _start_over(exchange, step.target, worker.store)
    return call


def _impatience(exchange: Exchange, way: Itinerary) -> Impatience:
    """How long the target may be silent; it matters only where another could answer instead."""
    alias = exchange.alias
    assert alias is not None
    if not way.has_elsewhere:
        return Impatience()
    slow = alias.slow.first_byte if alias.slow and "slow" in alias.fallback_on else None
    return Impatience(slow, may_leave="timeout" in alias.fallback_on)


def _log(exchange: Exchange, target: Target, error: UpstreamError) -> None:
    log.info(
        "an attempt failed",
        request_id=exchange.request_id,
        provider=target.model.provider.name,
        model=target.model.name,
        kind=error.kind,
        status=error.upstream_status,
    )


def _count_rate_limits(error: UpstreamError, exchange: Exchange) -> None:
    """A caller is told to slow down only where every attempt was."""
    if any(attempt.error_kind != "rate_limit" for attempt in exchange.attempts):
        error.stays_upstreams()


async def _start_over(exchange: Exchange, target: Target, store: Store) -> None:
    """Forgets what the failed attempt learned, and tells the journal who is asked next."""
    if exchange.answer is not None:
        exchange.answer.abort()
    exchange.answer = exchange.usage = exchange.delivered = None
    exchange.answered = 0.0
    assert exchange.record is not None and exchange.segment is not None
    exchange.target = target
    exchange.record.provider = target.model.provider.name
    exchange.record.model = target.model.name
    exchange.record.upstream_model = target.model.upstream
    store.amend(exchange.segment, exchange.record, exchange.attempts)
