"""Signs new tokens with a fresh key pair."""

from typing import Any

from django.core.management.base import BaseCommand

from tenants.keys import rotate_signing_key


class Command(BaseCommand):
    help = (
        "Signs with a new key pair from now on; tokens of older pairs stay good until they expire."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        self.stdout.write(f"signing with {rotate_signing_key().kid}")
