"""How deep a request may be nested: as deep as we can follow it."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from proxy.errors import InvalidRequest

Given = ParamSpec("Given")
T = TypeVar("T")


def followed(read: Callable[Given, T], *given: Given.args, **named: Given.kwargs) -> T:
    """What `read` makes of a request. Raises InvalidRequest where the interpreter gives up."""
    try:
        return read(*given, **named)
    except RecursionError:
        raise InvalidRequest("The request is nested too deeply.") from None
