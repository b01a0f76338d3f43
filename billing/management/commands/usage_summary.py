"""What was used lately, as a table or as JSON."""

import datetime
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.table import Table

from billing.usage import DIMENSIONS, Row, Summary, Total, is_known, summarise
from gateway_project.options import duration

WIDEST = 1000
LONGEST = 50


class Command(BaseCommand):
    help = "Requests, errors, tokens, cost, charge, latency and cache hits of the latest period."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--period", type=duration, default=datetime.timedelta(hours=24), help="Default: 24h."
        )
        parser.add_argument("--by", choices=DIMENSIONS, default="model", help="Default: model.")
        parser.add_argument("--tenant", help="Default: every tenant.")
        parser.add_argument("--json", action="store_true", help="As GET /v1/usage, with cost.")

    def handle(self, *_: Any, **options: Any) -> None:
        tenant = options["tenant"]
        if tenant is not None and not is_known(tenant):
            raise CommandError(f"--tenant: there is no tenant {tenant!r}")
        end = timezone.now()
        summary = summarise(
            start=end - options["period"], end=end, by=options["by"], tenant=tenant, cost=True
        )
        if options["json"]:
            self.stdout.write(json.dumps(summary, indent=2))
        else:
            self._print(as_table(summary))

    def _print(self, table: Table) -> None:
        console = Console(file=self.stdout)  # type: ignore[arg-type]
        if not console.is_terminal:  # a file or a pipe is as wide as the table
            console.width = WIDEST
        console.print(table)


def as_table(summary: Summary) -> Table:
    table = Table(title=f"{summary['from']} to {summary['to']}", box=box.SIMPLE_HEAD)
    several_tenants = any("tenant" in row for row in summary["rows"])
    if several_tenants:
        table.add_column("tenant")
    table.add_column(summary["by"])
    for heading in (
        "requests",
        "errors",
        "error rate",
        "tokens in",
        "tokens out",
        "cost",
        "charge",
        "average",
        "p95",
        "cache hits",
    ):
        table.add_column(heading, justify="right")
    for row in summary["rows"][:LONGEST]:
        names = [row["tenant"]] if several_tenants else []
        table.add_row(*names, row["key"] or "-", *_cells(row))
    if len(summary["rows"]) > LONGEST:
        table.caption = f"The busiest {LONGEST} of {len(summary['rows']):,}; --json has them all."
    table.add_section()
    table.add_row(*[""] * several_tenants, "total", *_cells(summary["total"]), style="bold")
    return table


def _cells(sums: Row | Total) -> list[str]:
    requests = sums["requests"]
    return [
        f"{requests:,}",
        f"{sums['errors']:,}",
        _share(sums["errors"], requests),
        f"{sums['input_tokens']:,}",
        f"{sums['output_tokens']:,}",
        _money(sums["cost"], sums["cost_currency"], sums.get("costs")),
        _money(sums["charge"], sums["currency"], sums.get("charges")),
        _milliseconds(sums["latency_ms_avg"]),
        _milliseconds(sums["latency_ms_p95"]),
        _share(sums["cache_hits"], requests),
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _milliseconds(latency: float | None) -> str:
    return "-" if latency is None else f"{latency:,.0f} ms"


def _money(amount: str | None, currency: str | None, several: Any) -> str:
    amounts = several or ({currency: amount} if currency else {})
    return "\n".join(f"{amount} {currency}" for currency, amount in amounts.items()) or "-"
