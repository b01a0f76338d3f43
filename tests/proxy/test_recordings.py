"""Every recorded answer of chat completions comes through as it was, however it was cut."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import transaction

from billing.records import Record
from proxy.chat.usage import Usage
from proxy.snapshot import read_snapshot
from tenants.keys import issue_key
from tests.proxy import recorded
from tests.proxy.configuration import FIRST_COST, alias, books, provider
from tests.proxy.in_process import InProcess, Outcome, Script
from tests.proxy.recorded import Exchange

CHUNKINGS = [recorded.whole, recorded.line_by_line, recorded.byte_by_byte]

# The mark has the database set up, which the fixture below reads once.
pytestmark = [
    pytest.mark.once,
    pytest.mark.usefixtures("recordings"),
    pytest.mark.django_db,
]


@pytest.fixture(scope="module")
def gateway(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """A snapshot outlives the transaction that it was read in."""
    document = {
        "version": 1,
        "providers": {"recorded": provider("http://recorded.invalid/v1")},
        "models": {"recorded-model": {"provider": "recorded", "upstream": "recorded-upstream"}},
        "price_books": books(**{"recorded-model": FIRST_COST}),
        "aliases": {"recorded": alias("recorded-model")},
        "tenants": {"acme": {"price_book": "standard"}},
    }
    path: Path = tmp_path_factory.mktemp("recordings") / "gateway.yaml"
    path.write_text(yaml.safe_dump(document))
    with django_db_blocker.unblock(), transaction.atomic():
        call_command("apply_config", str(path), verbosity=0)
        token = issue_key(tenant="acme", name="worker", opaque=True).token
        snapshot = read_snapshot(None)
        transaction.set_rollback(True)
    process = InProcess(snapshot, token)
    yield process
    process.close()


@pytest.fixture(params=CHUNKINGS, ids=lambda cut: cut.__name__)
def chunks(request: pytest.FixtureRequest) -> Callable[[bytes], list[bytes]]:
    cut: Callable[[bytes], list[bytes]] = request.param
    return cut


def replay(
    gateway: InProcess, exchange: Exchange, chunks: Callable[[bytes], list[bytes]]
) -> Outcome:
    script = Script(
        status=exchange["response_status"],
        headers=recorded.headers_of(exchange),
        chunks=chunks(exchange["response_body"].encode()),
    )
    body = json.dumps(recorded.asked(exchange, "recorded"), ensure_ascii=False).encode()
    return gateway.ask("/v1/chat/completions", body, [script])


def metered(record: Record) -> Usage:
    return Usage(
        input=record.input_tokens,
        cached_input=record.cached_input_tokens,
        cache_write=record.cache_write_tokens,
        output=record.output_tokens,
        reasoning=record.reasoning_tokens,
    )


def _answered(exchange: Exchange) -> bool:
    return exchange["response_status"] == 200 and not recorded.has_error_inside(exchange)


@pytest.mark.parametrize("id_", recorded.ids(_answered))
def test_an_answer_is_passed_on_and_metered(
    gateway: InProcess, id_: str, chunks: Callable[[bytes], list[bytes]]
) -> None:
    exchange = recorded.exchanges()[id_]
    outcome = replay(gateway, exchange, chunks)
    assert outcome.status == 200, outcome.body
    assert outcome.body == recorded.delivered(exchange)
    assert outcome.record is not None
    assert outcome.record.outcome == "completed"
    expected = recorded.usage_of(exchange)
    if expected is None:
        assert outcome.record.usage_source == "estimated"
    else:
        assert outcome.record.usage_source == "provider"
        assert metered(outcome.record) == expected


_OWN_BODY = (400, 413, 422)
_BECOMES = {429: (429, "rate_limit_exceeded")}


@pytest.mark.parametrize(
    "id_", recorded.ids(lambda exchange: exchange["response_status"] in _OWN_BODY)
)
def test_a_refusal_of_the_request_itself_is_passed_on(
    gateway: InProcess, id_: str, chunks: Callable[[bytes], list[bytes]]
) -> None:
    exchange = recorded.exchanges()[id_]
    outcome = replay(gateway, exchange, chunks)
    assert outcome.status == exchange["response_status"]
    assert outcome.body == exchange["response_body"].encode()
    assert outcome.record is not None
    assert outcome.record.outcome == "failed"
    assert outcome.record.charge == 0


def _is_our_error(exchange: Exchange) -> bool:
    return exchange["response_status"] not in (200, *_OWN_BODY)


@pytest.mark.parametrize("id_", recorded.ids(_is_our_error))
def test_any_other_error_becomes_ours(
    gateway: InProcess, id_: str, chunks: Callable[[bytes], list[bytes]]
) -> None:
    exchange = recorded.exchanges()[id_]
    outcome = replay(gateway, exchange, chunks)
    status, code = _BECOMES.get(exchange["response_status"], (502, "upstream_error"))
    error = json.loads(outcome.body)["error"]
    assert (outcome.status, error["code"]) == (status, code)
    assert error["message"]
    assert error["request_id"] == outcome.headers["x-request-id"]
    assert outcome.record is not None
    assert (outcome.record.outcome, outcome.record.charge) == ("failed", 0)


def _errs_inside(exchange: Exchange) -> bool:
    return exchange["response_status"] == 200 and recorded.has_error_inside(exchange)


@pytest.mark.parametrize("id_", recorded.ids(_errs_inside))
def test_an_error_inside_a_200_is_no_answer(
    gateway: InProcess, id_: str, chunks: Callable[[bytes], list[bytes]]
) -> None:
    exchange = recorded.exchanges()[id_]
    outcome = replay(gateway, exchange, chunks)
    assert outcome.record is not None
    if outcome.status == 200:
        assert outcome.body == exchange["response_body"].encode()
        assert outcome.record.outcome == "interrupted"
    else:
        assert json.loads(outcome.body)["error"]["code"]
        assert outcome.record.outcome == "failed"


@pytest.mark.parametrize("id_", recorded.ids(lambda exchange: exchange["request_body"]))
def test_a_request_reaches_the_provider_as_it_was(gateway: InProcess, id_: str) -> None:
    exchange = recorded.exchanges()[id_]
    sent = json.loads(replay(gateway, exchange, recorded.whole).sent[0])
    expected = {**exchange["request_body"], "model": "recorded-upstream"}
    if exchange["request_body"].get("stream"):
        options = exchange["request_body"].get("stream_options") or {}
        expected["stream_options"] = {**options, "include_usage": True}
    assert sent == expected
