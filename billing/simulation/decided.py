"""How a request was decided then, as far as its usage record pins it (proxy/decision.py)."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from billing.simulation.draft import RouteName
from billing.simulation.past import Caller, Past
from routing.choose import Choice, Target
from routing.facts import Facts

_DECIDED_BY_ORDER = ("priority", "cost")
"""Strategies that come to the same order whenever they are asked the same."""


def facts_of(
    past: Past,
    caller: Caller,
    routes: Mapping[RouteName, Mapping[str, object]],
    weigh_budget: Callable[[], float | None],
) -> Facts:
    """What routes can ask: as the record pins it, or as the route that it took asked for it."""
    pinned = past.decision.get("facts")
    known: Mapping[str, object] = pinned if isinstance(pinned, dict) else {}
    counted = known.get("input_tokens")
    asked = counted if isinstance(counted, int) else past.asked
    return Facts(
        tenant=past.tenant,
        tier=caller.tier,
        project=past.project,
        user=past.user,
        key=past.key or past.key_id,
        scopes=caller.scopes,
        labels=past.labels,
        moment=past.started_at.timestamp(),
        timezone=caller.tenant.timezone,
        bytes=0 if past.endpoint == "embeddings" else asked,
        count_tokens=lambda: asked,
        look_inside=lambda: _contents(
            known["has"] if "has" in known else _route_taken(past, routes).get("has")
        ),
        judge=lambda: _complexity(
            known["complexity"]
            if "complexity" in known
            else _route_taken(past, routes).get("complexity")
        ),
        weigh_budget=weigh_budget,
    )


def _contents(said: object) -> frozenset[str]:
    return frozenset(said) if isinstance(said, list) else frozenset()


def _complexity(said: object) -> str | None:
    if isinstance(said, list) and said:
        said = said[0]
    return said if isinstance(said, str) else None


def _route_taken(
    past: Past, routes: Mapping[RouteName, Mapping[str, object]]
) -> Mapping[str, object]:
    """The conditions of the route that a request came by: those that its record pins, or, of an
    older record that has only its place, as they are in force now."""
    route = past.decision.get("route")
    if isinstance(route, dict):
        pinned = route.get("when", {})
        return pinned if isinstance(pinned, dict) else {}
    if not isinstance(route, int):
        return {}
    own = routes.get((past.tenant, past.alias, route))
    return own if own is not None else routes.get(("", past.alias, route), {})


def as_then(past: Past, choice: Choice) -> Sequence[Target]:
    """The targets to try. Where the draft decides by the very route that the record pins, the model
    that answered then is the first: so did draws, hedges and targets that failed have it."""
    route, targets = choice.route, choice.targets
    if route is None or past.decision.get("route") != _read(route.pinned):
        return targets
    names = [target.model.name for target in targets]
    if past.model not in names:
        return targets
    if route.strategy in _DECIDED_BY_ORDER and names != past.decision.get("order"):
        return targets
    place = names.index(past.model)
    return (targets[place], *targets[:place], *targets[place + 1 :])


@lru_cache(maxsize=2048)
def _read(pinned: str) -> Any:
    return json.loads(pinned)
