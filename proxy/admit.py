"""Admission: the moment after which a request has a usage record, whatever happens."""

from proxy.exchange import Exchange
from proxy.settle import first_record
from proxy.store import Store


def admit(exchange: Exchange, store: Store) -> None:
    """Makes the request durable before any upstream is called. Raises StoreUnavailable."""
    record = first_record(exchange)
    try:
        exchange.segment = store.admit(record, exchange.attempts)
    except BaseException:
        exchange.record = None
        raise
