"""Making the database match a configuration file, all or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import models, transaction
from pydantic import ValidationError

from routing.config import normal, secret_values, write_prices
from routing.config.diff import changes
from routing.config.explain import problems_of
from routing.config.exporting import export
from routing.config.normal import Plain
from routing.config.problems import ConfigInvalid, Problem, with_lines
from routing.config.prune import keep_what_must_stay
from routing.config.read import read
from routing.config.recording import catch_up, digest, record, take_turns
from routing.config.references import dangling
from routing.config.schema import Document
from routing.config.write import write
from routing.config.yaml_text import load
from routing.models import ConfigurationVersion
from tenants import revisions

T = TypeVar("T")


class ConfigMoved(Exception):
    """What is in force is no longer what it was."""


@dataclass(frozen=True)
class Outcome:
    """What an apply changed, one line for each path, and what it has to say besides."""

    changes: list[str]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What the database holds and what it shall hold, both in the keyed form, with secrets."""

    stored: Plain
    target: Plain
    outcome: Outcome


def apply(
    text: str,
    *,
    source: str,
    prune: bool = False,
    dry_run: bool = False,
    by: str = "",
    note: str = "",
    keeps: bool = False,
    expected: str | None = None,
    draft: ConfigurationVersion | None = None,
) -> Outcome:
    """Makes the database match a YAML file, and counts one change of the configuration.

    `source` names the file in messages. With `prune` goes what the file lacks; with `dry_run`
    everything is done and then undone. With `keeps`, a secret whose `env:` or `file:` is not there
    stays as it is stored, where that came by the same reference. What changed becomes a version,
    published by `by`: the `draft` that it was, or a new one. Raises ConfigInvalid, and then nothing
    has changed; and ConfigMoved, when what is in force is not what the digest `expected` says.
    """
    wanted, lines = _read(text, source)
    with _named(source), transaction.atomic():
        outcome = _apply(wanted, lines, prune, keeps, expected)
        if dry_run:
            transaction.set_rollback(True)
        elif outcome.changes:
            record(by=by, note=note or f"From {source}", draft=draft)
    return outcome


def tried(
    text: str, look: Callable[[], T], *, source: str, prune: bool = False, keeps: bool = False
) -> tuple[Outcome, T]:
    """Applies a YAML file, looks, and undoes everything; also what `look` itself changes. Nobody
    else sees any of it: it is one transaction, which is rolled back. Raises ConfigInvalid."""
    wanted, lines = _read(text, source)
    with _named(source), transaction.atomic():
        outcome = _apply(wanted, lines, prune, keeps)
        found = look()
        transaction.set_rollback(True)
    return outcome, found


def planned(text: str, *, source: str, is_draft: bool) -> Plan:
    """What an apply would change (with `prune` and `keeps`), found by reading alone: nobody waits
    for it. A draft may refer to less than a file. Raises ConfigInvalid; only the apply itself finds
    that what should go is in use."""
    wanted, lines = _read(text, source)
    with _named(source):
        plan = _plan(wanted, lines, prune=True, keeps=True)
        held = secret_values.by_place(normal.unkeyed(plan.stored))
        problems = secret_values.beyond_drafts(normal.unkeyed(plan.target), held)
        if is_draft and problems:
            raise ConfigInvalid(with_lines(problems, lines))
    return plan


def check_references_only(text: str, *, source: str) -> None:
    """Raises ConfigInvalid for a secret that is none: a file to be kept as it is must not hold
    literals. Also for what the schema refuses, as no secret can be found there."""
    wanted, lines = _read(text, source)
    problems = [
        Problem(
            place.path,
            "a draft holds no secret itself: write env:NAME, file:/path, "
            f"or '{place.stored}' for the one that is stored",
        )
        for place in secret_values.places(wanted)
        if not place.is_reference
    ]
    if problems:
        raise ConfigInvalid(with_lines(problems, lines), source)


def _read(text: str, source: str) -> tuple[Plain, dict[str, int]]:
    with _named(source):
        values, lines = load(text)
        return _wanted(values, lines), lines


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Problems say which file they are in."""
    try:
        yield
    except ConfigInvalid as invalid:
        raise ConfigInvalid(invalid.problems, source) from None


def _wanted(values: object, lines: dict[str, int]) -> Plain:
    try:
        return normal.listed(Document.model_validate(values))
    except ValidationError as invalid:
        raise ConfigInvalid(with_lines(problems_of(invalid), lines)) from None


def _apply(
    wanted: Plain,
    lines: dict[str, int],
    prune: bool,
    keeps: bool,
    expected: str | None = None,
) -> Outcome:
    """Inside a transaction."""
    take_turns()
    text = None
    if expected is not None and digest(text := export()) != expected:
        raise ConfigMoved
    plan = _plan(wanted, lines, prune, keeps)
    if plan.outcome.changes:
        catch_up(text or export())
        _write(plan.stored, plan.target)
        revisions.bump(revisions.CONFIGURATION)
    return plan.outcome


def _plan(wanted: Plain, lines: dict[str, int], prune: bool, keeps: bool) -> Plan:
    before = read()
    problems, warnings = secret_values.resolve(wanted, secret_values.by_place(before), keeps=keeps)
    stored, kept = normal.keyed(before), Plain()
    target = normal.merge(stored, normal.keyed(wanted), prune)
    if prune:
        kept, more = keep_what_must_stay(stored, target)
        warnings += more
    problems += dangling(normal.unkeyed(target), before, normal.unkeyed(kept))
    problems += write_prices.frozen(stored, target)
    if problems:
        raise ConfigInvalid(with_lines(problems, lines))
    return Plan(stored, target, Outcome(changes(stored, target), warnings))


def _write(stored: Plain, target: Plain) -> None:
    try:
        write(stored, target)
    except models.ProtectedError as error:
        holders = ", ".join(sorted(str(holder) for holder in error.protected_objects)[:5])
        said = f"something that should go is still in use by {holders}"
        raise ConfigInvalid([Problem("", said)]) from None
