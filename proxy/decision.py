"""What a usage record pins of how its request was decided, so that it can be explained later, when
routes and their models have changed. billing/explain.py reads it."""

from functools import lru_cache

import orjson

from proxy.exchange import Exchange
from routing.choose import PassedOver


def decision_of(exchange: Exchange) -> str:
    """JSON text: `route` as configured, the `order` in which its targets and then the fallbacks are
    tried, `tier`, and what there is of `facts`, `passed_over`, `clamped_to` and `warnings`.

    It is written for every request, and says the same for most.
    """
    choice, caller = exchange.choice, exchange.caller
    assert choice is not None and choice.route is not None and caller is not None
    order = tuple([target.model.name for target in choice.targets])
    text = _usual(choice.route.pinned, order, caller.tier)
    if choice.passed_over or exchange.found_out or exchange.warnings or exchange.clamped_to:
        return f"{text[:-1]},{orjson.dumps(_rest(exchange)).decode()[1:]}"
    return text


@lru_cache(maxsize=2048)
def _usual(route: str, order: tuple[str, ...], tier: str) -> str:
    facts = {"order": order, "tier": tier} if tier else {"order": order}
    return f'{{"route":{route},{orjson.dumps(facts).decode()[1:]}'


def _rest(exchange: Exchange) -> dict[str, object]:
    assert exchange.choice is not None
    rest = {
        "facts": exchange.found_out,
        "passed_over": [_left_out(one) for one in exchange.choice.passed_over],
        "clamped_to": exchange.clamped_to,
        "warnings": exchange.warnings,
    }
    return {name: fact for name, fact in rest.items() if fact}


def _left_out(one: PassedOver) -> dict[str, str]:
    left = {"model": one.model.name, "provider": one.model.provider.name, "reason": one.reason}
    return {**left, "detail": one.detail} if one.detail else left
