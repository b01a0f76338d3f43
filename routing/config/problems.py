"""What is wrong with a configuration file: one problem a line, each with its YAML path."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing to mend. `path` is like `tenants.acme.budgets[0].period`; empty: the whole file."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line else ""
        return f"{self.path}: {self.message}{where}" if self.path else f"{self.message}{where}"


class ConfigInvalid(Exception):
    """The configuration was refused and nothing was changed. `problems` says all that is wrong;
    as text, one line for each."""

    def __init__(self, problems: list[Problem], source: str = "") -> None:
        self.problems = problems
        self.source = source
        super().__init__("\n".join(str(problem) for problem in problems))


def join(path: str, *steps: str | int) -> str:
    """`join("tenants.acme", "budgets", 0)` is `tenants.acme.budgets[0]`."""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def without_indexes(path: str) -> str:
    """The same place, wherever in its lists it stands."""
    return re.sub(r"\[\d+\]", "[]", path)


def suggest(given: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when one of the known names is close, else nothing."""
    close = difflib.get_close_matches(given, list(known), n=1) if isinstance(given, str) else []
    return f"; did you mean '{close[0]}'?" if close else ""


def with_lines(problems: list[Problem], lines: dict[str, int]) -> list[Problem]:
    """The same problems, each with the line of its path or of what encloses it, in their order."""
    placed = [
        Problem(problem.path, problem.message, problem.line or _line(problem.path, lines))
        for problem in problems
    ]
    return sorted(placed, key=lambda problem: problem.line or 0)


def _line(path: str, lines: dict[str, int]) -> int | None:
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)
