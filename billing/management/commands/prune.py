"""Deletes usage that is older than the retention."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from billing.periods import format_moment
from billing.retention import configured, prune
from gateway_project.options import duration


class Command(BaseCommand):
    help = (
        "Deletes usage records, attempts and refusal counts that are older than the retention. "
        "Records of unclosed periods (the current and the previous month) stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            metavar="D",
            type=duration,
            help="Such as 400d. Default: the configuration's gateway.retention.usage.",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        now = timezone.now()
        older_than = options["older_than"]
        if older_than is None:
            older_than = configured()
        if older_than is None:
            self.stdout.write(
                "nothing deleted: gateway.retention.usage is not configured, which keeps usage for "
                "ever; --older-than names an age"
            )
            return
        try:
            pruned = prune(older_than=older_than, now=now)
        except OperationalError as error:
            raise CommandError(f"stopped before the end, run it again: {error}") from error
        partitions = f" ({', '.join(pruned.partitions)} dropped)" if pruned.partitions else ""
        self.stdout.write(
            f"deleted {pruned.records} usage records{partitions}, {pruned.attempts} attempts and "
            f"{pruned.refusals} refusal counts from before {format_moment(pruned.cutoff)}"
        )
        if pruned.cutoff < now - older_than:
            self.stdout.write("what is younger belongs to periods that are not closed, and stays")
