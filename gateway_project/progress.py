"""A bar on a terminal for what reads a span of time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress(doing: str, start: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    """How far through the span it is. Counting records first would cost a scan."""
    columns = (TextColumn(doing), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(doing, total=(end - start).total_seconds())
        yield lambda now: bar.update(task, completed=(now - start).total_seconds())
