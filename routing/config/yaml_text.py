"""YAML as the gateway reads and writes it.

`on`, `off`, `yes`, `no`, dates and times are text, numbers with a point are decimals, keys are
always text. A duplicate key is an error. Anchors may be used, within bounds: what they expand to
counts. Reading reports every problem it finds, not the first alone.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from routing.config.problems import ConfigInvalid, Problem, join

LARGEST_FILE = 8_000_000
MOST_VALUES = 500_000
DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
# 18 digits fit every integer column; a longer number is text and so a wrong type somewhere.
_SCALARS: list[tuple[str, re.Pattern[str], list[str]]] = [
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), list("-+0123456789")),
    ("float", re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}\Z"), list("-+0123456789")),
]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)


def load(text: str) -> tuple[Any, dict[str, int]]:
    """The file as plain values (dict, list, str, int, bool, Decimal, None), and the line of each
    path. Raises ConfigInvalid."""
    if len(text) > LARGEST_FILE:
        raise ConfigInvalid([Problem("", f"the file is larger than {LARGEST_FILE} characters")])
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        # The parser's own message would quote the line, which may hold a secret.
        mark = error.problem_mark or error.context_mark
        said = f"the file is not YAML: {error.problem or error.context}"
        raise ConfigInvalid([Problem("", said, mark.line + 1 if mark else None)]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigInvalid(
            [Problem("", f"the file is not YAML: {type(error).__name__}")]
        ) from None
    reading = _Reading()
    value = {} if root is None else reading.value(root, "", 0)
    if reading.problems:
        raise ConfigInvalid(reading.problems)
    return value, reading.lines


class _Reading:
    """One pass over the nodes of a file."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self._values = 0

    def value(self, node: Node, path: str, depth: int) -> Any:
        self._values += 1
        if self._values > MOST_VALUES or depth > DEEPEST:
            limit = f"{MOST_VALUES} values or {DEEPEST} levels"
            raise ConfigInvalid([Problem("", f"the file, its anchors expanded, exceeds {limit}")])
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return dict(self._entries(node, path, depth))
        if isinstance(node, SequenceNode):
            return [
                self.value(item, join(path, index), depth + 1)
                for index, item in enumerate(node.value)
            ]
        return self._scalar(node, path)

    def _entries(self, node: MappingNode, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.problems.append(Problem(path, "a key must be text", line))
                continue
            key = key_node.value
            if key in first:
                said = f"this key is written twice, on lines {first[key]} and {line}"
                self.problems.append(Problem(join(path, key), said, line))
            first.setdefault(key, line)
            self.lines.setdefault(join(path, key), line)
            self._storable(key, path, line)
            yield key, self.value(value_node, join(path, key), depth + 1)

    def _scalar(self, node: Node, path: str) -> Any:
        text, line = str(node.value), node.start_mark.line + 1
        if node.tag == _TAG + "str":
            self._storable(text, path, line)
            return text
        for name, pattern, _ in _SCALARS:
            if node.tag == _TAG + name and pattern.match(text):
                return _READ[name](text)
        self.problems.append(Problem(path, "values with a tag of their own are not read", line))
        return None

    def _storable(self, text: str, path: str, line: int) -> None:
        """No database column takes a NUL, nor half of a surrogate pair."""
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self.problems.append(Problem(path, "holds a character that cannot be stored", line))


_READ: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": Decimal,
}


def dump(value: Any) -> str:
    """YAML that `load` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _number(dumper: yaml.SafeDumper, value: Decimal | float) -> ScalarNode:
    text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    return dumper.represent_scalar(_TAG + ("float" if "." in text else "int"), text)


_Dumper.add_representer(Decimal, _number)
_Dumper.add_representer(float, _number)
