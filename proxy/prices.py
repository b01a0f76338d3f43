"""What one request may cost at a model: to compare models by, and to hold them to a bound."""

from collections.abc import Callable

from billing.pricing import Tokens
from proxy.bounds import InputBound, output_bound
from proxy.claims import ASSUMED_OUTPUT
from proxy.exchange import Exchange, Rates
from proxy.meter import quick_count
from routing.snapshots import ModelSnapshot


class Prices:
    """Of one request, in nano-units."""

    def __init__(self, exchange: Exchange, rates: Callable[[ModelSnapshot], Rates]) -> None:
        self._exchange = exchange
        self._rates = rates
        self._input: InputBound | None = None

    def _output(self, model: ModelSnapshot) -> int | None:
        """Tokens of all answers, at most."""
        exchange, alias = self._exchange, self._exchange.alias
        assert alias is not None
        if exchange.endpoint.kind != "chat":
            return 0
        caps = [one for one in (exchange.body.output_limit, alias.max_output_tokens) if one]
        return output_bound(min(caps, default=None), model, exchange.body.answers)

    def expected(self, model: ModelSnapshot) -> int | None:
        """What it is likely to cost us, to compare models by; None: no price is known."""
        rate = self._rates(model).cost
        if rate is None:
            return None
        output = self._output(model)
        usual = ASSUMED_OUTPUT * self._exchange.body.answers
        asked = quick_count(self._exchange.raw)
        return rate.amount(Tokens(asked, output=usual if output is None else min(output, usual)))

    def worst(self, model: ModelSnapshot) -> int | None:
        """The most that it can cost: us at an alias of the gateway's, the tenant at its own. None:
        no price or no bound is known."""
        alias, rates = self._exchange.alias, self._rates(model)
        assert alias is not None
        rate = rates.charge if alias.tenant else rates.cost
        output = self._output(model)
        if rate is None or output is None:
            return None
        if self._input is None:
            self._input = InputBound(self._exchange)
        return rate.most(self._input.tokens(model), output)
