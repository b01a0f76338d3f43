"""What if this configuration had been in force?"""

import datetime
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich import box
from rich.console import Console
from rich.table import Table

from billing.simulation.draft import read_draft
from billing.simulation.report import as_dict, by_currency, change_in_words
from billing.simulation.totals import simulate
from billing.usage import is_known
from gateway_project.files import text_of
from gateway_project.options import duration
from gateway_project.progress import progress
from routing import config

LONGEST = 50
WIDEST = 1000


class Command(BaseCommand):
    help = (
        "Replays the usage records of a time under a draft configuration file, and prints cost, "
        "charge, refusals and model shares before and after. Nothing is written, nobody is called."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the draft, a YAML file; - reads standard input")
        parser.add_argument(
            "--since",
            type=duration,
            default=datetime.timedelta(days=30),
            help="how far back; default: 30d",
        )
        parser.add_argument("--tenant", help="default: every tenant")
        parser.add_argument(
            "--prune", action="store_true", help="what the file lacks goes, as in apply_config"
        )
        parser.add_argument(
            "--at-most", type=duration, help="stop after so long, and say how far it came"
        )
        parser.add_argument("--json", action="store_true", help="everything, for programs")

    def handle(self, *_: Any, **options: Any) -> None:
        source, tenant = options["file"], options["tenant"]
        if tenant is not None and not is_known(tenant):
            raise CommandError(f"--tenant: there is no tenant {tenant!r}")
        try:
            draft = read_draft(text_of(source), source=source, prune=options["prune"])
        except config.ConfigInvalid as invalid:
            raise CommandError(f"{source}: nothing was simulated\n{invalid}") from None
        for warning in draft.warnings:
            self.stderr.write(f"warning: {warning}")
        end = timezone.now()
        start = _before(end, options["since"])
        bound = options["at_most"]
        with progress("simulating", start, end) as reached:
            simulation = simulate(
                draft,
                start=start,
                end=end,
                tenant=tenant,
                seconds=bound.total_seconds() if bound else None,
                reached=reached,
            )
        found = as_dict(simulation)
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        else:
            self._print(found)

    def _print(self, found: dict[str, Any]) -> None:
        console = Console(file=self.stdout, highlight=False)  # type: ignore[arg-type]
        if not console.is_terminal:  # a file or a pipe is as wide as the table
            console.width = WIDEST
        for table in _tables(found):
            if table.row_count:
                console.print(table)
        if found["stopped_at"]:
            console.print(f"Stopped in time: only records until {found['stopped_at']} count here.")
        console.print("What this assumes:")
        for line in found["assumed"]:
            console.print(f"- {line}")


def _before(end: datetime.datetime, since: datetime.timedelta) -> datetime.datetime:
    try:
        return end - since
    except OverflowError:
        raise CommandError("--since: so long ago there was no gateway") from None


def _tables(found: dict[str, Any]) -> list[Table]:
    return [_money_table(found), _models_table(found), _refusals_table(found)]


def _money_table(found: dict[str, Any]) -> Table:
    table = _table(f"{found['from']} to {found['to']}", "tenant", "alias")
    for heading in ("requests", "refused", "moved"):
        table.add_column(heading, justify="right")
    for amount in ("cost", "charge"):
        for heading in (f"{amount} before", "after", "change"):
            table.add_column(heading, justify="right")
    for row in found["rows"][:LONGEST]:
        table.add_row(row["tenant"], row["alias"], *_cells(row))
    if len(found["rows"]) > LONGEST:
        table.caption = f"The busiest {LONGEST} of {len(found['rows']):,}; --json has them all."
    table.add_section()
    table.add_row("total", "", *_cells(found["total"]), style="bold")
    return table


def _cells(sums: dict[str, Any]) -> list[str]:
    counts = (sums["before"]["requests"], sums["refused"], sums["moved"])
    return [f"{count:,}" for count in counts] + _money(sums, "cost") + _money(sums, "charge")


def _money(sums: dict[str, Any], name: str) -> list[str]:
    """Before, after and the change; a line for each currency."""
    lines = by_currency(sums, name)
    return [
        "\n".join(f"{line['before']} {line['currency']}" for line in lines),
        "\n".join(f"{line['after']} {line['currency']}" for line in lines),
        "\n".join(change_in_words(line) for line in lines),
    ]


def _models_table(found: dict[str, Any]) -> Table:
    table = _table("answered by", "model")
    for heading in ("before", "share", "after", "share"):
        table.add_column(heading, justify="right")
    for row in found["models"][:LONGEST]:
        cells = [
            cell
            for side in ("before", "after")
            for cell in (f"{row[side]:,}", f"{row[f'{side}_percent'] or '0'} %")
        ]
        table.add_row(row["model"] or "-", *cells)
    return table


def _refusals_table(found: dict[str, Any]) -> Table:
    table = _table("would have been refused", "tenant", "code", "by")
    table.add_column("requests", justify="right")
    for row in found["refusals"][:LONGEST]:
        table.add_row(row["tenant"], row["code"], row["rule"] or "-", f"{row['requests']:,}")
    return table


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name)
    return table
