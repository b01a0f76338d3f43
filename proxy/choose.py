"""Caller + alias + facts -> ordered targets, each with a price. Pure part: routing/choose.py."""

from billing.snapshots import COST_BOOK, PricedModel
from proxy.dialects import OUTBOUND
from proxy.errors import (
    AliasNotAllowed,
    AliasNotFound,
    InvalidRequest,
    NoTargetAvailable,
    PriceUnknown,
)
from proxy.exchange import Exchange, Rates
from routing.choose import Choice, choose
from routing.facts import Facts
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


def _rates(exchange: Exchange, model: ModelSnapshot) -> Rates:
    assert exchange.caller is not None
    billing = exchange.snapshot.billing
    charge_book = exchange.caller.tenant.price_book
    priced = PricedModel(model.name, model.provider.dialect, model.upstream)
    return Rates(
        cost=billing.rate(COST_BOOK, priced, exchange.started_at),
        charge=billing.rate(charge_book, priced, exchange.started_at),
    )


def _is_spoken(model: ModelSnapshot) -> bool:
    return model.provider.dialect in OUTBOUND or model.provider.dialect == "demo"


def choose_targets(exchange: Exchange) -> None:
    """Fills `choice` and `rates`. Raises NoTargetAvailable or PriceUnknown.

    A target without a price is passed over, unless the tenant lets its records wait for one.
    """
    caller, alias = exchange.caller, exchange.alias
    assert caller is not None and alias is not None
    choice = choose(
        alias,
        Facts(
            tenant=caller.tenant.name,
            tier=caller.tier,
            project=exchange.project,
            user=exchange.user,
            scopes=caller.scopes,
            labels=exchange.labels,
        ),
    )
    if choice.route is None:
        raise NoTargetAvailable(f"No route of the alias {alias.name!r} holds for this request.")
    spoken = [target for target in choice.targets if _is_spoken(target.model)]
    if not spoken:
        raise NoTargetAvailable(
            f"No target of the alias {alias.name!r} has a credential in force.", retry_after=30
        )
    priced = []
    for target in spoken:
        rates = _rates(exchange, target.model)
        exchange.rates[target.model.identity] = rates
        if None not in rates or caller.tenant.quarantines_unpriced:
            priced.append(target)
    if not priced:
        names = ", ".join(target.model.name for target in spoken)
        raise PriceUnknown(f"No price is known for what the alias {alias.name!r} reaches: {names}.")
    exchange.choice = Choice(choice.route, tuple(priced))
