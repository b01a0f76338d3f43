"""The same caller on the same side of an experiment: weighted rendezvous hashing.

Every target gets a score from the hash of (route, caller, target) and its weight, and the highest
wins: -weight / ln(hash) is the largest with a probability of weight / sum of weights. A target's
scores depend on nothing but its own weight, so changing one moves only the callers that this target
gains or loses. See Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005).
"""

import math
from hashlib import blake2b

from routing.facts import Facts
from routing.snapshots import AliasSnapshot, ModelSnapshot, RouteSnapshot, RouteTargetSnapshot


def caller_of(facts: Facts, sticky: str) -> str:
    """Who stays on a side: the user, without one the key, without one the tenant."""
    if sticky == "user" and facts.user:
        return f"{facts.tenant}/user/{facts.user}"
    if sticky == "user" and facts.key:
        return f"{facts.tenant}/key/{facts.key}"
    return facts.tenant


def _score(route: str, caller: str, model: ModelSnapshot, weight: int) -> float:
    """Larger is better; of weight 0 the worst."""
    if not weight:
        return 0.0
    named = "\0".join((route, caller, model.tenant, model.name))
    digest = blake2b(named.encode(errors="surrogatepass"), digest_size=8).digest()
    drawn = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -weight / math.log(drawn)


def in_sticky_order(
    alias: AliasSnapshot, route: RouteSnapshot, facts: Facts
) -> list[RouteTargetSnapshot]:
    """The route's targets, this caller's own first; the next ones are where the caller goes while
    that is out. Those of weight 0 come last, in their own order."""
    caller = caller_of(facts, route.sticky)
    place = f"{alias.tenant}/{alias.name}/{route.position}"
    return sorted(
        route.targets,
        key=lambda target: _score(place, caller, target.model, target.weight),
        reverse=True,
    )
