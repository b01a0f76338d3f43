"""`manage.py export_config [--out FILE]`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from routing import config


class Command(BaseCommand):
    help = "Writes the configuration as a YAML file; applying it changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", help="the file to write; without it, standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        text = config.export()
        if options["out"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            Path(options["out"]).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['out']}: {error.strerror}") from None
