"""What changes, one readable line for each path; secrets are named, never shown."""

import json
from collections.abc import Iterator
from typing import Any

from routing.config.normal import Plain
from routing.config.problems import join
from routing.config.secret_values import Secret

_NOTHING = object()


def changes(stored: Plain, target: Plain) -> list[str]:
    """`+ tenants.acme`, `~ tenants.acme.tier: "free" -> "pro"`, `- aliases.old`, from two keyed
    configurations."""
    lines: list[str] = []
    for section in target:
        lines += _mappings(section, stored.get(section, {}), target[section])
    return lines


def _mappings(path: str, old: Plain, new: Plain) -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        yield from _values(_step(path, key), old.get(key, _NOTHING), new.get(key, _NOTHING))


def _step(path: str, key: str) -> str:
    """Names that would blur a dotted path, such as URLs, stand in brackets."""
    return join(path, key) if not set(key) & set(":/ ") else f"{path}[{key}]"


def _values(path: str, old: Any, new: Any) -> Iterator[str]:
    if old is _NOTHING:
        yield f"+ {path}{_shown(new)}"
    elif new is _NOTHING:
        yield f"- {path}{_shown(old)}"
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _mappings(path, old, new)
    elif old == new:
        return
    elif _are_shapes(old) and _are_shapes(new):
        for index in range(max(len(old), len(new))):
            yield from _values(f"{path}[{index}]", _at(old, index), _at(new, index))
    elif isinstance(old, Secret) or isinstance(new, Secret):
        yield f"~ {path}"
    else:
        yield f"~ {path}: {_text(old)} -> {_text(new)}"


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else _NOTHING


def _are_shapes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _shown(value: Any) -> str:
    return "" if isinstance(value, dict | Secret) else f": {_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
