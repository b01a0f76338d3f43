"""Replaces a key by a new one that may do the same."""

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.options import duration
from tenants.keys import KeyRefused, rotate_key
from tenants.management.commands.issue_key import describe


class Command(BaseCommand):
    help = "Mints a replacement for a key; the old one ends after the grace time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id")
        parser.add_argument(
            "--grace", type=duration, default=datetime.timedelta(hours=24), help="Default: 24h."
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            issued = rotate_key(options["key_id"], grace=options["grace"])
        except KeyRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(describe(issued, as_json=options["json"]))
