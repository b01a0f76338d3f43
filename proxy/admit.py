"""Admission: limits and budgets over all scopes at once, then the line that makes it durable.

A hard budget reserves the worst that the request may cost at the dearest target that its route may
reach. Where that does not fit, the answer is held to as many tokens as do, and asked for again:
what was short is known from the refusal, and every try is atomic. After admission a request has a
usage record, whatever happens.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence

import structlog

from billing.budgets import Purse
from billing.claims import Claim
from billing.counters.asks import (
    NO_LIMIT,
    PURSE,
    Admitted,
    Answer,
    Cold,
    Counters,
    CountersAway,
    Hold,
    Refused,
    Short,
    tag_of,
)
from billing.limits import Limit
from billing.plans import Plan
from billing.records import Record
from proxy import metrics
from proxy.budget_shares import BudgetShares
from proxy.claims import Plans, Wanted
from proxy.clamping import NoRoom, expose, hold_to, pass_over, room_for
from proxy.errors import StoreUnavailable
from proxy.exchange import Exchange
from proxy.lines import Line
from proxy.notices import Notices, currency_of
from proxy.refusals import check_size, over_budget, over_limit
from proxy.settle import first_record
from proxy.store import Store
from routing.choose import Target
from routing.snapshots import Queue

log = structlog.get_logger("gateway.admit")

TRIES = 8
"""Between a refusal and the next try, others may have taken the room that was left."""


class Admission:
    """One per worker."""

    def __init__(self, counters: Counters, *, fails_open: bool) -> None:
        self.counters = counters
        self._fails_open = fails_open
        self._plans = Plans()
        self._shares = BudgetShares()
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._notices = Notices()
        self._lines: dict[tuple[str, str], Line] = {}
        """Who waits for a provider, by its owner and name."""

    async def admit(self, exchange: Exchange, store: Store) -> None:
        """Fills `hold`, `claims` and the first record, and makes it durable. Raises
        RateLimitExceeded, InsufficientQuota, InvalidRequest, StoreUnavailable."""
        plan = self._plans.of_caller(exchange)
        expose(exchange)
        try:
            await self._enter(exchange, store, plan)
        except CountersAway as error:
            self._go_on_without(exchange, plan, error)
        record = exchange.record or first_record(exchange)
        try:
            exchange.segment = store.admit(record, exchange.attempts)
        except BaseException:
            exchange.record = None
            await self.release(exchange)
            raise

    def _go_on_without(self, exchange: Exchange, plan: Plan, error: CountersAway) -> None:
        """What GATEWAY_ON_STORE_FAILURE says; a hard budget is never skipped."""
        exchange.claims, exchange.hold, exchange.levels = [], None, ()
        metrics.count_store_failure("skipped" if self._fails_open else "refused")
        if not self._fails_open or plan.is_hard:
            exchange.record = None
            raise StoreUnavailable(
                "Limits and budgets cannot be checked now.", retry_after=1
            ) from error

    async def _enter(self, exchange: Exchange, store: Store, plan: Plan) -> None:
        """At once, or in turn where the first target's provider lets requests wait for its own
        limits, and that is all that is in the way."""
        choice, caller = exchange.choice, exchange.caller
        assert choice is not None and caller is not None
        provider = choice.targets[0].model.provider
        if provider.queue is None:
            await self._reserve(exchange, store, plan)
            return
        line = self._lines.setdefault((provider.tenant, provider.name), Line())

        async def attempt() -> int | None:
            exchange.choice = choice
            expose(exchange)
            try:
                await self._reserve(exchange, store, plan)
            except NoRoom as error:
                if error.wait is None:
                    raise
                return error.wait
            return None

        if len(line) or await attempt() is not None:
            await line.wait(
                _patience(provider.queue, exchange),
                tenant=caller.tenant.name,
                weight=caller.tenant.weight,
                attempt=attempt,
                leave=lambda: self.release(exchange),
            )

    async def _reserve(self, exchange: Exchange, store: Store, plan: Plan) -> None:
        for _ in range(TRIES):
            claims = self._claims(exchange, plan)
            if not claims and not self.counters.keeps_entries:
                return
            answer = await self._ask(exchange, store, claims)
            if type(answer) is Admitted:
                exchange.claims, exchange.levels = claims, answer.levels
                return
            exchange.hold = exchange.record = None
            if isinstance(answer, Refused):
                self._react(exchange, store, claims, answer.short)
        raise StoreUnavailable("Limits and budgets change too quickly now.", retry_after=1)

    def _claims(self, exchange: Exchange, plan: Plan) -> list[Claim]:
        body, choice = exchange.body, exchange.choice
        assert choice is not None
        outline = self._plans.outline(exchange, plan, choice.targets[0])
        want = Wanted(
            list(exchange.exposures.values()), answers=body.answers, asked=body.output_limit
        )
        exchange.reserved = want.most("charge") if plan.is_hard else None
        if outline.smallest is not None:
            check_size(outline.smallest, _surely(exchange))
        return outline.claims(want, is_free=exchange.endpoint.kind == "count")

    async def _ask(self, exchange: Exchange, store: Store, claims: list[Claim]) -> Answer:
        hold = Hold(exchange.record_id, [claim.ask for claim in claims])
        if self.counters.keeps_entries:
            hold.entry = store.line(first_record(exchange), exchange.attempts)
        answer = await self.counters.admit(hold)
        if type(answer) is Admitted:
            exchange.hold = hold
        elif isinstance(answer, Cold):
            await asyncio.gather(*(self._warm(claims[place], store) for place in answer.places))
        return answer

    # ---- what was short

    def _react(
        self, exchange: Exchange, store: Store, claims: Sequence[Claim], short: Sequence[Short]
    ) -> None:
        """Asks for less, or of another target. Raises what the caller is told when neither
        helps."""
        purses = [one for one in short if isinstance(claims[one.place].rule, Purse)]
        limits = [one for one in short if isinstance(claims[one.place].rule, Limit)]
        fits = room_for(exchange, claims, purses) if purses else None
        if purses and fits is None:
            worst = min(purses, key=lambda one: one.room)
            self._notices.exhausted(exchange, claims[worst.place], worst.room, store)
            raise over_budget(
                claims[worst.place], worst, currency_of(exchange, claims[worst.place]), time.time()
            )
        own = [one for one in limits if not claims[one.place].is_targets]
        if own:
            worst = max(own, key=lambda one: one.wait)
            self._notices.limited(claims[worst.place], store)
            raise over_limit(claims[worst.place], worst)
        if limits:
            worst = max(limits, key=lambda one: one.wait)
            self._notices.limited(claims[worst.place], store)
            waits = all(_is_providers(claims[one.place]) for one in limits)
            pass_over(
                exchange, over_limit(claims[worst.place], worst), worst.wait if waits else None
            )
        if fits is not None:
            hold_to(exchange, fits)

    # ---- counters that are cold

    async def _warm(self, claim: Claim, store: Store) -> None:
        """All who need the same counter wait for one reading."""
        key = claim.ask.key
        task = self._warming.get(key)
        if task is None:
            task = self._warming[key] = asyncio.create_task(self._rebuild(claim, store))
            task.add_done_callback(lambda _: self._warming.pop(key, None))
        await asyncio.shield(task)

    async def _rebuild(self, claim: Claim, store: Store) -> None:
        for _ in range(TRIES):
            held = await self.counters.held(tag_of(claim.ask.key))
            try:
                total = await store.used(
                    claim.rule, claim.scope, claim.period, key=claim.ask.key, apart_from=held
                )
            except StoreUnavailable as error:
                raise CountersAway(error.message) from error
            if await self.counters.warm(claim.ask, total, held):
                return

    # ---- another target, and the end

    async def move(self, exchange: Exchange, target: Target, store: Store) -> bool:
        """Takes the limits of another target, and gives back those of the last. False: they are
        used up. With the counters away the attempt goes on: its budget is held."""
        exposures = [exchange.exposures[target.model.identity]]
        body = exchange.body
        want = Wanted(exposures, answers=body.answers, asked=body.output_limit)
        is_free = exchange.endpoint.kind == "count"
        claims = self._plans.target_outline(exchange, target).claims(want, is_free=is_free)
        if not claims and not any(claim.is_targets for claim in exchange.claims):
            return True
        try:
            return await self._change(exchange, store, claims)
        except (CountersAway, StoreUnavailable):
            return True

    async def _change(self, exchange: Exchange, store: Store, claims: list[Claim]) -> bool:
        """The claims follow what the hold has become: after any answer the last target's are
        settled, and with none nobody knows, so that they stay as they were."""
        last = [claim for claim in exchange.claims if claim.is_targets]
        given = [(claim.ask, _failed_use(claim)) for claim in last]
        asks = [claim.ask for claim in claims]
        for _ in range(TRIES):
            if exchange.hold is None:
                answer = await self._ask(exchange, store, claims)
            else:
                answer = await self.counters.change(exchange.hold, given, asks)
            if given:
                given = []
                _leave(exchange)
            if type(answer) is Admitted:
                exchange.claims = [*exchange.claims, *claims]
                exchange.levels = [*exchange.levels, *answer.levels]
                return True
            if isinstance(answer, Refused):
                return False
            assert isinstance(answer, Cold)
            if exchange.hold is not None:
                await asyncio.gather(*(self._warm(claims[place], store) for place in answer.places))
        return False

    async def settle(self, exchange: Exchange, store: Store) -> bool:
        """Replaces what was reserved by what was used. False: a sweep was quicker, and its record
        stands. Raises CountersAway, and then the engine goes on trying."""
        hold = exchange.hold
        assert hold is not None
        exchange.hold = None
        assert exchange.record is not None
        used = _used(exchange.claims, exchange.record)
        try:
            settled = await self.counters.settle(hold, used)
        finally:
            self._tell_lines(exchange)
        if settled is None:
            return False
        if exchange.snapshot.routing.asks_budgets:
            self._shares.note(exchange.claims, settled)
        self._notices.settled(exchange, settled, store)
        return True

    def _tell_lines(self, exchange: Exchange) -> None:
        """Something of a provider's was given back."""
        if self._lines and exchange.target is not None:
            provider = exchange.target.model.provider
            line = self._lines.get((provider.tenant, provider.name))
            if line is not None:
                line.release()

    def budget_used(self, exchange: Exchange) -> float | None:
        """The share of the tightest budget that the request would meet, as last seen here."""
        plan = self._plans.of_caller(exchange)
        return self._shares.tightest(self._plans.purse_claims(exchange, plan))

    async def release(self, exchange: Exchange) -> None:
        """Gives everything back, as if the request had not been."""
        if exchange.hold is not None:
            hold, exchange.hold = exchange.hold, None
            try:
                await self.counters.release(hold)
            except CountersAway as error:
                log.warning("a hold expires with its worker", error=str(error))
            self._tell_lines(exchange)


async def finish(settling: Awaitable[bool]) -> bool:
    """Waits for it to the end, whoever cancels the waiting."""
    task = asyncio.ensure_future(settling)
    while not task.done():
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()


def _patience(queue: Queue, exchange: Exchange) -> Queue:
    """The queue, for no longer than the caller is willing to wait in all."""
    if exchange.deadline is None:
        return queue
    left = max(exchange.deadline - asyncio.get_running_loop().time(), 0.0)
    return Queue(queue.max_waiting, min(queue.max_wait, left))


def _is_providers(claim: Claim) -> bool:
    return any(column == "provider" for column, _ in claim.rule.scope.where)


def _leave(exchange: Exchange) -> None:
    """The claims without the last target's."""
    kept = [
        (claim, level)
        for claim, level in zip(exchange.claims, exchange.levels, strict=True)
        if not claim.is_targets
    ]
    exchange.claims = [claim for claim, _ in kept]
    exchange.levels = [level for _, level in kept]


def _failed_use(claim: Claim) -> int:
    """What a target's limit is left with after a failed attempt: the request was made."""
    assert isinstance(claim.rule, Limit)
    return claim.ask.take if claim.rule.unit == "requests" else 0


def _surely(exchange: Exchange) -> int:
    """Tokens that a request takes at least, by a careful guess: a quarter of its bytes that are no
    media, and the output that it asks for."""
    choice = exchange.choice
    assert choice is not None
    output = exchange.exposures[choice.targets[0].model.identity].bound.output
    wanted: int = (exchange.body.output_limit or 0) * exchange.body.answers
    return exchange.input_bytes // 4 + (wanted if output is None else min(wanted, output))


def _used(claims: Sequence[Claim], record: Record) -> list[int]:
    """What a settled request used of each counter."""
    tokens = (
        record.input_tokens
        + record.cached_input_tokens
        + record.cache_write_tokens
        + record.output_tokens
        + record.reasoning_tokens
    )
    by_unit = {"charge": record.charge or 0, "cost": record.cost or 0, "tokens": tokens}
    used = []
    for rule, _, _, ask in claims:
        if ask[0] == PURSE:
            amount = by_unit[rule.unit]
            used.append(min(amount, ask[2]) if ask[3] != NO_LIMIT else amount)
        else:
            used.append(tokens if rule.unit == "tokens" else ask[2])
    return used
