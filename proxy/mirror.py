"""A share of the traffic, copied to a candidate after its caller has been answered: answered by
nobody, charged to nobody, and an attempt of its request all the same.

What a copy costs is held against the gateway's budgets before it is sent and settled after, as for
a request; where they have no room, or too many copies are on their way, none is made.
"""

import asyncio
import random
from collections.abc import Callable, MutableMapping
from fractions import Fraction
from typing import Any

import structlog

from billing.claims import Claim
from billing.counters.asks import Admitted, Cold, CountersAway, Hold
from billing.journal import Segment
from billing.records import AttemptRow, Entry
from proxy import metrics
from proxy.admit import TRIES, used_of
from proxy.beside import note_use
from proxy.chat.usage import Usage
from proxy.choose import is_spoken, rates_of
from proxy.claims import Wanted
from proxy.clamping import expose
from proxy.errors import GatewayError, StoreUnavailable, UpstreamError
from proxy.exchange import Exchange
from proxy.itinerary import Step
from proxy.meter import quick_count
from proxy.one_attempt import new_attempt, try_target
from proxy.prices import Prices
from proxy.reply import Reply
from proxy.standing import Call
from proxy.worker import Worker
from routing.choose import Choice, Target, candidate

log = structlog.get_logger("gateway.mirror")

MOST_COPIES = 20
"""On their way at once, in one worker: a copy holds its request in memory."""
NOBODY = Fraction(0)
"""The share of its price that is charged for it."""


def offer(exchange: Exchange, worker: Worker, draw: Callable[[], float] = random.random) -> None:
    """Copies a request that was answered well, where its alias has a mirror and it is drawn."""
    alias = exchange.alias
    if alias is None or alias.mirror is None or exchange.outcome != "completed":
        return
    if exchange.endpoint.kind == "count" or draw() >= alias.mirror.share:
        return
    if len(worker.copies) >= MOST_COPIES:
        metrics.count_copy(alias.name, "too_many")
        return
    task = asyncio.create_task(_mirror(exchange, alias.name, worker))
    worker.copies.add(task)
    task.add_done_callback(worker.copies.discard)


async def stop(worker: Worker) -> None:
    """Nobody waits for copies: each is cut, and settled as what it was."""
    for task in worker.copies:
        task.cancel()
    await asyncio.gather(*worker.copies, return_exceptions=True)


async def _nobody(message: MutableMapping[str, Any]) -> None:
    pass


async def _mirror(exchange: Exchange, alias: str, worker: Worker) -> None:
    try:
        copy = _copy(exchange, worker)
        outcome = copy if isinstance(copy, str) else await _send(copy, worker)
    except (CountersAway, StoreUnavailable):
        outcome = "store_away"
    except Exception:
        log.exception("a copy failed inside the gateway", request_id=exchange.request_id)
        outcome = "failed"
    metrics.count_copy(alias, outcome)


def _copy(exchange: Exchange, worker: Worker) -> Exchange | str:
    """The request as if it had just been admitted for the candidate; where it cannot be sent, a
    word that says why."""
    assert exchange.alias is not None and exchange.alias.mirror is not None
    model = exchange.alias.mirror.model
    rates = rates_of(exchange, model)
    if not is_spoken(model) or rates.cost is None:
        return "no_price" if rates.cost is None else "not_spoken"
    prices = Prices(exchange, lambda asked: rates_of(exchange, asked))
    target = candidate(model, worker.standing.now(price=prices.expected, worst=prices.worst))
    if target is None:
        return "unwell"
    copy = exchange.fork()
    copy.rates = {model.identity: rates}
    copy.attempts = list(exchange.attempts)
    copy.choice = Choice(route=None, targets=(target,))
    copy.target, copy.deadline = target, None
    copy.answer = copy.usage = copy.delivered = copy.hold = copy.reserved = None
    copy.claims, copy.levels, copy.warnings = [], (), []
    copy.head_sent = copy.is_hedged = copy.usage_is_early = False
    copy.first_token = copy.answered = 0.0
    expose(copy)
    return copy


async def _send(copy: Exchange, worker: Worker) -> str:
    """What became of the copy. What it may cost is held from before it is sent until it is
    settled."""
    assert copy.record is not None
    attempt = new_attempt(copy, Step(_target(copy), "mirror"))
    note_use(copy, attempt, NOBODY, Usage(input=quick_count(copy.raw)))
    entry = Entry(True, copy.record, copy.attempts)
    claims = _claims(copy, worker)
    hold = Hold(entry.hold_id, [claim.ask for claim in claims])
    if not await _take(hold, claims, entry, worker):
        return "no_room"
    call: Call | None = None
    try:
        call = await worker.standing.begin(_target(copy))
        if call is None:
            await worker.admission.counters.release(hold)
            return "unwell"
        segment, hold.entry = worker.store.add(entry)
    except BaseException:
        if call is not None:
            call.end(copy, worker.store)
        await worker.admission.counters.release(hold)
        raise
    try:
        return await _call(copy, attempt, call, worker)
    finally:
        await _settle(entry, segment, hold, claims, worker)


def _target(copy: Exchange) -> Target:
    assert copy.target is not None
    return copy.target


def _claims(copy: Exchange, worker: Worker) -> list[Claim]:
    plans = worker.admission.plans
    body = copy.body
    want = Wanted(list(copy.exposures.values()), answers=body.answers, asked=body.output_limit)
    plan = plans.of_caller(copy)
    copy.reserved = want.most("cost") if plan.is_hard else None  # and its answer is held to that
    return plans.mirror_outline(copy, plan, _target(copy)).claims(want, is_free=False)


async def _take(hold: Hold, claims: list[Claim], entry: Entry, worker: Worker) -> bool:
    admission = worker.admission
    if admission.counters.keeps_entries:
        hold.entry = worker.store.line(entry.record, entry.attempts, settled=True)
    for _ in range(TRIES):
        answer = await admission.take(hold, claims, worker.store)
        if not isinstance(answer, Cold):
            return isinstance(answer, Admitted)
    return False


async def _call(copy: Exchange, attempt: AttemptRow, call: Call, worker: Worker) -> str:
    """Its answer goes nowhere; what it used is noted. What failed costs nothing."""
    try:
        await try_target(copy, attempt, Reply(_nobody), worker, call)
    except GatewayError as error:
        if not isinstance(error, UpstreamError):
            attempt.error_kind, attempt.error = error.code, error.message[:500]
        attempt.cost, attempt.usage = 0, None
        return "failed"
    except asyncio.CancelledError:
        note_use(copy, attempt, NOBODY)
        return "cancelled"
    finally:
        if copy.answer is not None:
            await copy.answer.close()
    note_use(copy, attempt, NOBODY)
    return "answered"


async def _settle(
    entry: Entry, segment: Segment, hold: Hold, claims: list[Claim], worker: Worker
) -> None:
    hold.entry = worker.store.settle(segment, entry)
    try:
        settled = await worker.admission.counters.settle(hold, used_of(claims, entry.billed))
    except CountersAway:
        settled = ()  # the engine goes on trying
    if settled is None:
        worker.store.drop(segment)
        return
    worker.store.enqueue(segment, entry)
