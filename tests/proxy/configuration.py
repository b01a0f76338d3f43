"""The installation that the tests of this folder call: providers that fail in their own ways, an
alias for each, and tenants with different terms."""

from typing import Any

from tests.fake_upstream import FakeUpstream

Document = dict[str, Any]

SECRET = "sk-first-Zx81-never-to-be-seen"
SECOND_SECRET = "sk-second-Qy92-never-to-be-seen"
ORIGIN = "https://app.acme.example"
UNHURRIED = {"connect": "5s", "first_byte": "20s", "idle": "20s", "total": "60s"}

PATIENT = {"failures": 1000}
"""One test's failures are not the next one's trouble; those about health have providers of their
own."""

FIRST_COST = {"input": "2.50", "cached_input": "1.25", "output": "10", "reasoning": "12"}
MARKUP = "7.7%"


def provider(base_url: str, **fields: Any) -> Document:
    return {
        "dialect": "openai",
        "base_url": base_url,
        "credentials": [{"name": "main", "secret": SECRET}],
        "timeouts": UNHURRIED,
        "breaker": PATIENT,
        **fields,
    }


def alias(model: str, *fallbacks: str, **fields: Any) -> Document:
    return {
        "routes": [{"targets": [{"model": model}]}],
        **({"fallbacks": list(fallbacks)} if fallbacks else {}),
        **fields,
    }


def books(**cost: Document) -> Document:
    return {
        "cost": {
            "currency": "USD",
            "fallback": "none",
            "versions": [{"effective": "2026-01-01", "prices": cost}],
        },
        "standard": {
            "currency": "USD",
            "based_on": "cost",
            "versions": [{"effective": "2026-01-01", "markup": MARKUP, "prices": {}}],
        },
    }


def _providers(upstream: FakeUpstream, refused: str, unreachable: str) -> Document:
    url = upstream.url
    return {
        "first": provider(url("first")),
        "second": provider(url("second"), credentials=[{"name": "spare", "secret": SECOND_SECRET}]),
        "told": provider(
            url("told"),
            inject_headers={
                "x-tenant-id": "{tenant}",
                "x-user-id": "{user}",
                "x-request-id": "{request_id}",
                "x-who": "{project}/{key}/{alias}/{tier}/{model}",
            },
        ),
        "hasty": provider(url("hasty"), timeouts={**UNHURRIED, "first_byte": "300ms"}),
        "idle": provider(url("idle"), timeouts={**UNHURRIED, "idle": "300ms"}),
        "brief": provider(url("brief"), timeouts={**UNHURRIED, "total": "500ms"}),
        "refused": provider(refused),
        "unreachable": provider(unreachable, timeouts={**UNHURRIED, "connect": "300ms"}),
        "unreachable-patiently": provider(unreachable),
        **{name: provider(url(name)) for name in COOLED},
    }


COOLED = ("limited", "busy", "busier", "resting", "resting-too")
"""Each is sent away by one test, and then left alone for a while by the gateway."""

NAMES = (
    *("first", "second", "told", "hasty", "idle", "brief"),
    *("refused", "unreachable", "unreachable-patiently", *COOLED),
)


def _tenants() -> Document:
    terms = {"price_book": "standard"}
    leaving = {
        f"pays-{policy}": {**terms, "on_disconnect": policy}
        for policy in ("delivered", "input", "reserved", "nothing")
    }
    return {
        "acme": {
            **terms,
            "tier": "gold",
            "cors_origins": [ORIGIN],
            "projects": {"search": {}, "support": {}},
            "keys": [{"name": "frontend", "project": "support", "aliases": ["pro", "safe"]}],
        },
        "globex": {**terms, "aliases": ["pro", "told"]},
        "sleeping": {**terms, "status": "suspended"},
        "trusting": {**terms, "unpriced": "quarantine"},
        **leaving,
    }


def small_configuration(upstream: FakeUpstream) -> Document:
    """For a gateway that is changed, killed and stopped."""
    names = ("first", "second")
    return {
        "version": 1,
        "providers": {name: provider(upstream.url(name)) for name in names},
        "models": {
            f"{name}-model": {"provider": name, "upstream": f"gpt-{name}"} for name in names
        },
        "price_books": books(**{f"{name}-model": FIRST_COST for name in names}),
        "aliases": {"pro": alias("first-model"), "safe": alias("first-model", "second-model")},
        "tenants": {name: {"price_book": "standard"} for name in ("acme", "globex")},
    }


def configuration(upstream: FakeUpstream, *, refused: str, unreachable: str) -> Document:
    """`refused` and `unreachable` are base URLs where nobody listens, and where nobody answers."""
    names = [*NAMES, "unpriced"]
    prices = {f"{name}-model": FIRST_COST for name in NAMES}
    return {
        "version": 1,
        "providers": _providers(upstream, refused, unreachable),
        "models": {
            f"{name}-model": {
                "provider": name if name in NAMES else "first",
                "upstream": f"gpt-{name}",
                "max_output_tokens": 1000,
            }
            for name in names
        },
        "price_books": books(**prices),
        "aliases": {
            "pro": alias("first-model", description="The best answer"),
            "safe": alias("first-model", "second-model"),
            "picky": alias("first-model", "second-model", fallback_on=["rate_limit"]),
            "wide": alias(
                "first-model",
                "second-model",
                fallback_on=["auth", "context_window", "content_filter", "rate_limit"],
            ),
            "unpriced": alias("unpriced-model"),
            "then-unpriced": alias("first-model", "unpriced-model"),
            "both-busy": alias("busy-model", "busier-model"),
            "both-resting": alias("resting-model", "resting-too-model"),
            **{name: alias(f"{name}-model") for name in NAMES[2:]},
            **{f"{name}-safe": alias(f"{name}-model", "second-model") for name in NAMES[2:]},
        },
        "tiers": {"gold": {}},
        "tenants": _tenants(),
    }
