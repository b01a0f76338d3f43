"""Making the database match a configuration file, all or nothing."""

from dataclasses import dataclass, field

from django.db import connection, models, transaction
from pydantic import ValidationError

from routing.config import normal, secret_values, write_prices
from routing.config.diff import changes
from routing.config.explain import problems_of
from routing.config.normal import Plain
from routing.config.problems import ConfigInvalid, Problem, with_lines
from routing.config.prune import keep_what_must_stay
from routing.config.read import read
from routing.config.references import dangling
from routing.config.schema import Document
from routing.config.write import write
from routing.config.yaml_text import dump, load
from tenants import revisions

_LOCK = 0x67617465
"""Two that apply at once take turns: by an advisory lock on PostgreSQL; SQLite has one writer."""


@dataclass(frozen=True)
class Outcome:
    """What an apply changed, one line for each path, and what it has to say besides."""

    changes: list[str]
    warnings: list[str] = field(default_factory=list)


def apply(text: str, *, source: str, prune: bool = False, dry_run: bool = False) -> Outcome:
    """Makes the database match a YAML file, and counts one change of the configuration.

    `source` names the file in messages. With `prune` goes what the file lacks; with `dry_run`
    everything is done and then undone. Raises ConfigInvalid, and then nothing has changed.
    """
    try:
        values, lines = load(text)
        wanted = _wanted(values, lines)
        with transaction.atomic():
            outcome = _apply(wanted, lines, prune)
            if dry_run:
                transaction.set_rollback(True)
    except ConfigInvalid as invalid:
        raise ConfigInvalid(invalid.problems, source) from None
    return outcome


def export() -> str:
    """The database as a YAML file; applying it changes nothing. Secrets are references."""
    configuration = stored()
    try:
        shown = Document.model_validate(configuration).model_dump(exclude_defaults=True)
    except ValidationError:
        # Somebody wrote what the schema does not know; the file shows it, and applying names it.
        shown = configuration
    sections = {section: entry for section, entry in shown.items() if entry}
    return dump({"version": 1, **sections})


def stored() -> Plain:
    """The database in the listed form, secrets as the file writes them."""
    configuration = read()
    secret_values.as_text(configuration)
    return configuration


def _wanted(values: object, lines: dict[str, int]) -> Plain:
    try:
        return normal.listed(Document.model_validate(values))
    except ValidationError as invalid:
        raise ConfigInvalid(with_lines(problems_of(invalid), lines)) from None


def _apply(wanted: Plain, lines: dict[str, int], prune: bool) -> Outcome:
    """Inside a transaction."""
    _take_turns()
    before = read()
    problems, warnings = secret_values.resolve(wanted, secret_values.by_place(before))
    stored, kept = normal.keyed(before), Plain()
    target = normal.merge(stored, normal.keyed(wanted), prune)
    if prune:
        kept, more = keep_what_must_stay(stored, target)
        warnings += more
    problems += dangling(normal.unkeyed(target), before, normal.unkeyed(kept))
    problems += write_prices.frozen(stored, target)
    if problems:
        raise ConfigInvalid(with_lines(problems, lines))
    if lines_changed := changes(stored, target):
        _write(stored, target)
        revisions.bump(revisions.CONFIGURATION)
    return Outcome(lines_changed, warnings)


def _take_turns() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _write(stored: Plain, target: Plain) -> None:
    try:
        write(stored, target)
    except models.ProtectedError as error:
        holders = ", ".join(sorted(str(holder) for holder in error.protected_objects)[:5])
        said = f"something that should go is still in use by {holders}"
        raise ConfigInvalid([Problem("", said)]) from None
