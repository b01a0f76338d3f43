"""The small GETs, which reach no upstream: the aliases of a key, a tenant's usage, and what became
of one request."""

import datetime
from urllib.parse import parse_qs

import orjson

from billing.explain import Reader, explain
from billing.requests import Sight
from proxy.authenticate import Caller
from proxy.choose import not_found
from proxy.errors import InvalidRequest, NotFound, ScopeMissing
from proxy.exchange import Exchange
from proxy.paths import Reading
from proxy.request_head import SAFE_TOKEN, end_user
from proxy.store import Store

_USAGE_BY = ("provider", "model", "alias", "project", "key", "user", "label")


async def read(exchange: Exchange, reading: Reading, query: bytes, store: Store) -> bytes:
    """The body that answers. Raises GatewayError."""
    if reading.what == "usage":
        return await _usage(exchange, query, store)
    if reading.what == "request":
        return await _request(exchange, reading.name, store)
    assert exchange.caller is not None
    aliases = exchange.caller.aliases
    if reading.what == "models":
        listed = [(name, alias.description) for name, alias in sorted(aliases.items())]
        return exchange.inbound.write_models(listed)
    alias = aliases.get(reading.name)
    if alias is None:
        raise not_found(exchange, reading.name)
    return exchange.inbound.write_model(reading.name, alias.description)


def _moment(
    query: dict[str, list[str]], name: str, default: datetime.datetime
) -> datetime.datetime:
    if name not in query:
        return default
    try:
        # A plus sign in a query means a blank to whoever decodes it.
        moment = datetime.datetime.fromisoformat(query[name][0].replace(" ", "+"))
    except ValueError:
        raise InvalidRequest(f"{name} is a day or a time, in ISO 8601", param=name) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


async def _usage(exchange: Exchange, raw_query: bytes, store: Store) -> bytes:
    """`GET /v1/usage?from=&to=&by=`: the tenant's own; by default of the last day, by alias."""
    caller = exchange.caller
    assert caller is not None
    if "usage:read" not in caller.scopes:
        raise ScopeMissing("This key lacks the scope usage:read.")
    query = parse_qs(raw_query.decode("latin-1"))
    now = datetime.datetime.now(tz=datetime.UTC)
    start = _moment(query, "from", now - datetime.timedelta(days=1))
    end = _moment(query, "to", now + datetime.timedelta(seconds=1))
    by = query.get("by", ["alias"])[0]
    if by not in _USAGE_BY:
        raise InvalidRequest(f"by is one of {', '.join(_USAGE_BY)}", param="by")
    if start >= end:
        raise InvalidRequest("from must be before to", param="from")
    usage = await store.usage(start=start, end=end, by=by, tenant=caller.tenant.name)
    return orjson.dumps(usage)


async def _request(exchange: Exchange, name: str, store: Store) -> bytes:
    """`GET /v1/requests/{record_id or request_id}`: what became of it, and why. One that is another
    tenant's, or another key's where that is all that may be seen, is not there."""
    caller = exchange.caller
    assert caller is not None
    if not SAFE_TOKEN.fullmatch(name.encode(errors="replace")):
        raise InvalidRequest(
            "A request is named by its record id, or by its request id: at most 128 of "
            "A-Z a-z 0-9 . _ : / + = @ -",
            param="request",
        )
    found = await store.request(name, _sight(caller))
    if found is None:
        raise NotFound(f"There is no request {name} that this key may see.")
    reader = Reader.TENANT_WITH_COST if "cost:read" in caller.scopes else Reader.TENANT
    return orjson.dumps(explain(found, reader))


def _sight(caller: Caller) -> Sight:
    """A key that may not read its tenant's usage sees what it made itself; the users of an issuer,
    who share one, each their own, and one without a name what nobody is named for."""
    if "usage:read" in caller.scopes:
        return Sight(caller.tenant.name)
    user = end_user(caller.user, None)
    is_shared = caller.key_id.startswith("issuer:")
    return Sight(caller.tenant.name, caller.key_id, user if user or is_shared else None)
