"""Which targets may answer, in the order to try them. Pure: facts and state in, targets out.

routes -> the first that holds -> its targets, by caller or strategy -> then the fallbacks
       -> without those that have no credential, are too dear, are ill, or cannot take the input
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from routing.conditions import holds
from routing.facts import Facts
from routing.health import Health
from routing.snapshots import (
    AliasSnapshot,
    CredentialSnapshot,
    ModelSnapshot,
    RouteSnapshot,
)
from routing.sticky import in_sticky_order
from routing.strategies import Means, in_order, in_weighted_order, no_price


@dataclass(slots=True)
class Target:
    """A model that a route chose, with the credential to use (none where none is needed), and the
    rest of its pool in the order to try."""

    model: ModelSnapshot
    credential: CredentialSnapshot | None
    is_fallback: bool = False
    others: tuple[CredentialSnapshot, ...] = ()
    is_last_resort: bool = False
    """Its credential was refused lately, and there is nothing else to try."""

    def with_next_credential(self, *, of_other_account: bool = True) -> "Target | None":
        """The same model with the next credential of its pool, by default of another account: those
        of one share its limits. None when there is none."""
        account = self.credential.account if self.credential and of_other_account else ""
        left = [one for one in self.others if not account or one.account != account]
        return replace(self, credential=left[0], others=tuple(left[1:])) if left else None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model that was left out: `no_credential`, `too_dear`, `ill` or `cannot_take_it`; later also
    `not_spoken`, `no_price` or `no_room`. One that is `slow` is asked when all others have been.

    `detail` says more of two: the seconds that what is ill has left (`14.2s`), and what a model
    that cannot take it lacks (`context_window`, or capabilities).
    """

    model: ModelSnapshot
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Choice:
    """The route that decided (None when none held) and the targets to try.

    Without any target, `retry_after` are the seconds until the first of them is well again, and
    None where waiting does not help; `is_too_dear` says that all usable ones cost too much.
    """

    route: RouteSnapshot | None
    targets: tuple[Target, ...]
    passed_over: tuple[PassedOver, ...] = ()
    retry_after: float | None = None

    def pass_over(self, model: ModelSnapshot, reason: str) -> None:
        """Notes a model that is left out after all."""
        self.passed_over = (*self.passed_over, PassedOver(model, reason))

    @property
    def is_too_dear(self) -> bool:
        reasons = {one.reason for one in self.passed_over}
        return not self.targets and "too_dear" in reasons and "ill" not in reasons


@dataclass(slots=True)
class State:
    """What is known beside the request. `now` is in seconds since the epoch; `worst` gives the most
    that it can cost at a model in nano-units, None where nobody knows."""

    health: Health = field(default_factory=Health)
    now: float = 0.0
    means: Means = field(default_factory=Means)
    worst: Callable[[ModelSnapshot], int | None] = no_price


def _route(alias: AliasSnapshot, facts: Facts) -> RouteSnapshot | None:
    for route in alias.routes:
        if not route.when or holds(route.when, facts):
            return route
    return None


def _models(
    alias: AliasSnapshot, route: RouteSnapshot, facts: Facts, means: Means
) -> Iterator[tuple[ModelSnapshot, bool]]:
    """Every model once, in order, and whether it is a fallback. Who is to stay on a side does so
    whatever the strategy."""
    if route.sticky:
        ordered = in_sticky_order(alias, route, facts)
    else:
        name = (alias.tenant, alias.name, str(route.position))
        ordered = in_order(route.strategy, route.targets, means, name)
    seen: set[int] = set()
    for model, is_fallback in [
        *((target.model, False) for target in ordered),
        *((model, True) for model in alias.fallbacks),
    ]:
        if id(model) not in seen:
            seen.add(id(model))
            yield model, is_fallback


def _pool(model: ModelSnapshot, state: State) -> list[CredentialSnapshot]:
    """The credentials that may be used now: drawn by weight, then the spare ones, and last those of
    which the provider says that nothing is left."""
    provider, health, now = model.provider, state.health, state.now
    pool = provider.credentials
    if len(pool) > 1:
        pool = tuple(in_weighted_order(pool, state.means.draw))
    ready = [one for one in pool if not health.credential_wait(provider, one, now)]
    if len(ready) > 1:
        ready.sort(key=lambda one: health.spent_for(provider, one, now))
    return ready


def _wait(model: ModelSnapshot, state: State) -> float:
    """Seconds until the model may be asked with any of its credentials."""
    provider, health, now = model.provider, state.health, state.now
    pool: Sequence[CredentialSnapshot | None] = provider.credentials or (None,)
    soonest = min(health.credential_wait(provider, one, now) for one in pool)
    return max(health.wait(model, now), soonest)


def _lacking(model: ModelSnapshot, facts: Facts) -> str:
    """What the model lacks to take the input: it is too long, or holds what there is no capability
    for; empty where it can. What is not declared is possible, and tokens are counted only where
    bytes leave it open."""
    window = model.context_window
    if window is not None and facts.bytes > window and (facts.input_tokens or 0) > window:
        return "context_window"
    return "" if model.capabilities is None else ", ".join(sorted(facts.has - model.capabilities))


def _fitting(targets: list[Target], facts: Facts, out: list[PassedOver]) -> list[Target]:
    """Those that can take the input; all of them where none can, because counts are estimates, and
    the provider's own words are better than ours."""
    lacking = [_lacking(target.model, facts) for target in targets]
    if all(lacking):
        return targets
    pairs = list(zip(targets, lacking, strict=True))
    out += [PassedOver(one.model, "cannot_take_it", lack) for one, lack in pairs if lack]
    return [target for target, lack in pairs if not lack]


def _slow_last(
    targets: list[Target], alias: AliasSnapshot, state: State, out: list[PassedOver]
) -> list[Target]:
    """Those that spoke more slowly lately than the alias puts up with come after the others."""
    floor = alias.slow.tokens_per_second if alias.slow and "slow" in alias.fallback_on else None
    if floor is None:
        return targets
    quick: list[Target] = []
    slow: list[Target] = []
    for target in targets:
        pace = state.means.load.pace(target.model.identity, state.means.now)
        (quick if pace is None or pace >= floor else slow).append(target)
    if quick:
        out += [PassedOver(target.model, "slow") for target in slow]
    return quick + slow


def _unusable(model: ModelSnapshot, alias: AliasSnapshot, state: State) -> str:
    """Why a model cannot be used for this request, whatever its health; empty where it can."""
    if model.provider.needs_credential and not model.provider.credentials:
        return "no_credential"
    if alias.max_cost_per_request is not None:
        worst = state.worst(model)
        if worst is not None and worst > alias.max_cost_per_request:
            return "too_dear"
    return ""


def _target(model: ModelSnapshot, state: State, is_fallback: bool) -> Target:
    pool = _pool(model, state)
    return Target(model, pool[0] if pool else None, is_fallback, tuple(pool[1:]))


def candidate(model: ModelSnapshot, state: State) -> Target | None:
    """A model outside of any route, with a credential; None where it cannot be asked now."""
    if (model.provider.needs_credential and not model.provider.credentials) or _wait(model, state):
        return None
    return _target(model, state, is_fallback=False)


def _last_resort(model: ModelSnapshot, state: State, is_fallback: bool) -> list[Target]:
    """The model with a credential that was refused, where that alone is in the way. A provider may
    also refuse what one request says (403), and that must not shut out all others."""
    provider, health, now = model.provider, state.health, state.now
    if health.wait(model, now):
        return []
    pool = provider.credentials or (None,)
    lost = [one for one in pool if health.is_only_refused(provider, one, now)]
    return [Target(model, lost[0], is_fallback, is_last_resort=True)] if lost else []


def choose(alias: AliasSnapshot, facts: Facts, state: State | None = None) -> Choice:
    """The targets of the first route that holds, and then the alias's fallbacks.

    A model named twice is tried once. The choice may be empty, and then says why.
    """
    state = state or State()
    route = _route(alias, facts)
    if route is None:
        return Choice(route=None, targets=())
    targets: list[Target] = []
    refused: list[Target] = []
    out: list[PassedOver] = []
    waits: list[float] = []
    for model, is_fallback in _models(alias, route, facts, state.means):
        if reason := _unusable(model, alias, state):
            out.append(PassedOver(model, reason))
        elif wait := _wait(model, state):
            out.append(PassedOver(model, "ill", f"{wait:.1f}s"))
            waits.append(wait)
            refused += _last_resort(model, state, is_fallback)
        else:
            targets.append(_target(model, state, is_fallback))
    targets = targets or refused
    if len(targets) > 1:
        targets = _slow_last(_fitting(targets, facts, out), alias, state, out)
    soonest = min(waits) if waits and not targets else None
    return Choice(route, tuple(targets), tuple(out), soonest)
