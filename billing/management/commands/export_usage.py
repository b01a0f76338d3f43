"""Usage as a file that finance can check: a row a request, or a row a key."""

import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.exports import (
    ControlTotal,
    Write,
    export_records,
    export_summary,
    pages_of,
    record_layout,
    whole_file,
)
from billing.periods import moment
from billing.usage import DIMENSIONS, is_known, summarise, within
from gateway_project.progress import progress
from gateway_project.units import from_nano


class Command(BaseCommand):
    help = (
        "Writes the usage records that started in a period. A control total and the SHA-256 of "
        "what was written follow on standard error. With --tenant it is the tenant's own export, "
        "which does not say what providers bill us."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from",
            dest="start",
            metavar="D",
            type=moment,
            required=True,
            help="UTC day or time, inclusive.",
        )
        parser.add_argument(
            "--to",
            dest="end",
            metavar="D",
            type=moment,
            required=True,
            help="UTC day or time, exclusive.",
        )
        parser.add_argument("--tenant", help="Default: every tenant, with cost.")
        parser.add_argument("--by", choices=DIMENSIONS, help="A row a key, not a row a request.")
        parser.add_argument("--format", choices=("csv", "focus", "jsonl"), default="csv")
        parser.add_argument("--out", type=Path, help="Default: standard output.")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["start"] >= options["end"]:
            raise CommandError("--from must be before --to")
        if options["tenant"] is not None and not is_known(options["tenant"]):
            raise CommandError(f"--tenant: there is no tenant {options['tenant']!r}")
        if options["by"] and options["format"] == "focus":
            raise CommandError("--by gives csv or jsonl; --format focus has a row for each charge")
        if options["out"] is None:
            try:
                total = self._export(self._write_out, options)
                self.stdout.flush()
            except BrokenPipeError:
                # Nobody reads what is still buffered; Python would complain of it when it exits.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise CommandError("standard output was closed before the end") from None
        else:
            try:
                with whole_file(options["out"]) as file:
                    total = self._export(file.write, options)
            except OSError as error:
                raise CommandError(f"--out {options['out']}: {error.strerror}") from None
        self._report(total)

    def _export(self, write: Write, options: dict[str, Any]) -> ControlTotal:
        tenant = options["tenant"]
        span = {"start": options["start"], "end": options["end"], "tenant": tenant}
        if options["by"]:
            summary = summarise(by=options["by"], cost=tenant is None, **span)
            return export_summary(summary, name=options["format"], tenant=tenant, write=write)
        with progress("exporting", options["start"], options["end"]) as reached:
            return export_records(
                pages_of(within(**span).defer("decision")),
                layout=record_layout(options["format"], own=tenant is not None),
                write=write,
                reached=reached,
            )

    def _write_out(self, data: bytes) -> None:
        """As bytes: a terminal's encoding or line ends must not change what was hashed."""
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.stdout.write(data.decode(), ending="")
        else:
            buffer.write(data)

    def _report(self, total: ControlTotal) -> None:
        lines = [f"rows {total.rows}", f"tokens {total.tokens}"]
        for name, amounts in (("cost", total.costs), ("charge", total.charges)):
            lines += [
                f"{name} {from_nano(nano)} {which}" for which, nano in sorted(amounts.items())
            ]
        lines.append(f"sha256 {total.sha256}")
        self.stderr.write("\n".join(lines), style_func=str)
