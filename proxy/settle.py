"""Usage to charge to usage record: once for each admitted request, whatever became of it."""

import datetime
import time
from functools import lru_cache, partial

import msgspec
import orjson

from billing.pricing import Tokens, charged_tokens
from billing.records import Entry, Record
from proxy import meter, metrics
from proxy.chat.usage import Usage
from proxy.decision import decision_of
from proxy.dialects.openai import embeddings
from proxy.errors import GatewayError
from proxy.exchange import Exchange, Rates
from proxy.store import Store

_UNPRICED = Rates(None, None)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    return datetime.datetime.fromtimestamp(whole, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def moment(seconds: float) -> str:
    """ISO-8601 in UTC with microseconds. A second is written once for all who share it."""
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micro:06d}+00:00"


def first_record(exchange: Exchange) -> Record:
    """What the record would be if the worker died before anything came back."""
    caller, alias = exchange.caller, exchange.alias
    assert caller is not None and alias is not None and exchange.choice is not None
    record = Record(
        record_id=exchange.record_id,
        request_id=exchange.request_id,
        started_at=moment(exchange.started_at),
        tenant=caller.tenant.name,
        project=exchange.project,
        key_id=caller.key_id,
        key=caller.key,
        user=exchange.user,
        alias=alias.name,
        endpoint=exchange.endpoint.name,
        status=0,
        outcome="interrupted",
        ended_by="gateway",
        stream=exchange.stream,
        cache="BYPASS",
        labels=orjson.dumps(exchange.labels).decode() if exchange.labels else "{}",
        decision=decision_of(exchange),
    )
    exchange.record = record
    exchange.target = exchange.choice.targets[0]
    asked = Usage(input=meter.quick_count(exchange.raw))
    price(exchange, asked, "estimated", caller.tenant.on_disconnect)
    return record


def _policy(exchange: Exchange) -> str:
    """Why the charge is what it is: the use itself, or the policy for an answer that was cut."""
    assert exchange.caller is not None
    if exchange.outcome == "failed":
        return "nothing"
    if exchange.outcome == "completed":
        return "usage"
    return exchange.caller.tenant.on_disconnect if exchange.ended_by == "caller" else "delivered"


def _reserved(exchange: Exchange, usage: Usage) -> Tokens:
    """The most that the request could have used."""
    assert exchange.target is not None
    bound = exchange.exposures[exchange.target.model.identity].bound
    output = usage.total_output if bound.output is None else bound.output
    return Tokens(input=max(usage.total_input, bound.input), output=output)


def tokens_of(usage: Usage) -> Tokens:
    """As they are priced."""
    return Tokens(usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning)


def _lost(exchange: Exchange) -> tuple[int, int]:
    """What the hedges that lost cost and are charged, in nano-units."""
    attempts = exchange.attempts
    return sum(row.cost or 0 for row in attempts), sum(row.charge or 0 for row in attempts)


def price(exchange: Exchange, usage: Usage, source: str, policy: str) -> None:
    """Puts usage, cost and charge on the record. Tokens are those of the answer; the amounts hold
    what a hedge that lost came to as well."""
    record, target = exchange.record, exchange.target
    assert record is not None and target is not None
    rates = exchange.rates.get(target.model.identity, _UNPRICED)
    record.provider = target.model.provider.name
    record.model = target.model.name
    record.upstream_model = target.model.upstream
    record.input_tokens = usage.input
    record.cached_input_tokens = usage.cached_input
    record.cache_write_tokens = usage.cache_write
    record.output_tokens = usage.output
    record.reasoning_tokens = usage.reasoning
    record.usage_source = source
    record.charge_policy = policy
    record.quarantined = None in rates
    record.cost = record.charge = record.absorbed = None  # of a target that was asked before
    record.cost_currency = record.cost_price_version = ""
    record.charge_currency = record.charge_price_version = ""
    failed = exchange.outcome == "failed" or exchange.is_free
    lost_cost, lost_charge = _lost(exchange) if exchange.is_hedged else (0, 0)
    used = tokens_of(usage)
    charged = None
    if not exchange.is_free:
        charged = charged_tokens(used, policy, partial(_reserved, exchange, usage))
    if rates.cost is not None:
        record.cost = 0 if failed else rates.cost.amount(used) + lost_cost
        record.cost_currency, record.cost_price_version = rates.cost.currency, rates.cost.version
    if rates.charge is not None:
        record.charge = 0 if charged is None else rates.charge.amount(charged) + lost_charge
        _absorb(exchange, record)
        record.charge_currency = rates.charge.currency
        record.charge_price_version = rates.charge.version
    exchange.cost, exchange.charge = record.cost, record.charge


def _absorb(exchange: Exchange, record: Record) -> None:
    """A hard budget held so much for the request, and more it is not charged: the rest is ours."""
    reserved = record.reserved = exchange.reserved
    assert record.charge is not None
    record.absorbed = None
    if reserved is not None and record.charge > reserved:
        record.absorbed, record.charge = record.charge - reserved, reserved


def _asked(exchange: Exchange) -> int:
    """Input tokens, estimated."""
    try:
        if exchange.endpoint.kind == "embeddings":
            return meter.count_inputs(embeddings.read_request(exchange.body))
        return meter.count_request(exchange.read_request())
    except GatewayError:
        return meter.quick_count(exchange.raw)


def metered(exchange: Exchange) -> tuple[Usage, str]:
    """The provider's report, else what was delivered, else nothing for an answer that failed."""
    if exchange.usage is not None:
        if exchange.outcome == "interrupted" and exchange.usage_is_early and exchange.delivered:
            return _metered_so_far(exchange.usage, exchange.delivered)
        return exchange.usage, "provider"
    if exchange.outcome == "failed":
        return Usage(), "estimated"
    asked = _asked(exchange)
    if exchange.delivered is None:
        return Usage(input=asked), "estimated"
    return exchange.delivered.usage(input_tokens=asked), "estimated"


def _metered_so_far(reported: Usage, delivered: meter.Delivered) -> tuple[Usage, str]:
    """Of an answer that was cut: what was reported before its content (Anthropic's one token when a
    message starts) counts the input, and too little of what was delivered."""
    counted = delivered.usage(input_tokens=0)
    if counted.total_output <= reported.total_output:
        return reported, "provider"
    output, reasoning = counted.output, counted.reasoning
    return msgspec.structs.replace(reported, output=output, reasoning=reasoning), "estimated"


def settle(exchange: Exchange, store: Store) -> Entry | None:
    """Prices the request and makes its record durable here; returns what remains to be counted and
    written. None: there is nothing to settle, or it was done."""
    record = exchange.record
    if record is None or exchange.settled:
        return None
    now = time.perf_counter()
    if exchange.is_hedged and exchange.outcome == "failed":
        for row in exchange.attempts:
            row.cost = row.charge = row.usage = None
    usage, source = metered(exchange)
    price(exchange, usage, source, _policy(exchange))
    record.status = exchange.status
    record.outcome = exchange.outcome
    record.ended_by = exchange.ended_by
    record.error_code = exchange.error_code
    record.attempts = len(exchange.attempts)
    record.latency_us = _microseconds(now - exchange.started)
    if exchange.first_token:
        record.first_token_us = _microseconds(exchange.first_token - exchange.started)
    waited = (exchange.answered or now) - exchange.called if exchange.called else 0.0
    record.gateway_us = _microseconds(max(now - exchange.started - waited, 0.0))
    assert exchange.choice is not None
    if exchange.warnings or exchange.choice.passed_over:
        record.decision = decision_of(exchange)
    entry = Entry(True, record, exchange.attempts)
    assert exchange.segment is not None
    line = store.settle(exchange.segment, entry)
    if exchange.hold is not None:
        exchange.hold.entry = line
    exchange.settled = True
    metrics.count_request(record, exchange.attempts)
    return entry
