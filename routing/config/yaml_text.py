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
from yaml import events

from routing.config.problems import ConfigInvalid, Problem, join

LARGEST_FILE = 8_000_000
MOST_VALUES = 500_000
DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
_SCALARS: list[tuple[str, re.Pattern[str], list[str], Callable[[str], Any]]] = [
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""], lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE)\Z"), ["t", "T"], lambda text: True),
    ("bool", re.compile(r"(?:false|False|FALSE)\Z"), ["f", "F"], lambda text: False),
    # 18 digits fit every integer column; a longer number is text and so a wrong type somewhere.
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), [*"-+0123456789"], int),
    ("float", re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}\Z"), [*"-+0123456789"], Decimal),
]
"""What plain text may be besides text: tag, pattern, first characters, value."""


def load(text: str) -> tuple[Any, dict[str, int]]:
    """The file as plain values (dict, list, str, int, bool, Decimal, None), and the line of each
    path. Raises ConfigInvalid."""
    if len(text) > LARGEST_FILE:
        raise ConfigInvalid([Problem("", f"the file is larger than {LARGEST_FILE} characters")])
    reading = _Reading(text)
    try:
        value = reading.document()
    except yaml.MarkedYAMLError as error:
        # The parser's own message would quote the line, which may hold a secret.
        mark = error.problem_mark or error.context_mark
        said = f"the file is not YAML: {error.problem or error.context}"
        raise ConfigInvalid([Problem("", said, mark.line + 1 if mark else None)]) from None
    except yaml.YAMLError:
        raise ConfigInvalid([Problem("", "the file holds characters that YAML forbids")]) from None
    if reading.problems:
        raise ConfigInvalid(reading.problems)
    return value, reading.lines


class _Reading:
    """One pass over the parser's events. The values are built here and not by PyYAML: its composer
    recurses as deep as the file likes, in C beyond the end of the stack."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self._events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0

    def document(self) -> Any:
        value = None
        for event in self._events:
            if isinstance(event, events.DocumentStartEvent):
                if self.lines:
                    said = "the file holds more than one document"
                    raise ConfigInvalid([Problem("", said, _line(event))])
                value = self._value(next(self._events), "", 0)
        return value

    def _value(self, event: Any, path: str, depth: int) -> Any:
        if isinstance(event, events.AliasEvent):
            return self._anchored(event, path)
        before = self._size
        self._grow(1, depth)
        self.lines.setdefault(path, _line(event))
        if event.tag is not None:
            said = "a value with a tag is not read; quote it if it is text"
            self.problems.append(Problem(path, said, _line(event)))
        value: Any
        if isinstance(event, events.MappingStartEvent):
            value = dict(self._entries(path, depth))
        elif isinstance(event, events.SequenceStartEvent):
            value = [
                self._value(item, join(path, index), depth + 1)
                for index, item in enumerate(self._until(events.SequenceEndEvent))
            ]
        else:
            value = self._scalar(event, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._size - before)
        return value

    def _entries(self, path: str, depth: int) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for event in self._until(events.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, events.ScalarEvent):
                raise ConfigInvalid([Problem(path, "a key must be text", line)])
            key = event.value
            where = join(path, key)
            if key in first:
                said = f"this key is written twice, on lines {first[key]} and {line}"
                self.problems.append(Problem(where, said, line))
            first.setdefault(key, line)
            self.lines.setdefault(where, line)
            self._storable(key, path, line)
            yield key, self._value(next(self._events), where, depth + 1)

    def _until(self, end: type[events.Event]) -> Iterator[events.Event]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _anchored(self, event: events.AliasEvent, path: str) -> Any:
        if event.anchor not in self._anchors:
            said = f"there is no finished anchor '{event.anchor}' to repeat"
            raise ConfigInvalid([Problem(path, said, _line(event))])
        value, size = self._anchors[event.anchor]
        self._grow(size, 0)
        return value

    def _grow(self, size: int, depth: int) -> None:
        self._size += size
        if self._size > MOST_VALUES or depth > DEEPEST:
            limit = f"{MOST_VALUES} values or {DEEPEST} levels"
            raise ConfigInvalid([Problem("", f"the file, its anchors expanded, exceeds {limit}")])

    def _scalar(self, event: events.ScalarEvent, path: str) -> Any:
        is_plain, text = event.implicit[0], str(event.value)
        if is_plain:
            for _, pattern, _, read in _SCALARS:
                if pattern.match(text):
                    return read(text)
        self._storable(text, path, _line(event))
        return text

    def _storable(self, text: str, path: str, line: int) -> None:
        """No database column takes a NUL, nor half of a surrogate pair."""
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self.problems.append(Problem(path, "holds a character that cannot be stored", line))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first, _ in _SCALARS:
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)


def dump(value: Any) -> str:
    """YAML that `load` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _number(dumper: yaml.SafeDumper, value: Decimal | float) -> yaml.ScalarNode:
    text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    return dumper.represent_scalar(_TAG + ("float" if "." in text else "int"), text)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # PyYAML folds these line breaks, which YAML 1.2 no longer knows, unless they are escaped.
    style = '"' if re.search("[\x85\u2028\u2029\ufeff]", value) else None
    return dumper.represent_scalar(_TAG + "str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Decimal, _number)
_Dumper.add_representer(float, _number)
