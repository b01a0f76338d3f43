"""An installation with records, and drafts of other ones."""

import datetime
import json
import uuid
from typing import Any

from django.utils import timezone

from billing.models import UsageRecord
from billing.pricing import Tokens
from billing.simulation.draft import read_draft
from billing.simulation.report import as_dict
from billing.simulation.totals import simulate
from billing.snapshots import COST_BOOK, PricedModel
from proxy.decision import decision_of
from routing import config
from routing.choose import choose
from routing.configured import Configured, read_configured
from routing.facts import Facts
from tests.proxy.asking import exchange

FILE = """
providers: {demo: {dialect: demo}}
models:
  large: {provider: demo, upstream: demo-large, context_window: 100000}
  small: {provider: demo, upstream: demo-small, context_window: 100000}
  embed: {provider: demo, upstream: demo-embed, kind: embeddings}
price_books:
  cost:
    versions:
      - effective: 2026-01-01
        prices:
          large: {input: 2.50, cached_input: 1.25, output: 10, reasoning: 12}
          small: {input: 0.15, output: 0.60}
          embed: {input: 0.02}
  standard:
    based_on: cost
    versions: [{effective: 2026-01-01, markup: 20%}]
aliases:
  pro: {routes: [{targets: [{model: large}]}]}
  mini: {routes: [{targets: [{model: small}]}]}
  embed: {routes: [{targets: [{model: embed}]}]}
tenants:
  acme: {aliases: ["*"], price_book: standard, timezone: Europe/Berlin}
  globex: {aliases: ["*"], price_book: standard}
"""
_PRO = "pro: {routes: [{targets: [{model: large}]}]}"
MODEL_OF = {"pro": "large", "mini": "small", "embed": "embed"}
HOUR_AGO = datetime.timedelta(hours=1)


def of_acme(said: str, text: str = FILE) -> str:
    """The file with something more said of acme."""
    return text.replace("acme: {aliases", f"acme: {{{said}, aliases")


def of_pro(said: str, text: str = FILE) -> str:
    """The file with another alias `pro`."""
    assert _PRO in text
    return text.replace(_PRO, f"pro: {{{said}}}")


def install(text: str = FILE) -> Configured:
    config.apply(text, source="installed.yaml", prune=True)
    return read_configured()


def make_record(configured: Configured, **facts: Any) -> UsageRecord:
    """A record that is priced as the configuration says: unsaved. `started_at` is an hour ago."""
    given: dict[str, Any] = {
        "record_id": uuid.uuid4(),
        "started_at": timezone.now() - HOUR_AGO,
        "tenant": "acme",
        "alias": "pro",
        "endpoint": "chat",
        "status": 200,
        "outcome": "completed",
        "ended_by": "upstream",
        "charge_policy": "usage",
        "stream": False,
        "input_tokens": 1_000,
        "output_tokens": 500,
        "latency_us": 800_000,
        **facts,
    }
    given.setdefault("request_id", str(given["record_id"]))
    given.setdefault("model", MODEL_OF[given["alias"]])
    record = UsageRecord(**given)
    if "decision" not in given:
        record.decision = decision_of_gateway(configured, record)
    _price(record, configured)
    return record


def decision_of_gateway(
    configured: Configured,
    record: UsageRecord,
    *,
    contents: frozenset[str] = frozenset(),
    complexity: str | None = None,
    tokens: int | None = None,
) -> dict[str, Any]:
    """What the gateway pins when it chooses for a request of that caller."""
    aliases = configured.routing.aliases
    alias = aliases.get((record.tenant, record.alias)) or aliases["", record.alias]
    facts = Facts(
        tenant=record.tenant,
        user=record.user,
        project=record.project,
        labels=record.labels,
        moment=record.started_at.timestamp(),
        count_tokens=lambda: record.input_tokens if tokens is None else tokens,
        look_inside=lambda: contents,
        judge=lambda: complexity,
    )
    asked = exchange("/v1/chat/completions", {"model": record.alias, "messages": []})
    asked.choice, asked.found_out = choose(alias, facts), facts.found_out
    decision: dict[str, Any] = json.loads(decision_of(asked))
    return decision


def _price(record: UsageRecord, configured: Configured) -> None:
    model = configured.routing.models["", record.model]
    priced = PricedModel(model.name, model.provider.dialect, model.upstream)
    moment = record.started_at.timestamp()
    cost = configured.billing.rate(COST_BOOK, priced, moment)
    charge = configured.billing.rate(configured.tenants[record.tenant].price_book, priced, moment)
    assert cost is not None
    assert charge is not None
    used = Tokens(
        record.input_tokens,
        record.cached_input_tokens,
        record.cache_write_tokens,
        record.output_tokens,
        record.reasoning_tokens,
    )
    charged = {
        "nothing": Tokens(),
        "input": Tokens(used.input, used.cached_input, used.cache_write),
    }.get(record.charge_policy, used)
    free = record.endpoint == "count_tokens"
    record.cost = 0 if record.outcome == "failed" or free else cost.amount(used)
    record.charge = 0 if record.charge_policy == "nothing" or free else charge.amount(charged)
    record.cost_currency, record.charge_currency = cost.currency, charge.currency
    record.cost_price_version, record.charge_price_version = cost.version, charge.version


def add(configured: Configured, number: int = 1, **facts: Any) -> list[UsageRecord]:
    return UsageRecord.objects.bulk_create(
        [make_record(configured, **facts) for _ in range(number)]
    )


def simulated(text: str, *, tenant: str | None = None, prune: bool = False) -> dict[str, Any]:
    """The last day under a draft, as `simulate --json` prints it."""
    end = timezone.now()
    draft = read_draft(text, source="draft.yaml", prune=prune)
    start = end - datetime.timedelta(days=1)
    return as_dict(simulate(draft, start=start, end=end, tenant=tenant))
