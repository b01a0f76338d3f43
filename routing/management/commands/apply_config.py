"""`manage.py apply_config FILE [--dry-run] [--prune]`."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.files import text_of
from routing import config


class Command(BaseCommand):
    help = (
        "Makes the database match a YAML file, all or nothing, and prints what changes. "
        "What the file lacks stays, unless --prune is given."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the YAML file; - reads standard input")
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would change, and change nothing"
        )
        parser.add_argument(
            "--prune",
            action="store_true",
            help="remove what the file lacks; a tenant with issued keys or usage records is "
            "suspended instead",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        source = options["file"]
        try:
            outcome = config.apply(
                text_of(source),
                source=source,
                prune=options["prune"],
                dry_run=options["dry_run"],
                by=_who(),
                note="From standard input" if source == "-" else "",
            )
        except config.ConfigInvalid as invalid:
            raise CommandError(f"{source}: nothing was changed\n{invalid}") from None
        for warning in outcome.warnings:
            self.stderr.write(f"warning: {warning}")
        for change in outcome.changes or ["no changes"]:
            self.stdout.write(change)
        if options["dry_run"] and outcome.changes:
            self.stderr.write("dry run: nothing was changed")


def _who() -> str:
    """The command, and the user of the machine who gave it."""
    try:
        return f"apply_config ({getpass.getuser()})"
    except (OSError, KeyError):  # a container may run as a number without a name
        return "apply_config"
