"""Lists of models, asked beside all requests: what is taken out comes back without a caller's
request being the probe, and a provider that is dead is found before callers find it.

A GET costs no tokens, and of its answer only the head is read. Of several workers one asks each
provider, for as long as it lives. What a list can tell, and what not, stands in
docs/decisions/2026-11-25-shared-health.md.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from proxy import metrics
from proxy.dialects import OUTBOUND
from proxy.errors import StoreUnavailable, UpstreamError
from proxy.standing import Standing
from proxy.store import Store
from proxy.upstream import Upstreams
from routing.snapshots import (
    CredentialSnapshot,
    ModelSnapshot,
    ProviderSnapshot,
    RoutingSnapshot,
    Timeouts,
)
from routing.terms import Probe

log = structlog.get_logger("gateway.probing")

LISTS: Mapping[str, str] = {
    "openai": "/models",
    "responses": "/models",
    "anthropic": "/v1/models",
    "gemini": "/models",
    "mistral": "/models",
    "ollama": "/api/tags",
}
"""Where each dialect lists models, behind the base URL."""

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_TO_ASK_AGAIN = 1.0
"""After a failure, until the breaker has seen enough."""
BEFORE_THE_END = 0.8
"""Of a cool-down: what is ill still is known to be before a caller's request would be a probe."""
MOST_CREDENTIALS = 10
"""Refused ones that are asked in one round."""


@dataclass(slots=True)
class Round:
    """One provider, its models, and when (by the monotonic clock) it was asked last."""

    provider: ProviderSnapshot
    probe: Probe
    models: tuple[ModelSnapshot, ...]
    asked_at: float
    is_failing: bool = False
    under_way: asyncio.Task[None] | None = None


class Prober:
    """One per worker. `start` and `stop` belong to the ASGI lifespan."""

    def __init__(self, store: Store, standing: Standing, upstreams: Upstreams) -> None:
        self._store, self._standing, self._upstreams = store, standing, upstreams
        self._routing: RoutingSnapshot | None = None
        self._rounds: dict[tuple[str, str], Round] = {}
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look_in_turn(), name="probe")

    async def stop(self) -> None:
        """Answers under way are not waited for."""
        under_way = [one.under_way for one in self._rounds.values()]
        tasks = [task for task in (self._looking, *under_way) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_in_turn(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            try:
                self._look(self._store.snapshot.routing)
            except StoreUnavailable:
                continue
            except Exception:
                log.exception("nobody asks for lists of models now")

    def _look(self, routing: RoutingSnapshot) -> None:
        now = time.monotonic()
        if routing is not self._routing:
            self._routing, self._rounds = routing, rounds_of(routing, self._rounds, now)
        for one in self._rounds.values():
            if one.under_way is None and now - one.asked_at >= self._pace(one):
                one.under_way = asyncio.create_task(self._go(one))

    def _pace(self, one: Round) -> float:
        """Seconds between two questions: fewer while something is out, or about to be."""
        interval, provider = one.probe.interval, one.provider
        if self._standing.health.waits_for_lists(provider, one.models):
            return min(interval, provider.breaker.cooldown * BEFORE_THE_END)
        return min(interval, SECONDS_TO_ASK_AGAIN) if one.is_failing else interval

    async def _go(self, one: Round) -> None:
        one.asked_at = time.monotonic()
        try:
            turn = f"{one.provider.tenant}/{one.provider.name}"
            seconds = 2 * one.probe.interval + one.probe.timeout
            one.is_failing = await self._standing.sharing.claim_turn(
                turn, seconds
            ) and not await self._ask(one)
        except Exception:
            log.exception("a list of models cannot be asked for", provider=one.provider.name)
        finally:
            one.under_way = None

    async def _ask(self, one: Round) -> bool:
        """Whether the provider answers, with a credential that is well, and then with each that was
        refused."""
        health, provider = self._standing.health, one.provider
        pool: Iterable[CredentialSnapshot | None] = provider.credentials or (None,)
        refused = [each for each in pool if health.is_refused(provider, each, time.time())]
        well = [each for each in pool if each not in refused]
        for credential in [*well[:1], *refused[:MOST_CREDENTIALS]]:
            try:
                status = await self._status(one, credential)
            except UpstreamError as error:
                self._note(one, error.kind)
                return False
            if status >= 500:
                self._note(one, "server_error")
                return False
            was_taken = 200 <= status < 300
            metrics.count_probe(provider.name, "answered" if was_taken else "refused")
            health.list_answered(provider, credential, one.models, time.time(), was_taken=was_taken)
        return True

    def _note(self, one: Round, kind: str) -> None:
        metrics.count_probe(one.provider.name, kind)
        self._standing.health.list_failed(one.provider, kind, time.time())
        self._standing.tell(self._store)

    async def _status(self, one: Round, credential: CredentialSnapshot | None) -> int:
        """Raises UpstreamError."""
        provider, seconds = one.provider, one.probe.timeout
        fixed = {name: text for name, text in provider.inject_headers.items() if "{" not in text}
        secret = credential.secret if credential else None
        answer = await self._upstreams.get(
            provider.base_url + (one.probe.path or LISTS[provider.dialect]),
            headers=[
                ("accept-encoding", "identity"),
                *OUTBOUND[provider.dialect].headers(secret),
                *fixed.items(),
            ],
            timeouts=Timeouts(seconds, seconds, seconds, seconds),
            total_at=asyncio.get_running_loop().time() + seconds,
        )
        answer.abort()
        return answer.status


def rounds_of(
    routing: RoutingSnapshot, before: Mapping[tuple[str, str], Round], now: float
) -> dict[tuple[str, str], Round]:
    """A round for each provider that says so and can be asked; those under way go on."""
    models: dict[tuple[str, str], list[ModelSnapshot]] = {}
    for model in routing.models.values():
        models.setdefault((model.provider.tenant, model.provider.name), []).append(model)
    rounds = {}
    for name, own in models.items():
        provider = own[0].provider
        is_usable = provider.credentials or not provider.needs_credential
        if provider.probe is None or provider.dialect not in OUTBOUND or not is_usable:
            continue
        rounds[name] = Round(provider, provider.probe, tuple(own), now)
        if last := before.get(name):
            rounds[name].asked_at, rounds[name].is_failing = last.asked_at, last.is_failing
    return rounds
