"""The small GETs, which reach no upstream: the aliases of a key, and a tenant's usage."""

import datetime
from urllib.parse import parse_qs

import orjson

from proxy.choose import not_found
from proxy.errors import InvalidRequest, ScopeMissing
from proxy.exchange import Exchange
from proxy.paths import Reading
from proxy.store import Store

_USAGE_BY = ("provider", "model", "alias", "project", "key", "user", "label")


async def read(exchange: Exchange, reading: Reading, query: bytes, store: Store) -> bytes:
    """The body that answers. Raises GatewayError."""
    if reading.what == "usage":
        return await _usage(exchange, query, store)
    assert exchange.caller is not None
    aliases = exchange.caller.aliases
    if reading.what == "models":
        listed = [(name, alias.description) for name, alias in sorted(aliases.items())]
        return exchange.inbound.write_models(listed)
    alias = aliases.get(reading.alias)
    if alias is None:
        raise not_found(exchange, reading.alias)
    return exchange.inbound.write_model(reading.alias, alias.description)


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
