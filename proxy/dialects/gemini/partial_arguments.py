"""Arguments that stream in parts (Vertex AI reference, "PartialArg"), as growing JSON text.

Strategy: a part names its place by a JSON path and brings a value, or a piece of a string. The
model writes its arguments from front to back, so places come in the order of the text: between two
of them, containers that the next place is not in are closed, and those that it is in are opened.
"""

import re
from typing import Any

import orjson

from proxy.dialects.serialising import serialised

Step = str | int

_STEP = re.compile(
    r"""\.([^.\[\]]+)|\[(\d{1,4})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]"""
)
_OPENING = {str: "{", int: "["}
_CLOSING = {str: "}", int: "]"}


def steps_of(path: str) -> list[Step]:
    """The steps of a path such as `$.items[0].name`: names of members and places in lists."""
    return [
        int(match[2]) if match[2] is not None else match[1] or match[3] or match[4] or ""
        for match in _STEP.finditer(path)
    ]


def _value_of(part: dict[str, Any]) -> Any:
    for name in ("numberValue", "boolValue"):
        if name in part:
            value = part[name]
            whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
            return int(value) if whole else value
    return None


class PartialArguments:
    """Feed it parts; it gives the JSON text that each adds."""

    def __init__(self) -> None:
        self._open: list[Step] = []
        """The way to the value that was written last."""
        self._counts: list[int] = []
        """How many members each container on that way has."""
        self._in_string = False

    def add(self, part: dict[str, Any]) -> str:
        """The text that one part adds; empty where its path says no place."""
        path = part.get("jsonPath")
        steps = steps_of(path) if isinstance(path, str) else []
        if not steps or not isinstance(steps[0], str):
            return ""
        text = part.get("stringValue")
        continues = bool(part.get("willContinue"))
        if self._in_string and steps == self._open:
            return self._write_string(text if isinstance(text, str) else "", continues)
        before = self._move_to(steps)
        if isinstance(text, str):
            return before + '"' + self._write_string(text, continues)
        return before + serialised(_value_of(part)).decode()

    def end(self) -> str:
        """What closes the text."""
        if not self._open:
            return "{}"
        return self._close_to(0)

    def _write_string(self, text: str, continues: bool) -> str:
        self._in_string = continues
        return orjson.dumps(text).decode()[1:-1] + ("" if continues else '"')

    def _close_to(self, depth: int) -> str:
        """Closes the containers of all steps from `depth` on."""
        closing = '"' if self._in_string else ""
        self._in_string = False
        for step in reversed(self._open[depth:]):
            closing += _CLOSING[type(step)]
        del self._open[depth:], self._counts[depth:]
        return closing

    def _move_to(self, steps: list[Step]) -> str:
        """From the value written last to where the one at `steps` begins."""
        shared = 0
        for old, new in zip(self._open[:-1], steps[:-1], strict=False):
            if old != new:
                break
            shared += 1
        text = ""
        if self._open:
            if type(self._open[shared]) is not type(steps[shared]):
                shared -= 1  # an object where there was a list: its name comes again
            # The container at `shared` stays open: both ways go through it.
            text = self._close_to(shared + 1)
            self._open.pop()
            text += self._next_member(steps[shared], self._counts.pop())
        for step in steps[len(self._open) :]:
            text += _OPENING[type(step)] + self._next_member(step, 0)
        return text

    def _next_member(self, step: Step, count: int) -> str:
        """The separator and the name of a container's next member; gaps in a list are null."""
        self._open.append(step)
        if isinstance(step, str):
            self._counts.append(count + 1)
            return ("," if count else "") + orjson.dumps(step).decode() + ":"
        self._counts.append(max(step, count) + 1)
        gap = "null," * (step - count)
        return ("," if count else "") + gap
