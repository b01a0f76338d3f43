"""The results as tables on the terminal, as JSON and as a chart."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.figures import FIGURES, YARDSTICK, Figure, Results, Verdict

Titles = dict[str, str]
"""Subjects in the order in which they are shown."""

CEILING = "direct"
"""Left out of the chart: beside the upstream itself all other bars would vanish."""


def show(console: Console, results: Results, titles: Titles, verdicts: list[Verdict]) -> None:
    console.print(_figures_table(results, titles))
    if any(verdict.passed is not None for verdict in verdicts):
        console.print(_verdicts_table(verdicts, titles))
    for subject, measure, reason in results.failures:
        console.print(f"[bold red]FAILED[/] {titles[subject]}, {measure}: {escape(reason)}")


def _figures_table(results: Results, titles: Titles) -> Table:
    table = Table(title="Medians, and in brackets the multiple of the bare pipe's")
    table.add_column("")
    for title in titles.values():
        table.add_column(title, justify="right")
    for figure in FIGURES:
        cells = [_cell(results, subject, figure) for subject in titles]
        if any(cells):
            table.add_row(figure.title, *cells)
    return table


def _cell(results: Results, subject: str, figure: Figure) -> str:
    value, ratio = results.value(subject, figure.name), results.ratio(subject, figure.name)
    if value is None:
        return ""
    shown = f"{value:,.{figure.digits}f}"
    if ratio is None or subject == YARDSTICK:
        return shown
    digits = 0 if ratio >= 10 else 2 if ratio >= 0.1 else 3
    return f"{shown} ({ratio:.{digits}f})"


def _verdicts_table(verdicts: list[Verdict], titles: Titles) -> Table:
    table = Table("", "promise", "measured", "", title="What the gateway promises")
    words = {True: "[green]pass[/]", False: "[red]fail[/]", None: "not measured"}
    for verdict in verdicts:
        measured = "" if verdict.measured is None else f"{verdict.measured:.2f}"
        table.add_row(titles[verdict.subject], verdict.promise, measured, words[verdict.passed])
    return table


def write_json(
    path: Path,
    results: Results,
    titles: Titles,
    verdicts: list[Verdict],
    about: dict[str, object],
) -> None:
    """Medians, ratios and every round's value by subject and figure, with what they rest on."""
    subjects = {
        subject: {
            "title": title,
            "figures": {
                name: {
                    "median": results.value(subject, name),
                    "of_pipe": results.ratio(subject, name),
                    "rounds": values,
                }
                for name, values in results.rounds.get(subject, {}).items()
            },
        }
        for subject, title in titles.items()
    }
    document = {
        "about": about,
        "subjects": subjects,
        "verdicts": [vars(verdict) for verdict in verdicts],
        "failures": [
            {"subject": subject, "measure": measure, "reason": reason}
            for subject, measure, reason in results.failures
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _drawn(results: Results, subject: str, figure: Figure) -> float | None:
    """A bar's length: the yardstick stands beside every figure that is held against it."""
    if subject == YARDSTICK:
        return results.yardstick(figure.name)
    return results.value(subject, figure.name)


def draw(path: Path, results: Results, titles: Titles) -> None:
    """One small bar chart per figure, the subjects below one another."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    drawn = [figure for figure in FIGURES if not figure.name.startswith("soak")]
    rows = math.ceil(len(drawn) / 2)
    grid, axes = pyplot.subplots(rows, 2, figsize=(13, 2.8 * rows), layout="constrained")
    for figure, axis in zip(drawn, axes.flat, strict=True):
        bars = {
            titles[subject]: value
            for subject in reversed(titles)
            if subject != CEILING and (value := _drawn(results, subject, figure)) is not None
        }
        colours = ["#2a6f97" if title.startswith("gateway") else "#b8c4cc" for title in bars]
        drawn_bars = axis.barh(list(bars), list(bars.values()), color=colours)
        axis.bar_label(drawn_bars, fmt=f"{{:,.{figure.digits}f}}", padding=3)
        axis.margins(x=0.18)
        axis.set_title(f"{figure.title} ({'more' if figure.more_is_better else 'less'} is better)")
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.savefig(path, dpi=110)
    pyplot.close(grid)
