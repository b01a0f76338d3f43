"""Names that lead nowhere."""

import pytest

from routing import config
from routing.models import Alias
from tests.routing.conftest import Apply, Refuse

GROUND = """
providers: {demo: {dialect: demo}}
models: {local: {provider: demo, upstream: x}}
aliases: {pro: {routes: [{targets: [{model: local}]}]}}
tiers: {free: {}}
price_books: {cost: {}}
guards: {pii: {kind: pii}}
tenants: {acme: {projects: {search: {}}}, globex: {models: {own: {provider: demo, upstream: x}}}}
"""
ROUTE = "aliases: {a: {routes: [{targets: [{model: %s}]}]%s}}"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("models: {m: {provider: demp, upstream: x}}", "models.m.provider", "provider 'demp'"),
        (ROUTE % ("locl", ""), "aliases.a.routes[0].targets[0].model", "model 'locl'"),
        (ROUTE % ("own", ""), "aliases.a.routes[0].targets[0].model", "model 'own'"),
        (ROUTE % ("local", ", fallbacks: [local, x]"), "aliases.a.fallbacks[1]", "model 'x'"),
        (ROUTE % ("local", ", guards: [pii, x]"), "aliases.a.guards[1]", "guard 'x'"),
        (
            ROUTE % ("local", ", mirror: {model: x, share: 1%}"),
            "aliases.a.mirror.model",
            "model 'x'",
        ),
        (
            ROUTE % ("local", ", cache: {mode: semantic, embeddings: x}"),
            "aliases.a.cache.embeddings",
            "alias 'x'",
        ),
        (
            "aliases: {a: {routes: [{when: {tier: x}, targets: [{model: local}]}]}}",
            "aliases.a.routes[0].when.tier",
            "tier 'x'",
        ),
        (
            "aliases: {a: {routes: [{when: {tenant: x}, targets: [{model: local}]}]}}",
            "aliases.a.routes[0].when.tenant",
            "tenant 'x'",
        ),
        ("price_books: {b: {based_on: cots}}", "price_books.b.based_on", "price book 'cots'"),
        (
            "price_books: {b: {versions: [{effective: 2026-01-01, prices: {x: {input: 1}}}]}}",
            "price_books.b.versions[0].prices.x",
            "model 'x'",
        ),
        ("tenants: {t: {tier: fre}}", "tenants.t.tier", "tier 'fre'"),
        ("tenants: {t: {price_book: x}}", "tenants.t.price_book", "price book 'x'"),
        ("tenants: {t: {aliases: [pro, x]}}", "tenants.t.aliases[1]", "alias 'x'"),
        (
            "tenants: {t: {keys: [{name: k, project: search}]}}",
            "tenants.t.keys[0].project",
            "project 'search'",
        ),
        (
            "tenants: {t: {keys: [{name: k, aliases: [x]}]}}",
            "tenants.t.keys[0].aliases[0]",
            "alias 'x'",
        ),
        (
            "tenants: {t: {issuers: "
            "[{issuer: i, audience: a, jwks_url: 'http://k', aliases: [x]}]}}",
            "tenants.t.issuers[0].aliases[0]",
            "alias 'x'",
        ),
        (
            "tenants: {t: {issuers: "
            "[{issuer: i, audience: a, jwks_url: 'http://k', allowed_tiers: [x]}]}}",
            "tenants.t.issuers[0].allowed_tiers[0]",
            "tier 'x'",
        ),
        (
            "tenants: {t: {hmac: [{name: h, header: x-h, secret: s, aliases: [x]}]}}",
            "tenants.t.hmac[0].aliases[0]",
            "alias 'x'",
        ),
        (
            "tenants: {t: {budgets: [{amount: 1, period: day, scope: 'alias:x'}]}}",
            "tenants.t.budgets[0].scope",
            "alias 'x'",
        ),
        (
            "tenants: {t: {projects: {p: {budgets: "
            "[{amount: 1, period: day, scope: 'alias:x'}]}}}}",
            "tenants.t.projects.p.budgets[0].scope",
            "alias 'x'",
        ),
        (
            "tenants: {t: {limits: {per_alias: {x: {concurrency: 1}}}}}",
            "tenants.t.limits.per_alias.x",
            "alias 'x'",
        ),
        (
            "gateway: {limits: {per_model: {x: {concurrency: 1}}}}",
            "gateway.limits.per_model.x",
            "model 'x'",
        ),
        (
            "tenants: {t: {models: {m: {provider: x, upstream: u}}}}",
            "tenants.t.models.m.provider",
            "provider 'x'",
        ),
        (
            "tenants: {t: {own_aliases: {a: {routes: [{targets: [{model: own}]}]}}}}",
            "tenants.t.own_aliases.a.routes[0].targets[0].model",
            "model 'own'",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(
    apply: Apply, refuse: Refuse, text: str, path: str, message: str
) -> None:
    apply(GROUND)
    [problem] = refuse(text)
    assert problem.startswith(f"{path}: there is no {message}")


def test_a_near_miss_gets_a_suggestion(apply: Apply, refuse: Refuse) -> None:
    apply(GROUND)
    [problem] = refuse("tenants: {t: {tier: fre}}")
    assert problem.endswith("did you mean 'free'?")


def test_the_star_stands_for_every_alias(apply: Apply) -> None:
    apply("tenants: {t: {aliases: ['*'], keys: [{name: k, aliases: ['*']}]}}")


def test_a_tenant_may_name_its_own_alias(apply: Apply) -> None:
    apply(GROUND)
    own = "{mine: {routes: [{targets: [{model: local}]}]}}"
    apply(f"tenants: {{t: {{aliases: [mine, pro], own_aliases: {own}}}}}")


def test_a_tenants_own_model_may_have_a_price(apply: Apply) -> None:
    apply(GROUND)
    apply("price_books: {cost: {versions: [{effective: 2026-01-01, prices: {own: {input: 1}}}]}}")


def test_price_books_are_not_based_on_each_other(refuse: Refuse) -> None:
    problems = refuse("price_books: {a: {based_on: b}, b: {based_on: c}, c: {based_on: b}}")
    assert [problem.split(":")[0] for problem in problems] == [
        "price_books.b.based_on",
        "price_books.c.based_on",
    ]


def test_pruning_what_the_file_still_names_is_refused(apply: Apply, refuse: Refuse) -> None:
    apply(GROUND)
    assert refuse("tenants: {acme: {aliases: [pro]}}", prune=True) == [
        "tenants.acme.aliases[0]: there is no alias 'pro'"
    ]


def test_what_led_nowhere_before_may_be_exported_and_applied(apply: Apply) -> None:
    apply(GROUND)
    apply("tenants: {acme: {aliases: [pro]}}")
    Alias.objects.all().delete()
    assert apply(config.export(), prune=True).changes == []


def test_all_that_leads_nowhere_is_reported_at_once(refuse: Refuse) -> None:
    text = """
tenants:
  acme: {tier: x, price_book: y, aliases: [z]}
models:
  m: {provider: p, upstream: u}
"""
    assert [problem.split(":")[0] for problem in refuse(text)] == [
        "tenants.acme.tier",
        "tenants.acme.price_book",
        "tenants.acme.aliases[0]",
        "models.m.provider",
    ]
