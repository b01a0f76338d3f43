"""What a file may say, and how each mistake is named."""

import pytest
from pydantic import ValidationError

from routing.config.explain import problems_of
from routing.config.normal import listed
from routing.config.schema import Document
from routing.config.yaml_text import load


def _problems(text: str) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        Document.model_validate(load(text)[0])
    return {problem.path: problem.message for problem in problems_of(raised.value)}


BUDGET = "tenants: {acme: {budgets: [%s]}}"
PROVIDER = "providers: {p: {dialect: openai, base_url: 'https://p.example', %s}}"
ALIAS = "aliases: {a: {routes: [{targets: [{model: m}]}], %s}}"
ROUTE = "aliases: {a: {routes: [{targets: [{model: m}], %s}]}}"
WHEN = "aliases: {a: {routes: [{targets: [{model: m}], when: {%s}}]}}"
BOOK = "price_books: {b: {%s}}"
GUARD = "guards: {g: {%s}}"
TENANT = "tenants: {acme: {%s}}"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("version: 2", "version", "must be 1"),
        ("tenant: {}", "tenant", "did you mean 'tenants'?"),
        ("tenants: {acme: {tear: x}}", "tenants.acme.tear", "did you mean 'tier'?"),
        ("tenants: [acme]", "tenants", "must be a mapping"),
        ("tenants: {acme: pro}", "tenants.acme", "must be a mapping"),
        ("tenants: {Acme: {}}", "tenants.Acme", "a name is"),
        ("tiers: {a b: {}}", "tiers.a b", "a name is"),
        ("gateway: {max_request_bytes: 20MiB}", "gateway.max_request_bytes", "a size is"),
        ("gateway: {retention: {usage: 400}}", "gateway.retention.usage", "a duration is"),
        (
            "gateway: {exchange_rates: {EUR: [{effective: 2026-01-01, usd: 0}]}}",
            "gateway.exchange_rates.EUR[0].usd",
            "must be between",
        ),
        ("gateway: {exchange_rates: {eur: []}}", "gateway.exchange_rates.eur", "three capital"),
        (
            "gateway: {limits: {requests_per_minute: many}}",
            "gateway.limits.requests_per_minute",
            "must be a whole number",
        ),
        (
            "gateway: {limits: {tokens_per_day: {amount: 5, burst: 9}}}",
            "gateway.limits.tokens_per_day.burst",
            "must not be above",
        ),
        (
            "gateway: {limits: {per_user: {per_user: {}}}}",
            "gateway.limits.per_user.per_user",
            "unknown key",
        ),
        ("gateway: {limits: {concurrency: 0}}", "gateway.limits.concurrency", "at least 1"),
        (
            BUDGET % "{amount: 5, period: moth}",
            "tenants.acme.budgets[0].period",
            "did you mean 'month'?",
        ),
        (BUDGET % "{amount: 5}", "tenants.acme.budgets[0].period", "is required"),
        (BUDGET % "{period: day}", "tenants.acme.budgets[0]", "exactly one of"),
        (BUDGET % "{amount: 1, tokens: 1, period: day}", "tenants.acme.budgets[0]", "exactly one"),
        (
            BUDGET % "{amount: 9000000, period: day}",
            "tenants.acme.budgets[0].amount",
            "not below 9000000",
        ),
        (
            BUDGET % "{amount: 0.0000000001, period: day}",
            "tenants.acme.budgets[0].amount",
            "more than 9 decimals",
        ),
        (BUDGET % "{amount: -1, period: day}", "tenants.acme.budgets[0].amount", "negative"),
        (
            BUDGET % "{amount: 1, period: day, hard: yes}",
            "tenants.acme.budgets[0].hard",
            "true or false",
        ),
        (
            BUDGET % "{amount: 1, period: day, scope: users}",
            "tenants.acme.budgets[0].scope",
            "alias:NAME",
        ),
        (
            BUDGET % "{amount: 1, period: day, alert_at: [50]}",
            "tenants.acme.budgets[0].alert_at[0]",
            "20%",
        ),
        (
            BUDGET % "{amount: 1, period: day, timezone: Mars}",
            "tenants.acme.budgets[0].timezone",
            "time zone",
        ),
        (
            "providers: {p: {dialect: opnai}}",
            "providers.p.dialect",
            "did you mean 'openai'?",
        ),
        ("providers: {p: {dialect: openai}}", "providers.p.base_url", "is required"),
        (PROVIDER % "probe: {interval: 500ms}", "providers.p.probe.interval", "at least 1s"),
        (PROVIDER % "probe: {every: 1s}", "providers.p.probe.every", "unknown key"),
        (PROVIDER % "probe: {timeout: 0s}", "providers.p.probe.timeout", "longer than 0s"),
        (PROVIDER % "probe: {path: models}", "providers.p.probe.path", "starts with '/'"),
        (PROVIDER % "probe: {path: '/a b'}", "providers.p.probe.path", "without spaces"),
        (PROVIDER % "probe: {path: /a#b}", "providers.p.probe.path", "without spaces or '#'"),
        ("providers: {p: {dialect: demo, probe: {}}}", "providers.p.probe", "nobody to ask"),
        (PROVIDER % "delay: 5s", "providers.p.delay", "only the dialect demo"),
        (PROVIDER % "timeouts: {idle: 0s}", "providers.p.timeouts.idle", "longer than 0s"),
        (PROVIDER % "retries: {attempts: 99}", "providers.p.retries.attempts", "at most 10"),
        (
            PROVIDER % "credentials: [{name: a}]",
            "providers.p.credentials[0].secret",
            "is required",
        ),
        (
            PROVIDER % "credentials: [{name: a, secret: x}, {name: a, secret: y}]",
            "providers.p.credentials",
            "'a' stands here twice",
        ),
        (
            PROVIDER % "credentials: [{name: a, secret: 5}]",
            "providers.p.credentials[0].secret",
            "must be text; quote it",
        ),
        (
            PROVIDER % "credentials: [{name: a, secret: x, weight: -1}]",
            "providers.p.credentials[0].weight",
            "at least 0",
        ),
        (
            PROVIDER % 'inject_headers: {x-user: "{usr}"}',
            "providers.p.inject_headers.x-user",
            "none of the placeholders",
        ),
        (
            PROVIDER % "inject_headers: {Host: x}",
            "providers.p.inject_headers.host",
            "the gateway's own",
        ),
        (
            PROVIDER % 'inject_headers: {x-user: "a\\r\\nb"}',
            "providers.p.inject_headers.x-user",
            "printable",
        ),
        (
            PROVIDER % 'inject_headers: {"x user": a}',
            "providers.p.inject_headers.x user",
            "HTTP header",
        ),
        ("models: {m: {upstream: x}}", "models.m.provider", "is required"),
        (
            "models: {m: {provider: p, upstream: x, capabilities: [image]}}",
            "models.m.capabilities[0]",
            "did you mean 'images'?",
        ),
        (
            "models: {m: {provider: p, upstream: x, context_window: 99999999999}}",
            "models.m.context_window",
            "at most",
        ),
        (BOOK % "currency: usd", "price_books.b.currency", "three capital letters"),
        (BOOK % "versions: [{}]", "price_books.b.versions[0].effective", "is required"),
        (
            BOOK % "versions: [{effective: soon}]",
            "price_books.b.versions[0].effective",
            "is no date",
        ),
        (
            BOOK % "versions: [{effective: 2026-01-01}, {effective: '2026-01-01T00:00:00Z'}]",
            "price_books.b.versions",
            "'2026-01-01' stands here twice",
        ),
        (
            BOOK % "versions: [{effective: 2026-01-01, markup: 0.2}]",
            "price_books.b.versions[0].markup",
            "like 20%",
        ),
        (
            BOOK % "versions: [{effective: 2026-01-01, prices: {m: {}}}]",
            "price_books.b.versions[0].prices.m",
            "names no price",
        ),
        (
            BOOK % "versions: [{effective: 2026-01-01, prices: {m: {input: -1}}}]",
            "price_books.b.versions[0].prices.m.input",
            "negative",
        ),
        (
            BOOK % "versions: [{effective: 2026-01-01, prices: {m: {inputs: 1}}}]",
            "price_books.b.versions[0].prices.m.inputs",
            "did you mean 'input'?",
        ),
        (GUARD % "stage: both", "guards.g", "needs a 'kind'"),
        (GUARD % "kind: patern", "guards.g.kind", "did you mean 'pattern'?"),
        (GUARD % 'kind: pattern, patterns: ["("]', "guards.g.patterns[0]", "regular expression"),
        (GUARD % "kind: pattern, pattern: x", "guards.g.pattern", "did you mean 'patterns'?"),
        (GUARD % "kind: pii, entities: [mail]", "guards.g.entities[0]", "did you mean 'email'?"),
        (GUARD % "kind: python, class: x", "guards.g.class", "is not of the form"),
        (GUARD % "kind: json_schema", "guards.g.schema", "is required"),
        (
            GUARD % "kind: prompt_injection, threshold: 2",
            "guards.g.threshold",
            "between 0 and 1",
        ),
        ("aliases: {a: {}}", "aliases.a.routes", "is required"),
        ("aliases: {a: {routes: []}}", "aliases.a.routes", "must not be empty"),
        (
            "aliases: {a: {routes: [{targets: [{model: m, weight: 0}]}]}}",
            "aliases.a.routes[0].targets",
            "above 0",
        ),
        (
            "aliases: {a: {routes: [{targets: [{model: m, weight: 1.5}]}]}}",
            "aliases.a.routes[0].targets[0].weight",
            "whole number",
        ),
        (ROUTE % "strategy: random", "aliases.a.routes[0].strategy", "must be 'weighted'"),
        (ROUTE % "sticky: key", "aliases.a.routes[0].sticky", "must be 'user'"),
        (WHEN % "has: [imges]", "aliases.a.routes[0].when.has[0]", "did you mean 'images'?"),
        (WHEN % "time: 9-17", "aliases.a.routes[0].when.time", "22:00-06:00"),
        (WHEN % "timezone: UTC", "aliases.a.routes[0].when.timezone", "needs a 'time'"),
        (WHEN % "input_tokens: {}", "aliases.a.routes[0].when.input_tokens", "'min' or 'max'"),
        (
            WHEN % "input_tokens: {min: 5, max: 4}",
            "aliases.a.routes[0].when.input_tokens.min",
            "not be above",
        ),
        (
            WHEN % "budget_used: {min: 120%}",
            "aliases.a.routes[0].when.budget_used.min",
            "at most 100%",
        ),
        (WHEN % "label: {env: 5}", "aliases.a.routes[0].when.label.env", "must be text"),
        (ALIAS % "fallback_on: [timeot]", "aliases.a.fallback_on[0]", "did you mean 'timeout'?"),
        (ALIAS % "fallbacks: [m, m]", "aliases.a.fallbacks", "twice"),
        (ALIAS % "cache: {mode: semantic}", "aliases.a.cache.embeddings", "is required"),
        (ALIAS % "cache: {mode: exact, ttl: 1}", "aliases.a.cache.ttl", "a duration is"),
        (ALIAS % "hedge: {}", "aliases.a.hedge.after", "is required"),
        (ALIAS % "mirror: {model: m, share: 1}", "aliases.a.mirror.share", "like 20%"),
        (ALIAS % "max_cost_per_request: lots", "aliases.a.max_cost_per_request", "decimal"),
        (TENANT % "status: paused", "tenants.acme.status", "must be 'active' or 'suspended'"),
        (TENANT % "aliases: pro", "tenants.acme.aliases", "must be a list"),
        (TENANT % "timezone: Mars", "tenants.acme.timezone", "time zone"),
        (TENANT % "cors_origins: [app.example]", "tenants.acme.cors_origins[0]", "of the form"),
        (TENANT % "keys: [{name: A}]", "tenants.acme.keys[0].name", "a name is"),
        (TENANT % "keys: [{name: a}, {name: a}]", "tenants.acme.keys", "'a' stands here twice"),
        (
            TENANT % "issuers: [{issuer: x, audience: y}]",
            "tenants.acme.issuers[0]",
            "exactly one of",
        ),
        (
            TENANT % "issuers: [{issuer: x, jwks_url: 'https://x'}]",
            "tenants.acme.issuers[0].audience",
            "is required",
        ),
        (
            TENANT % "hmac: [{name: a, header: 'b c', secret: x}]",
            "tenants.acme.hmac[0].header",
            "HTTP header",
        ),
        (
            TENANT % "webhooks: [{url: 'https://x', events: [budget.treshold]}]",
            "tenants.acme.webhooks[0].events[0]",
            "did you mean 'budget.threshold'?",
        ),
        (
            TENANT % "webhooks: [{url: 'https://x', events: [provider.down]}]",
            "tenants.acme.webhooks[0].secret",
            "is required",
        ),
        (
            TENANT % "webhooks: [{url: 'mailto:ada@acme.example', events: [provider.down]}]",
            "tenants.acme.webhooks[0].format",
            "must be 'email' for a mailto: address",
        ),
        (
            TENANT % "webhooks: [{url: 'https://x', format: email, events: [provider.down]}]",
            "tenants.acme.webhooks[0].url",
            "must be like mailto:finance@acme.example",
        ),
        (
            TENANT % "webhooks: [{url: 'mailto:ada', format: email, events: [provider.down]}]",
            "tenants.acme.webhooks[0].url",
            "must be one address",
        ),
        (TENANT % "price_factors: {cache_hit: -1}", "tenants.acme.price_factors.cache_hit", "0"),
        (TENANT % "own_aliases: {a: {rutes: []}}", "tenants.acme.own_aliases.a.rutes", "'routes'"),
    ],
)
def test_a_mistake_is_named_by_its_path(text: str, path: str, message: str) -> None:
    problems = _problems(text)
    assert path in problems
    assert message in problems[path]


def test_every_mistake_is_reported_at_once() -> None:
    problems = _problems("tenants: {a: {tear: x, timezone: Mars}, b: {status: gone}}")
    assert sorted(problems) == ["tenants.a.tear", "tenants.a.timezone", "tenants.b.status"]


def test_a_secret_is_never_quoted() -> None:
    text = PROVIDER % "credentials: [{name: a, secret: [sk-live-1234], weight: sk-live-1234}]"
    assert "sk-live" not in str(_problems(text))


def test_a_key_with_nothing_behind_it_says_nothing() -> None:
    document = Document.model_validate(load("gateway:\nguards:\ntenants:\n  acme:\n    tier:\n")[0])
    assert listed(document) == {"tenants": {"acme": {}}}


def test_defaults_are_left_out_and_values_have_one_form() -> None:
    text = """
        gateway: {max_request_bytes: 20000KB}
        tenants:
          acme:
            aliases: ["*"]
            limits: {requests_per_minute: {amount: 5}, tokens_per_day: {amount: 9, burst: 3}}
            budgets: [{amount: "5.00", period: day, hard: true, alert_at: [50.0%]}]
    """
    assert listed(Document.model_validate(load(text)[0])) == {
        "gateway": {},
        "tenants": {
            "acme": {
                "limits": {"requests_per_minute": 5, "tokens_per_day": {"amount": 9, "burst": 3}},
                "budgets": [{"amount": "5", "period": "day", "alert_at": ["50%"]}],
            }
        },
    }


def test_a_json_schema_keeps_its_numbers() -> None:
    text = GUARD % "kind: json_schema, schema: {type: number, multipleOf: 0.01, maximum: 10}"
    guard = listed(Document.model_validate(load(text)[0]))["guards"]["g"]
    assert guard["schema"] == {"type": "number", "multipleOf": 0.01, "maximum": 10}
