"""How candidates compare with the models that answered, as a table or as JSON."""

import datetime
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.table import Table

from billing.mirrors import Comparison, compare
from gateway_project.options import duration

WIDEST = 1000


class Command(BaseCommand):
    help = "Latency, cost, errors and length of mirrored requests, beside those that answered."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", type=duration, default=datetime.timedelta(days=7), help="Default: 7d."
        )
        parser.add_argument("--alias", help="Default: every alias.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        end = timezone.now()
        found = compare(start=end - options["since"], end=end, alias=options["alias"])
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        console = Console(file=self.stdout)  # type: ignore[arg-type]
        if not console.is_terminal:
            console.width = WIDEST
        console.print(as_table(found) if found else "No request was mirrored in that time.")


def as_table(comparisons: list[Comparison]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("alias", "model"):
        table.add_column(heading)
    for heading in ("copies", "errors", "average", "p95", "first token", "output tokens", "cost"):
        table.add_column(heading, justify="right")
    for one in comparisons:
        table.add_row(one["alias"], one["model"], "", "", *_cells(one, "answered_by"))
        copies, errors = f"{one['copies']:,}", f"{one['errors']:,}"
        mirrored = _cells(one, "mirrored")
        table.add_row("", f"{one['candidate']} (mirror)", copies, errors, *mirrored)
        table.add_section()
    return table


def _cells(one: Comparison, which: str) -> list[str]:
    side = one["answered_by"] if which == "answered_by" else one["mirrored"]
    output = side["output_tokens"]
    return [
        _milliseconds(side["latency_ms_avg"]),
        _milliseconds(side["latency_ms_p95"]),
        _milliseconds(side["first_token_ms_avg"]),
        "-" if output is None else f"{output:,.1f}",
        side["cost"],
    ]


def _milliseconds(latency: float | None) -> str:
    return "-" if latency is None else f"{latency:,.0f} ms"
