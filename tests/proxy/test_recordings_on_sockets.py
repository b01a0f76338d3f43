"""Every recorded answer of chat completions, event by event over sockets through a real gateway."""

import json

import httpx
import pytest

from tests.fake_upstream import FakeUpstream, Script, stream, whole
from tests.gateway_process import GatewayProcess, eventually
from tests.proxy import recorded
from tests.proxy.recorded import Exchange

pytestmark = pytest.mark.usefixtures("recordings")

PROVIDERS = sorted({exchange["provider"] for exchange in recorded.exchanges().values()})


def _script(exchange: Exchange) -> Script:
    body, headers = exchange["response_body"].encode(), recorded.headers_of(exchange)
    content_type = headers.pop("content-type")
    if exchange["response_framing"] == "sse":
        return stream(recorded.events(body), content_type=content_type)
    status = exchange["response_status"]
    return whole(body, status=status, headers=headers, content_type=content_type)


def _ask(caller: httpx.Client, upstream: FakeUpstream, exchange: Exchange) -> httpx.Response:
    upstream.at("first").answers(_script(exchange))
    body = json.dumps(recorded.asked(exchange, "pro")).encode()
    headers = {"content-type": "application/json"}
    return caller.post("/v1/chat/completions", content=body, headers=headers)


def _is_whole(exchange: Exchange) -> bool:
    return exchange["response_status"] == 200 and not recorded.has_error_inside(exchange)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answers_are_passed_on_and_metered(
    gateway: GatewayProcess, caller: httpx.Client, upstream: FakeUpstream, provider: str
) -> None:
    expected = {}
    for id_, exchange in recorded.exchanges().items():
        if exchange["provider"] == provider and _is_whole(exchange):
            answer = _ask(caller, upstream, exchange)
            assert answer.status_code == 200, id_
            assert answer.content == recorded.delivered(exchange), id_
            expected[answer.headers["x-gateway-record-id"]] = recorded.usage_of(exchange)
    assert expected
    records = eventually(lambda: _records(gateway, list(expected)), within=10, what="the records")
    for record in records:
        usage = expected[record["record_id"]]
        assert record["outcome"] == "completed"
        assert record["usage_source"] == ("provider" if usage else "estimated")
        if usage is not None:
            assert [record[f"{bucket}_tokens"] for bucket in usage.__struct_fields__] == [
                getattr(usage, bucket) for bucket in usage.__struct_fields__
            ]


def _records(gateway: GatewayProcess, ids: list[str]) -> list[dict[str, object]] | None:
    found = gateway.records(record_id__in=ids)
    return found if len(found) == len(ids) else None
