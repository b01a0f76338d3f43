"""JSON of upstreams into shapes, with one error for all that may be wrong with it."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoder(shape: type[T]) -> Callable[[bytes], T]:
    """A function that raises msgspec.DecodeError, also for valid JSON of another shape, for text
    that is not UTF-8, and for what is nested too deeply."""
    decode = msgspec.json.Decoder(shape).decode

    def read(data: bytes) -> T:
        try:
            return decode(data)
        except UnicodeDecodeError:
            raise msgspec.DecodeError("It is not UTF-8.") from None
        except RecursionError:
            raise msgspec.DecodeError("It is nested too deeply.") from None

    return read
