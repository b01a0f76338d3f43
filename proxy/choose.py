"""Caller + alias + facts -> ordered targets, each with a price. Pure part: routing/choose.py."""

from collections.abc import Callable

from billing.snapshots import COST_BOOK, PricedModel
from proxy.dialects import OUTBOUND
from proxy.errors import (
    AliasNotAllowed,
    AliasNotFound,
    GatewayError,
    InvalidRequest,
    NoTargetAvailable,
    PriceUnknown,
)
from proxy.exchange import Exchange, Rates
from proxy.facts import facts_of
from proxy.prices import Prices
from proxy.standing import Standing
from routing.choose import Choice, choose
from routing.snapshots import AliasSnapshot, ModelSnapshot

LISTED_ALIASES = 50


def find_alias(exchange: Exchange, name: str) -> AliasSnapshot:
    """The alias that this caller means by a name. Raises AliasNotFound or AliasNotAllowed."""
    caller = exchange.caller
    assert caller is not None
    alias = caller.aliases.get(name)
    if alias is not None:
        return alias
    aliases = exchange.snapshot.routing.aliases
    if ("", name) in aliases or (caller.tenant.name, name) in aliases:
        raise AliasNotAllowed(f"This key may not use the alias {name!r}.", param="model")
    raise not_found(exchange, name)


def not_found(exchange: Exchange, name: str) -> AliasNotFound:
    """The error that lists what this caller may use."""
    assert exchange.caller is not None
    names = sorted(exchange.caller.aliases)
    usable = ", ".join(names[:LISTED_ALIASES]) or "none"
    if len(names) > LISTED_ALIASES:
        usable += f" and {len(names) - LISTED_ALIASES} more (GET /v1/models)"
    return AliasNotFound(
        f"There is no alias {name[:64]!r}. This key may use: {usable}.", param="model"
    )


def check_kind(exchange: Exchange) -> None:
    """An alias of embeddings answers no chat, and the reverse. Raises InvalidRequest."""
    alias, wanted = exchange.alias, exchange.endpoint.kind
    assert alias is not None
    if (alias.kind == "embeddings") != (wanted == "embeddings"):
        does = "makes embeddings" if alias.kind == "embeddings" else "answers chats"
        raise InvalidRequest(f"The alias {alias.name!r} {does}.", param="model")


def rates_of(exchange: Exchange, model: ModelSnapshot) -> Rates:
    """What a model costs and is charged at the time of the request."""
    assert exchange.caller is not None
    billing = exchange.snapshot.billing
    charge_book = exchange.caller.tenant.price_book
    priced = PricedModel(model.name, model.provider.dialect, model.upstream)
    return Rates(
        cost=billing.rate(COST_BOOK, priced, exchange.started_at),
        charge=billing.rate(charge_book, priced, exchange.started_at),
    )


def is_spoken(model: ModelSnapshot) -> bool:
    """Whether there is an outbound face for it."""
    return model.provider.dialect in OUTBOUND or model.provider.dialect == "demo"


def choose_targets(
    exchange: Exchange, standing: Standing, budget_used: Callable[[Exchange], float | None]
) -> None:
    """Fills `choice` and `rates`. Raises NoTargetAvailable, PriceUnknown or InvalidRequest.

    A target without a price is passed over, unless the tenant lets its records wait for one.
    """
    caller, alias = exchange.caller, exchange.alias
    assert caller is not None and alias is not None
    prices = Prices(exchange, lambda model: rates_of(exchange, model))
    state = standing.now(price=prices.expected, worst=prices.worst)
    facts = facts_of(exchange, budget_used)
    choice = choose(alias, facts, state)
    exchange.found_out = facts.found_out
    spoken = []
    for target in choice.targets:
        if is_spoken(target.model):
            spoken.append(target)
        else:
            choice.pass_over(target.model, "not_spoken")
    if not spoken:
        raise _nobody(alias, choice)
    priced = []
    for target in spoken:
        rates = exchange.rates[target.model.identity] = rates_of(exchange, target.model)
        if None not in rates or caller.tenant.quarantines_unpriced:
            priced.append(target)
        else:
            choice.pass_over(target.model, "no_price")
    if not priced:
        names = ", ".join(target.model.name for target in spoken)
        raise PriceUnknown(f"No price is known for what the alias {alias.name!r} reaches: {names}.")
    choice.targets = tuple(priced)
    exchange.choice = choice


def _nobody(alias: AliasSnapshot, choice: Choice) -> GatewayError:
    """Why there is no target."""
    if choice.route is None:
        return NoTargetAvailable(f"No route of the alias {alias.name!r} holds for this request.")
    if choice.is_too_dear:
        return InvalidRequest(
            f"This request may cost more than the alias {alias.name!r} allows for one "
            "(max_cost_per_request); a shorter input, or a smaller limit of its output, costs less."
        )
    if choice.retry_after is not None:
        return NoTargetAvailable(
            f"All targets of the alias {alias.name!r} are cooling down after failures.",
            retry_after=choice.retry_after,
        )
    return NoTargetAvailable(
        f"No target of the alias {alias.name!r} has a credential in force.", retry_after=30
    )
