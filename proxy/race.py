"""A second target where the first has sent nothing for a while: whoever speaks first answers.

Strategy: each runner has a fork of the exchange, so that nothing of a loser shows. The winner is
who first sends the head of a stream, or first has a whole answer. The loser is cancelled in the
same turn of the loop, and what it used is noted on its attempt: providers bill what they were
asked.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from billing.claims import Claim
from billing.records import AttemptRow
from proxy import moves
from proxy.beside import note_use
from proxy.chat.usage import Usage
from proxy.errors import GatewayError
from proxy.exchange import Exchange
from proxy.itinerary import Itinerary, Step
from proxy.meter import quick_count
from proxy.one_attempt import new_attempt, try_target
from proxy.patience import ENDLESS, Impatience
from proxy.reply import Header, Reframer, Reply
from proxy.settle import price
from proxy.standing import Call
from proxy.worker import Worker


@dataclass(slots=True, eq=False)
class _Runner:
    exchange: Exchange
    step: Step
    attempt: AttemptRow
    call: Call
    claims: list[Claim]
    """The limits of its target."""
    task: "asyncio.Task[bytes]"

    @property
    def is_heard(self) -> bool:
        """Of a stream its first content, of a whole answer its head."""
        exchange = self.exchange
        return exchange.head_sent if exchange.stream else exchange.answer is not None


class _Lane(Reply):
    """The caller, as a runner sees it: the first word decides."""

    def __init__(self, reply: Reply, race: "Race", fork: Exchange) -> None:
        self._reply, self._race, self._fork = reply, race, fork

    async def start_stream(
        self, content_type: str, headers: Iterable[Header], reframer: Reframer | None
    ) -> None:
        self._race.decide(self._fork)
        await self._reply.start_stream(content_type, headers, reframer)

    async def write(self, data: bytes) -> None:
        await self._reply.write(data)


class Race:
    """One request's. `last_step` is what failed last, where all did."""

    def __init__(self, exchange: Exchange, reply: Reply, worker: Worker) -> None:
        self._exchange, self._reply, self._worker = exchange, reply, worker
        self._runners: list[_Runner] = []
        self._winner: _Runner | None = None
        self.last_step: Step | None = None

    async def run(self, step: Step, call: Call, impatience: Impatience, way: Itinerary) -> bytes:
        """The last bytes of whoever wins. Raises the UpstreamError of the last that failed."""
        alias = self._exchange.alias
        assert alias is not None
        first_claims = [claim for claim in self._exchange.claims if claim.is_targets]
        first = self._start(step, call, first_claims, impatience)
        try:
            await asyncio.wait({first.task}, timeout=alias.hedge)
            if self._first_is_silent:
                await self._hedge(way)
            return await self._finish()
        finally:
            await self._stop()

    def decide(self, fork: Exchange) -> None:
        """The runner of this exchange has something to say. Raises CancelledError where another one
        was quicker."""
        if self._winner is None:
            self._winner = next(one for one in self._runners if one.exchange is fork)
            for runner in self._runners:
                if runner is not self._winner:
                    runner.task.cancel()
        elif self._winner.exchange is not fork:
            raise asyncio.CancelledError

    def _start(
        self, step: Step, call: Call, claims: list[Claim], impatience: Impatience = ENDLESS
    ) -> _Runner:
        fork = self._exchange.fork()
        attempt = new_attempt(fork, step)
        lane = _Lane(self._reply, self, fork)
        running = try_target(fork, attempt, lane, self._worker, call, impatience)
        runner = _Runner(fork, step, attempt, call, claims, asyncio.create_task(running))
        self._runners.append(runner)
        return runner

    async def _hedge(self, way: Itinerary) -> None:
        """Starts the next target beside the first, where its limits have room and it is well."""
        exchange, worker = self._exchange, self._worker
        is_priced = self._is_priced(self._runners[0].step)
        step = way.next_target("hedge") if is_priced else None
        if step is None:
            return
        exchange.may_hedge = False
        assert exchange.choice is not None
        if not self._is_priced(step):
            exchange.choice.pass_over(step.target.model, "no_price")
            way.give_back(step)
            return
        claims = await moves.join(worker.admission, exchange, step.target, worker.store)
        if claims is None:
            exchange.choice.pass_over(step.target.model, "no_room")
            return
        call = await worker.standing.begin(step.target)
        if call is not None and self._first_is_silent:
            self._note_start(self._start(step, call, claims))
            return
        if call is None:
            exchange.choice.pass_over(step.target.model, "ill")
        else:  # the first has woken up meanwhile
            call.end(exchange, worker.store)
            way.give_back(step)
        await moves.leave(worker.admission, exchange, claims, 0)

    def _is_priced(self, step: Step) -> bool:
        """Of one that has no price nobody can say what it costs to lose."""
        return None not in self._exchange.rates[step.target.model.identity]

    @property
    def _first_is_silent(self) -> bool:
        first = self._runners[0]
        return not first.task.done() and not first.is_heard

    def _note_start(self, runner: _Runner) -> None:
        """From here on two targets may bill the request, and its journal says so."""
        exchange = self._exchange
        assert exchange.record is not None and exchange.segment is not None
        assert exchange.caller is not None
        asked = Usage(input=quick_count(exchange.raw))
        exchange.is_hedged = True
        tenant = exchange.caller.tenant
        note_use(runner.exchange, runner.attempt, tenant.hedge_loser, asked)
        price(exchange, asked, "estimated", tenant.on_disconnect)
        self._worker.store.amend(exchange.segment, exchange.record, exchange.attempts)

    async def _finish(self) -> bytes:
        """Waits for the winner; a runner that fails leaves the race to the other."""
        running = {runner.task for runner in self._runners}
        failure: GatewayError | None = None
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for runner in [one for one in self._runners if one.task in done]:
                error = None if runner.task.cancelled() else runner.task.exception()
                if self._winner is None and error is None:
                    self.decide(runner.exchange)
                if error is not None and self._winner in (None, runner):
                    self.last_step = runner.step
                    if self._winner is runner or not isinstance(error, GatewayError):
                        raise error
                    failure = error
                if runner is not self._winner:
                    await self._drop(runner, error)
        if self._winner is None:
            raise failure or asyncio.CancelledError
        return self._winner.task.result()

    async def _drop(self, runner: _Runner, error: BaseException | None) -> None:
        """It lost, or failed: the limits of its target are given back while another one runs."""
        used = self._note_loss(runner) if error is None else self._note_nothing(runner)
        if len(self._runners) > 1:
            admission = self._worker.admission
            await moves.leave(admission, self._exchange, runner.claims, used)

    def _note_loss(self, runner: _Runner) -> int:
        """Tokens that its provider will bill. One that lost before its task had begun was never
        asked, and nothing else ends its call."""
        assert self._exchange.caller is not None
        was_asked = bool(runner.attempt.error_kind) or runner.attempt.status is not None
        runner.attempt.error_kind = "lost"
        if not was_asked:
            runner.call.end(runner.exchange, self._worker.store)
            return self._note_nothing(runner)
        factor = self._exchange.caller.tenant.hedge_loser
        runner.call.outrun()
        _abort(runner)
        return note_use(runner.exchange, runner.attempt, factor)

    def _note_nothing(self, runner: _Runner) -> int:
        """Nobody is charged for what failed; what won is billed by the record."""
        runner.attempt.cost = runner.attempt.charge = runner.attempt.usage = None
        if runner is not self._winner:
            _abort(runner)
        return 0

    async def _stop(self) -> None:
        """However it ended: nobody runs on, and what the winner has learned is the request's."""
        running = [runner for runner in self._runners if not runner.task.done()]
        for runner in running:
            runner.task.cancel()
        await asyncio.gather(*(runner.task for runner in running), return_exceptions=True)
        winner = self._winner or next(iter(running), self._runners[0])
        self._note_nothing(winner)
        for runner in running:
            if runner is not winner:
                self._note_loss(runner)
        self._exchange.take_over(winner.exchange)


def _abort(runner: _Runner) -> None:
    if runner.exchange.answer is not None:
        runner.exchange.answer.abort()
