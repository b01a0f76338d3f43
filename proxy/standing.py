"""What one worker knows of its upstreams: how busy and quick they are, which are ill, and how often
they may still be retried."""

import asyncio
import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from proxy import metrics
from proxy.errors import UpstreamError
from proxy.exchange import Exchange
from proxy.patience import Patience
from proxy.store import Store
from proxy.upstream import TOTAL_TIMEOUT, Answer
from routing.choose import State, Target
from routing.health import Health, Opened
from routing.load import InFlight, Load
from routing.permits import Permit
from routing.rate_headers import exhausted_for
from routing.retries import RetryBudgets
from routing.sharing import Sharing
from routing.sharing.alone import Alone
from routing.snapshots import ModelSnapshot
from routing.strategies import Means
from routing.subjects import Subject, of_model
from routing.taken_out import spelled
from tenants import events

log = structlog.get_logger("gateway.standing")

LONGEST_RESET = 60.0
"""Seconds. What a provider calls a reset is when all of a limit is there again; some is sooner."""

Price = Callable[[ModelSnapshot], int | None]


def _is_callers(error: UpstreamError, exchange: Exchange) -> bool:
    """Whether a caller set the time that is over, or took it by reading slowly."""
    if exchange.head_sent and error.message.endswith(TOTAL_TIMEOUT):
        return True
    deadline = exchange.deadline
    return deadline is not None and deadline <= asyncio.get_running_loop().time()


def _alert(opened: Opened, met_by: str | None, store: Store) -> None:
    """Tells whose provider it is; of a provider or model of the gateway's also the tenant whose
    request met it. Credentials are the owner's to know."""
    kind, owner, *name = opened.subject
    now = datetime.datetime.now(datetime.UTC)
    told = {owner} if kind == "credential" or met_by is None else {owner, met_by}
    for tenant in told:
        what = f" of the {kind} {name[-1]}" if tenant == owner and kind != "provider" else ""
        event = events.provider_down(
            tenant=tenant,
            provider=opened.provider,
            reason=f"{opened.reason}{what}",
            since=datetime.datetime.fromtimestamp(opened.since, datetime.UTC),
            now=now,
        )
        store.raise_alert(event)


@dataclass(slots=True)
class Call:
    """One attempt, as load and health hear of it."""

    _standing: "Standing"
    _target: Target
    _load: InFlight
    _permit: Permit
    _failed: bool = False
    _patience: Patience | None = None

    def waits(self, patience: Patience) -> None:
        """Nothing has come yet; when the model turns out to answer nobody, the call may leave."""
        if patience.may_leave:
            self._patience = patience
            self._standing.waiting.setdefault(of_model(self._target.model), {})[patience] = None

    def _waits_no_longer(self) -> None:
        if self._patience is not None:
            del self._standing.waiting[of_model(self._target.model)][self._patience]
            self._patience = None

    def content(self) -> None:
        """The first content, or a whole answer."""
        self._waits_no_longer()
        self._load.first_token(time.perf_counter())
        self._permit.succeeded(time.time())

    def outrun(self) -> None:
        """Another target was quicker: this one took that long, at least."""
        self._load.first_token(time.perf_counter())

    def failed(self, error: UpstreamError, exchange: Exchange) -> None:
        """What the caller may have caused says nothing about the upstream."""
        if error.is_stale or (error.kind == "timeout" and _is_callers(error, exchange)):
            return
        self._failed = not error.blames_request
        now, wait = time.time(), error.retry_after
        if wait is None and error.kind == "rate_limit" and exchange.answer is not None:
            wait = min(exhausted_for(exchange.answer.header, now) or 0.0, LONGEST_RESET) or None
        self._permit.failed(error.kind, now, retry_after=wait)

    def end(self, exchange: Exchange, store: Store) -> None:
        """However it ended."""
        self._waits_no_longer()
        self._load.end(time.perf_counter(), failed=self._failed)
        self._permit.abandoned()
        if exchange.answer is not None:
            self._standing.note_headers(self._target, exchange.answer)
        assert exchange.caller is not None
        self._standing.tell(store, met_by=exchange.caller.tenant.name)


@dataclass(slots=True)
class Standing:
    """One per worker; what it knows of health it shares with the others."""

    sharing: Sharing = field(default_factory=Alone)
    load: Load = field(default_factory=Load)
    health: Health = field(init=False)
    budgets: RetryBudgets = field(default_factory=RetryBudgets)
    waiting: dict[Subject, dict[Patience, None]] = field(default_factory=dict)
    """Calls that nothing has come of yet and that have somewhere else to go, by their model: who
    has waited for longest, and has the least time left, comes first."""

    def __post_init__(self) -> None:
        self.health = Health(self.sharing.circuits)

    def now(self, *, price: Price, worst: Price) -> State:
        """For one choice."""
        means = Means(load=self.load, now=time.perf_counter(), price=price)
        return State(health=self.health, now=time.time(), means=means, worst=worst)

    async def begin(self, target: Target) -> Call | None:
        """None where the target has been taken out meanwhile, or somebody else probes it. Waits for
        nothing, unless this call would be a probe that another worker's may be."""
        model, credential = target.model, target.credential
        permit = self.health.begin(
            model, credential, time.time(), is_last_resort=target.is_last_resort
        )
        if permit is None or (permit.probes and not await self._may_probe(permit)):
            return None
        return Call(self, target, self.load.begin(model.identity, time.perf_counter()), permit)

    async def _may_probe(self, permit: Permit) -> bool:
        try:
            granted = await self.sharing.claim_probe([subject for subject, _ in permit.probes])
        except BaseException:
            permit.abandoned()
            raise
        if not granted:
            permit.forestalled(time.time())
        return granted

    def note_headers(self, target: Target, answer: Answer) -> None:
        """What the provider says is left of its limits."""
        now = time.time()
        spent = exhausted_for(answer.header, now)
        if spent:
            self.health.note_spent(target.model.provider, target.credential, spent, now)

    def tell(self, store: Store, *, met_by: str | None = None) -> None:
        """Logs, counts and alerts of what this worker has taken out; `met_by` is the tenant whose
        request met it, if one did."""
        now = time.time()
        for opened in self.health.take_opened():
            if opened.reason == "timeout":  # those who were sent before need not wait as long
                for patience in self.waiting.get(opened.subject, ()):
                    patience.leave()
            kind, subject = opened.subject[0], spelled(opened.subject)
            metrics.count_opened(kind, subject, opened.reason)
            log.warning(
                f"a {kind} is taken out",
                subject=subject,
                reason=opened.reason,
                seconds=round(opened.until - now, 3),
            )
            if opened.is_down:
                _alert(opened, met_by, store)
