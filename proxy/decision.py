"""What a usage record pins of how its request was decided, so that it can be explained later, when
routes and their models have changed. billing/explain.py reads it."""

import orjson

from proxy.exchange import Exchange
from routing.choose import PassedOver


def decision_of(exchange: Exchange) -> str:
    """JSON text: `route` as configured, the `targets` and `fallbacks` in the order to try them, and
    what there is of `tier`, `facts`, `passed_over`, `clamped_to` and `warnings`.

    It is written for every request, twice for some: the route brings its text along, and names are
    slugs, which need no escapes.
    """
    choice, caller = exchange.choice, exchange.caller
    assert choice is not None and choice.route is not None and caller is not None
    targets = '","'.join([one.model.name for one in choice.targets if not one.is_fallback])
    text = f'{{"route":{choice.route.pinned},"targets":[{_listed(targets)}]'
    if choice.targets[-1].is_fallback:
        fallbacks = '","'.join([one.model.name for one in choice.targets if one.is_fallback])
        text += f',"fallbacks":[{_listed(fallbacks)}]'
    if rest := _rest(exchange):
        text += f",{orjson.dumps(rest).decode()[1:-1]}"
    return text + "}"


def _listed(names: str) -> str:
    return f'"{names}"' if names else ""


def _rest(exchange: Exchange) -> dict[str, object]:
    """What most requests have nothing of."""
    choice, caller = exchange.choice, exchange.caller
    assert choice is not None and caller is not None
    rest: dict[str, object] = {}
    if caller.tier:
        rest["tier"] = caller.tier
    if exchange.found_out:
        rest["facts"] = exchange.found_out
    if choice.passed_over:
        rest["passed_over"] = [_left_out(one) for one in choice.passed_over]
    if exchange.clamped_to is not None:
        rest["clamped_to"] = exchange.clamped_to
    if exchange.warnings:
        rest["warnings"] = exchange.warnings
    return rest


def _left_out(one: PassedOver) -> dict[str, str]:
    left = {"model": one.model.name, "provider": one.model.provider.name, "reason": one.reason}
    return {**left, "detail": one.detail} if one.detail else left
