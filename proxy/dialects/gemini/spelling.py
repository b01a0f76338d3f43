"""camelCase and snake_case: the API takes either spelling of a field (protobuf's JSON mapping,
protobuf.dev/programming-guides/json), and a single message where it expects a list of them."""

import re
from typing import Any

from proxy.errors import InvalidRequest

_UNDERSCORE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_AS_THEY_ARE = frozenset(
    {
        "args",
        "response",
        "labels",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "partMetadata",
    }
)
"""Fields whose members are the caller's own words, not the API's."""
_CONTAINERS = (dict, list)
_LISTS = frozenset({"contents", "parts", "tools", "functionDeclarations", "safetySettings"})


def camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name) if "_" in name else name


def in_camel_case(fields: dict[str, Any], at: str = "") -> dict[str, Any]:
    """The same fields in the API's own spelling. Raises InvalidRequest for one given in both."""
    spelled: dict[str, Any] = {}
    for given, value in fields.items():
        name = camel(given)
        if name in spelled:
            raise InvalidRequest(f"{at}{name} is given twice", param=f"{at}{name}")
        if isinstance(value, _CONTAINERS) and name not in _AS_THEY_ARE:
            in_list = [value] if name in _LISTS and isinstance(value, dict) else value
            spelled[name] = _inside(in_list, f"{at}{name}")
        else:
            spelled[name] = value
    return spelled


def _inside(value: Any, at: str) -> Any:
    if isinstance(value, dict):
        return in_camel_case(value, f"{at}.")
    if isinstance(value, list):
        return [
            _inside(item, f"{at}[{index}]") if isinstance(item, _CONTAINERS) else item
            for index, item in enumerate(value)
        ]
    return value
