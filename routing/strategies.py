"""In which order the targets of a route are tried. Pure but for the draws and the turn it takes.

Whatever the strategy, targets of weight 0 come after the others, in the order they are written.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from routing.load import Key, Load
from routing.snapshots import ModelSnapshot, RouteTargetSnapshot


class Weighted(Protocol):
    @property
    def weight(self) -> int: ...


W = TypeVar("W", bound=Weighted)
Targets = Sequence[RouteTargetSnapshot]


def no_price(model: ModelSnapshot) -> int | None:
    return None


@dataclass(slots=True)
class Means:
    """What a strategy goes by. `load` knows models by their identity, and `now` is on its clock;
    `price` gives what a request is likely to cost at a model in nano-units, None where nobody
    knows."""

    draw: Callable[[], float] = random.random
    load: Load = field(default_factory=Load)
    now: float = 0.0
    price: Callable[[ModelSnapshot], int | None] = no_price


def in_weighted_order(targets: Sequence[W], draw: Callable[[], float]) -> list[W]:
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


def _weighted(targets: Targets, means: Means, route: Key) -> Targets:
    return in_weighted_order(targets, means.draw)


def _as_written(targets: Targets, means: Means, route: Key) -> Targets:
    return targets


def _in_turn(targets: Targets, means: Means, route: Key) -> Targets:
    first = means.load.take_turn(route) % len(targets)
    return [*targets[first:], *targets[:first]]


def _least_busy(targets: Targets, means: Means, route: Key) -> Targets:
    """Fewest calls in flight for its weight; a draw decides between equals."""
    return sorted(
        targets,
        key=lambda one: (means.load.in_flight(one.model.identity) / one.weight, means.draw()),
    )


def _quickest(targets: Targets, means: Means, route: Key) -> Targets:
    """The quicker of two drawn at random, where waiting behind others counts as time: the quickest
    of all would get everything at once. The rest follow, quickest first."""

    def score(one: RouteTargetSnapshot) -> float:
        key = one.model.identity
        return means.load.latency(key, means.now) * (means.load.in_flight(key) + 1)

    ranked = sorted(targets, key=lambda one: (score(one), means.draw()))
    if len(ranked) <= 2:
        return ranked
    first = int(means.draw() * len(ranked))
    second = int(means.draw() * (len(ranked) - 1))
    best = ranked.pop(min(first, second + (second >= first)))
    return [best, *ranked]


def _cheapest(targets: Targets, means: Means, route: Key) -> Targets:
    """What has no price comes last; equals as they are written."""

    def price(one: RouteTargetSnapshot) -> tuple[bool, int]:
        found = means.price(one.model)
        return found is None, found or 0

    return sorted(targets, key=price)


STRATEGIES: Mapping[str, Callable[[Targets, Means, Key], Targets]] = {
    "weighted": _weighted,
    "priority": _as_written,
    "round_robin": _in_turn,
    "least_busy": _least_busy,
    "latency": _quickest,
    "cost": _cheapest,
}


def in_order(
    strategy: str, targets: Targets, means: Means, route: Key
) -> list[RouteTargetSnapshot]:
    """The targets of one route (by its name in Load), first to last."""
    weighty = [target for target in targets if target.weight]
    spares = [target for target in targets if not target.weight]
    if len(weighty) > 1:
        return [*STRATEGIES[strategy](weighty, means, route), *spares]
    return weighty + spares
