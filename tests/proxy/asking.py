"""An exchange as it stands when limits and budgets are asked, without a gateway around it."""

import json
from typing import Any, cast

from billing.plans import NO_TERMS, Terms
from billing.pricing import Rate
from proxy.authenticate import Caller
from proxy.body import parse_json
from proxy.exchange import Exchange
from proxy.paths import find_endpoint
from proxy.snapshot import Snapshot
from routing.snapshots import ModelSnapshot, ProviderSnapshot, Timeouts
from tenants.snapshots import TenantSnapshot

STARTED = 1_792_000_000.5
"""In October 2026."""


def tenant(name: str = "acme", terms: Terms = NO_TERMS, **facts: Any) -> TenantSnapshot:
    usual: dict[str, Any] = {
        "tier": "",
        "suspended": False,
        "aliases": frozenset("*"),
        "price_book": "cost",
        "timezone": "UTC",
        "cors_origins": frozenset(),
        "on_disconnect": "delivered",
        "quarantines_unpriced": False,
        "policies": {},
    }
    return TenantSnapshot(name=name, terms=terms, **{**usual, **facts})


def exchange(path: str, body: bytes | dict[str, Any], **facts: Any) -> Exchange:
    """A request of acme's to a path of the data plane."""
    endpoint = find_endpoint(path, b"")
    assert endpoint is not None
    made = Exchange(
        endpoint=endpoint,
        headers={},
        snapshot=cast(Snapshot, None),
        request_id="request-1",
        record_id="record-1",
        started_at=STARTED,
        **facts,
    )
    made.raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.body = made.parse(parse_json(made.raw))
    made.caller = Caller(tenant(), "key-id", "web", "", "", "", frozenset(), {})
    return made


def model(name: str = "gpt-4o", **facts: Any) -> ModelSnapshot:
    provider = ProviderSnapshot(
        name="openai",
        tenant="",
        dialect="openai",
        base_url="",
        credentials=(),
        needs_credential=False,
        inject_headers={},
        timeouts=Timeouts(1, 1, 1, 1),
        options={},
    )
    usual = {"context_window": None, "max_output_tokens": None}
    return ModelSnapshot(name, "", provider, name, "chat", **{**usual, **facts})


def rate(input_price: int = 1, output_price: int = 10, **prices: int) -> Rate:
    """Prices in units of currency per million tokens; others cost nothing."""
    usual = {"cached_input": 0, "cache_write": 0, "reasoning": 0, "per_request": 0}
    scaled = {name: price * 10**15 for name, price in {**usual, **prices}.items()}
    return Rate("v", "USD", input=input_price * 10**15, output=output_price * 10**15, **scaled)
