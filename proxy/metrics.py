"""Prometheus metrics. Labels are few and bounded by configuration: never a key, a user or a text.

One worker counts in memory; several count in files of PROMETHEUS_MULTIPROC_DIR, which `serve` sets,
so that any of them answers for all.
"""

import hmac
import os
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from billing.records import AttemptRow, Record

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_REGISTRY = CollectorRegistry()
_LATENCIES = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    "gateway_requests",
    "Requests that have a usage record.",
    ["endpoint", "alias", "outcome"],
    registry=_REGISTRY,
)
REFUSALS = Counter(
    "gateway_refusals", "Requests refused before any upstream.", ["code"], registry=_REGISTRY
)
TOKENS = Counter(
    "gateway_tokens", "Tokens by model and direction.", ["model", "direction"], registry=_REGISTRY
)
ATTEMPTS = Counter(
    "gateway_attempts",
    "Tries at upstreams; an empty kind is a success.",
    ["provider", "model", "kind"],
    registry=_REGISTRY,
)
SECONDS = Histogram(
    "gateway_request_seconds",
    "From the first byte of a request to the settled record.",
    ["endpoint"],
    buckets=_LATENCIES,
    registry=_REGISTRY,
)
GATEWAY_SECONDS = Histogram(
    "gateway_own_seconds",
    "What the gateway itself took of that.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05),
    registry=_REGISTRY,
)
STORE_FAILURES = Counter(
    "gateway_store_failures",
    "Requests whose limits could not be checked, by what became of them.",
    ["outcome"],
    registry=_REGISTRY,
)
ABSORBED = Counter(
    "gateway_absorbed_nano",
    "What providers reported beyond reservations, in nano-units of currency.",
    ["provider"],
    registry=_REGISTRY,
)
OPENED = Counter(
    "gateway_opened",
    "Models, providers and credentials taken out after failures, and accounts after rate limits.",
    ["kind", "subject", "reason"],
    registry=_REGISTRY,
)
COPIES = Counter(
    "gateway_copies",
    "Requests that were drawn to be copied to a candidate, by what became of the copy.",
    ["alias", "outcome"],
    registry=_REGISTRY,
)
PROBES = Counter(
    "gateway_probes",
    "Lists of models that were asked for beside requests, by what became of them.",
    ["provider", "outcome"],
    registry=_REGISTRY,
)
TAKEN_OUT = Gauge(
    "gateway_taken_out",
    "1 for each model, provider, credential and account that is open or half-open now.",
    ["kind", "subject", "state"],
    multiprocess_mode="livemostrecent",
    registry=_REGISTRY,
)
WAITING = Gauge(
    "gateway_records_waiting",
    "Settled records that are not in the database yet.",
    multiprocess_mode="livesum",
    registry=_REGISTRY,
)


@cache
def _series(endpoint: str, alias: str, outcome: str, model: str) -> tuple[Counter, ...]:
    """The counters of one kind of request: looking labels up costs more than counting."""
    return (
        REQUESTS.labels(endpoint, alias, outcome),
        TOKENS.labels(model, "input"),
        TOKENS.labels(model, "output"),
    )


@cache
def _seconds(endpoint: str) -> Histogram:
    return SECONDS.labels(endpoint)


@cache
def _attempts(provider: str, model: str, kind: str) -> Counter:
    return ATTEMPTS.labels(provider, model, kind)


def count_store_failure(outcome: str) -> None:
    """One request that met a store of counters that is away: `refused` or `skipped`."""
    STORE_FAILURES.labels(outcome).inc()


def count_absorbed(provider: str, nano: int) -> None:
    """What a provider reported beyond its reservation."""
    ABSORBED.labels(provider).inc(nano)


def count_request(record: Record, attempts: list[AttemptRow]) -> None:
    """One settled request."""
    requests, tokens_in, tokens_out = _series(
        record.endpoint, record.alias, record.outcome, record.model
    )
    requests.inc()
    tokens_in.inc(record.input_tokens + record.cached_input_tokens + record.cache_write_tokens)
    tokens_out.inc(record.output_tokens + record.reasoning_tokens)
    _seconds(record.endpoint).observe(record.latency_us / 1_000_000)
    GATEWAY_SECONDS.observe(record.gateway_us / 1_000_000)
    for attempt in attempts:
        _attempts(attempt.provider, attempt.model, attempt.error_kind).inc()


def count_refusal(code: str) -> None:
    """One request refused before it cost anything."""
    REFUSALS.labels(code).inc()


def count_opened(kind: str, subject: str, reason: str) -> None:
    """Something is not asked for a while."""
    OPENED.labels(kind, subject, reason).inc()


def count_copy(alias: str, outcome: str) -> None:
    """One request that was drawn for an alias's mirror: `answered`, `failed`, `cancelled`, or why
    it was not sent."""
    COPIES.labels(alias, outcome).inc()


def count_probe(provider: str, outcome: str) -> None:
    """`answered`, `refused`, or the kind of failure."""
    PROBES.labels(provider, outcome).inc()


def show_taken_out(kind: str, subject: str, state: str) -> None:
    """How something stands that has failed lately."""
    for one in ("open", "half_open"):
        TAKEN_OUT.labels(kind, subject, one).set(one == state)


def may_read(wanted: str | None, given: bytes | None) -> bool:
    """Whether a bearer token opens the metrics; without a configured one they are open."""
    if wanted is None:
        return True
    scheme, _, token = (given or b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(token, wanted.encode())


def exposition() -> bytes:
    """The metrics of all workers, in Prometheus' text format."""
    registry = _REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return generate_latest(registry)
