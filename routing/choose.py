"""Which targets may answer, in the order to try them. Pure: facts in, targets out."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routing.conditions import holds
from routing.facts import Facts
from routing.snapshots import (
    AliasSnapshot,
    CredentialSnapshot,
    ModelSnapshot,
    RouteSnapshot,
    RouteTargetSnapshot,
)


@dataclass(frozen=True, slots=True)
class Target:
    """A model that a route chose, with the credential to use; none where none is needed."""

    model: ModelSnapshot
    credential: CredentialSnapshot | None
    is_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The route that decided (its position, None when none held) and the targets to try."""

    route: int | None
    targets: tuple[Target, ...]


def in_weighted_order(
    targets: Sequence[RouteTargetSnapshot], draw: Callable[[], float]
) -> list[RouteTargetSnapshot]:
    """Draws without replacement by weight; those of weight 0 come last, in their own order."""
    waiting = [target for target in targets if target.weight > 0]
    order = []
    while len(waiting) > 1:
        mark = draw() * sum(target.weight for target in waiting)
        for target in waiting:
            mark -= target.weight
            if mark < 0:
                break
        waiting.remove(target)
        order.append(target)
    return order + waiting + [target for target in targets if target.weight == 0]


def _credential(model: ModelSnapshot, draw: Callable[[], float]) -> CredentialSnapshot | None:
    """One of the pool by weight; a spare (weight 0) only when there is no other."""
    pool = model.provider.credentials
    if len(pool) <= 1:
        return pool[0] if pool else None
    weights = [credential.weight for credential in pool]
    if not any(weights):
        return pool[0]
    mark = draw() * sum(weights)
    for credential in pool:
        mark -= credential.weight
        if mark < 0:
            return credential
    return next(credential for credential in pool if credential.weight)


def _usable(model: ModelSnapshot) -> bool:
    return bool(model.provider.credentials) or not model.provider.needs_credential


def _route(alias: AliasSnapshot, facts: Facts) -> RouteSnapshot | None:
    for route in alias.routes:
        if not route.when or holds(route.when, facts):
            return route
    return None


def choose(
    alias: AliasSnapshot, facts: Facts, *, draw: Callable[[], float] = random.random
) -> Choice:
    """The targets of the first route that holds, by weight, and then the alias's fallbacks.

    A model named twice is tried once. Targets without a credential in force are left out, so the
    choice may be empty.
    """
    route = _route(alias, facts)
    if route is None:
        return Choice(route=None, targets=())
    ordered = [(target.model, False) for target in in_weighted_order(route.targets, draw)]
    ordered += [(model, True) for model in alias.fallbacks]
    seen: set[int] = set()
    targets = []
    for model, is_fallback in ordered:
        if id(model) not in seen and _usable(model):
            seen.add(id(model))
            targets.append(Target(model, _credential(model, draw), is_fallback))
    return Choice(route=route.position, targets=tuple(targets))
