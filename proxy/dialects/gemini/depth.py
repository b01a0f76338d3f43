"""How deep a request may be nested: as deep as we can follow it."""

from collections.abc import Iterator
from contextlib import contextmanager

from proxy.errors import InvalidRequest


@contextmanager
def followed() -> Iterator[None]:
    """Raises InvalidRequest where the interpreter gives up."""
    try:
        yield
    except RecursionError:
        raise InvalidRequest("The request is nested too deeply.") from None
