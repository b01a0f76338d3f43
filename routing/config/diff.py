"""What changes, one readable line for each path; secrets are named, never shown."""

import json
from collections.abc import Iterator
from typing import Any

from routing.config.normal import Plain
from routing.config.schema_paths import default
from routing.config.secret_values import Secret

_NOTHING = object()


def changes(stored: Plain, target: Plain) -> list[str]:
    """`+ tenants.acme`, `~ tenants.acme.tier: free -> pro`, `- aliases.old`, from two keyed
    configurations. A field that has a default is never new or gone: it comes from or goes to it."""
    lines: list[str] = []
    for section in target:
        lines += _mappings([section], stored.get(section, {}), target[section])
    return lines


def _mappings(steps: list[str], old: Plain, new: Plain) -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        yield from _values([*steps, key], old.get(key, _NOTHING), new.get(key, _NOTHING))


def _values(steps: list[str], old: Any, new: Any) -> Iterator[str]:
    if old is _NOTHING or new is _NOTHING:
        usual = _usual(steps, new if old is _NOTHING else old)
        if usual is None:
            sign, value = ("+", new) if old is _NOTHING else ("-", old)
            yield f"{sign} {_path(steps)}{_shown(value)}"
            return
        old, new = (usual if value is _NOTHING else value for value in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _mappings(steps, old, new)
    elif old == new:
        return
    elif _are_shapes(old) and _are_shapes(new):
        for index in range(max(len(old), len(new))):
            yield from _values([*steps, f"[{index}]"], _at(old, index), _at(new, index))
    elif isinstance(old, Secret) or isinstance(new, Secret):
        yield f"~ {_path(steps)}"
    else:
        yield f"~ {_path(steps)}: {_text(old)} -> {_text(new)}"


def _usual(steps: list[str], other: Any) -> Any:
    """What stands where one side has nothing: a default, or no entry of a mapping."""
    usual = default(steps)
    if isinstance(other, dict):
        return {} if usual in ([], {}) else None
    return usual if usual or usual is False else None


def _path(steps: list[str]) -> str:
    """Names that would blur a dotted path, such as URLs, stand in brackets."""
    path = ""
    for step in steps:
        bare = f"[{step}]" if set(step) & set(":/ ") else f".{step}"
        path += step if step.startswith("[") else bare
    return path.removeprefix(".")


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else _NOTHING


def _are_shapes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _shown(value: Any) -> str:
    return "" if isinstance(value, dict | Secret) else f": {_text(value)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
