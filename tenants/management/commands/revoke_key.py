"""Ends a key, everywhere, within a second."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.keys import KeyRefused, revoke_key


class Command(BaseCommand):
    help = "Revokes a key; every worker refuses it within a second."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key_id")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            key = revoke_key(options["key_id"])
        except KeyRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"revoked {key}")
