"""Mints a key and prints its token once."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.options import duration
from tenants.keys import DEFAULT_LIFETIME, Issued, KeyRefused, issue_key


def describe(issued: Issued, *, as_json: bool) -> str:
    """What is printed of a new key: its token last, and never again."""
    expires_at = issued.expires_at.isoformat().replace("+00:00", "Z")
    if as_json:
        facts = {"key_id": issued.key_id, "expires_at": expires_at, "token": issued.token}
        return json.dumps(facts)
    return f"key_id: {issued.key_id}\nexpires_at: {expires_at}\n{issued.token}"


class Command(BaseCommand):
    help = "Mints a key for a tenant. The token is the last line printed; it is never shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("name", help="What the key is for; need not be declared before.")
        parser.add_argument("--project", default="")
        parser.add_argument("--alias", action="append", help="May be given again; default: all.")
        parser.add_argument("--scope", action="append", help="Such as usage:read; may repeat.")
        parser.add_argument("--user", default="", help="Fixes the end user of every request.")
        parser.add_argument("--tier", default="")
        parser.add_argument("--ttl", type=duration, default=DEFAULT_LIFETIME, help="Default: 90d.")
        parser.add_argument("--opaque", action="store_true", help="A random token, not a JWT.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            issued = issue_key(
                tenant=options["tenant"],
                name=options["name"],
                project=options["project"],
                aliases=options["alias"],
                scopes=options["scope"],
                user=options["user"],
                tier=options["tier"],
                lifetime=options["ttl"],
                opaque=options["opaque"],
            )
        except KeyRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(describe(issued, as_json=options["json"]))
