"""Two configurations as text, line by line."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

CONTEXT = 3
LARGEST_PART = 2_500
"""Lines of one thing that are matched line by line; the time for it grows with their square. Of a
larger one everything between its first and its last difference is gone, and new."""

_SECTION = re.compile(r"[^\s#-][^:]*")
_ENTRY = re.compile(r"  ([^\s#-].*?):(?: |$)")


class Line(NamedTuple):
    """A line of a comparison: `new`, `gone`, `same`, or the `place` where a part begins."""

    kind: str
    text: str


def compared(old: str, new: str) -> Iterator[Line]:
    """The lines that differ of what `export` writes, each part with those around it.

    Thing by thing (a tenant with a tenant of that name), so that the time for it grows with their
    number, and not with its square.
    """
    before, after = _things(old), _things(new)
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name, []), after.get(name, [])
        if one != other:
            yield from _of_one(name, one, other)


def _things(text: str) -> dict[str, list[str]]:
    """The lines of each `section` and `section.entry`."""
    found: dict[str, list[str]] = {}
    section, name = "", ""
    for line in text.splitlines():
        if starts := _SECTION.match(line):
            section = name = starts[0]
        elif starts := _ENTRY.match(line):
            name = f"{section}.{starts[1]}"
        found.setdefault(name, []).append(line)
    return found


def _of_one(name: str, old: list[str], new: list[str]) -> Iterator[Line]:
    for group in _groups(old, new):
        yield Line("place", name)
        for kind, old_from, old_to, new_from, new_to in group:
            if kind == "equal":
                yield from (Line("same", line) for line in old[old_from:old_to])
                continue
            yield from (Line("gone", line) for line in old[old_from:old_to])
            yield from (Line("new", line) for line in new[new_from:new_to])


Step = tuple[str, int, int, int, int]
"""As difflib gives it: what, and from where to where in both."""


def _groups(old: list[str], new: list[str]) -> Iterator[list[Step]]:
    if max(len(old), len(new)) <= LARGEST_PART:
        yield from SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT)
        return
    least = min(len(old), len(new))
    head = next((at for at in range(least) if old[at] != new[at]), least)
    rest = least - head
    tail = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    old_to, new_to, around = len(old) - tail, len(new) - tail, max(0, head - CONTEXT)
    after = min(CONTEXT, tail)
    yield [
        ("equal", around, head, around, head),
        ("replace", head, old_to, head, new_to),
        ("equal", old_to, old_to + after, new_to, new_to + after),
    ]
