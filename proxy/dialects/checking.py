"""A body against the fields that a dialect documents."""

import json
from typing import Any, TypeVar

import msgspec

from proxy.errors import InvalidRequest

T = TypeVar("T")


def checked(fields: dict[str, Any], shape: type[T]) -> T:
    """The fields as a shape. Raises InvalidRequest naming the one at fault, as a path."""
    try:
        return msgspec.convert(fields, shape)
    except UnicodeEncodeError:
        # All that msgspec says of a lone surrogate out of place; without it, it names the field.
        readable = json.dumps(fields, ensure_ascii=False).encode(errors="replace")
        return checked(json.loads(readable), shape)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        path = where.rstrip("`")
        if "missing required field" in what:
            name = what.split("`")[1]
            path = f"{path}.{name}" if path else name
            raise InvalidRequest(f"{path} is required", param=path) from None
        raise InvalidRequest(f"{path}: {what[0].lower()}{what[1:]}", param=path) from None
