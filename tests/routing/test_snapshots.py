"""What the hot path knows of routing, as the configuration declares it."""

from routing.conditions import Hours, Range
from routing.snapshots import read_routing
from routing.terms import Breaker, Probe, Retries, Slow
from tests.routing.conftest import Apply

FILE = """
version: 1
providers:
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1
    retries: {attempts: 2, retry_on: [rate_limit, timeout], backoff: 250ms}
    breaker: {failures: 3, window: 1m}
    probe: {interval: 30s, path: /health}
  asked: {dialect: openai, base_url: "https://asked.example/v1", probe: {}}
  demo: {dialect: demo}
models:
  big: {provider: openai, upstream: big, context_window: 1000, capabilities: [tools]}
  small: {provider: demo, upstream: small}
  asked: {provider: asked, upstream: asked}
aliases:
  pro:
    routes:
      - when:
          time: "22:00-06:00"
          timezone: Europe/Berlin
          budget_used: {min: 90%}
          input_tokens: {max: 200}
        targets: [{model: small}]
      - targets: [{model: big, weight: 90}, {model: small, weight: 10}]
        sticky: user
        strategy: latency
    slow: {first_byte: 8s, tokens_per_second: 5}
    retries: {attempts: 1}
    hedge: {after: 2s}
    mirror: {model: small, share: 1.5%}
    max_cost_per_request: 0.50
    max_output_tokens: 4096
    on_short_budget: clamp
  plain: {routes: [{targets: [{model: small}]}]}
tenants:
  acme:
    providers: {own: {dialect: demo}}
    models: {small: {provider: own, upstream: small}}
    own_aliases:
      mine: {routes: [{targets: [{model: small}]}], mirror: {model: small, share: 100%}}
"""


def test_what_is_declared_is_read_once_into_what_can_be_acted_on(apply: Apply) -> None:
    apply(FILE)
    routing = read_routing()
    pro, big = routing.aliases["", "pro"], routing.models["", "big"]
    night, usual = pro.routes
    assert dict(night.when) == {
        "time": Hours(22 * 60, 6 * 60, "Europe/Berlin"),
        "budget_used": Range(min=0.9),
        "input_tokens": Range(max=200),
    }
    assert (usual.strategy, usual.sticky) == ("latency", "user")
    assert (night.strategy, night.sticky) == ("weighted", "")
    assert pro.slow == Slow(8.0, 5.0)
    assert pro.retries == Retries(attempts=1)
    assert pro.hedge == 2.0
    assert pro.mirror is not None
    assert (pro.mirror.model.name, pro.mirror.share) == ("small", 0.015)
    assert pro.max_cost_per_request == 500_000_000
    assert (pro.max_output_tokens, pro.on_short_budget) == (4096, "clamp")
    assert big.capabilities == {"tools"}
    assert big.provider.breaker == Breaker(failures=3, window=60.0, cooldown=15.0)
    assert big.provider.probe == Probe(interval=30.0, path="/health", timeout=2.0)
    assert routing.models["", "asked"].provider.probe == Probe(10.0, None, 2.0)
    assert big.provider.retries == Retries(2, frozenset({"rate_limit", "timeout"}), 0.25)


def test_what_is_not_declared_is_as_usual(apply: Apply) -> None:
    apply(FILE)
    plain = read_routing().aliases["", "plain"]
    assert (plain.slow, plain.hedge, plain.mirror, plain.max_cost_per_request) == (None,) * 4
    assert plain.retries == Retries()
    small = plain.routes[0].targets[0].model
    assert small.capabilities is None
    assert (small.provider.breaker, small.provider.retries) == (Breaker(), Retries())
    assert small.provider.probe is None


def test_a_mirror_of_a_tenants_own_alias_is_its_own_model(apply: Apply) -> None:
    apply(FILE)
    mirror = read_routing().aliases["acme", "mine"].mirror
    assert mirror is not None
    assert mirror.model.tenant == "acme"
