"""The caller's own body, asking for another model, and for nothing to be stored."""

from proxy.dialects.responses.carried import may_hold_carried, without_carried
from proxy.dialects.responses.shapes import ResponsesBody
from proxy.dialects.splicing import serialised, with_members, with_model

_STORE_NOTHING = b'"store":false'


def for_upstream(raw: bytes, body: ResponsesBody, model: str) -> tuple[bytes, bool]:
    """The body to send. Usage is always reported, so it asks for none."""
    items = body.input
    if isinstance(items, list) and may_hold_carried(raw):
        own = without_carried(items)
        if own != items:
            return serialised(raw, model=model, store=False, input=own), False
    spliced = with_model(raw, body.model, model)
    if spliced is None or (body.names_store and body.store is None):
        return serialised(raw, model=model, store=False), False
    return with_members(spliced, [] if body.names_store else [_STORE_NOTHING]), False
