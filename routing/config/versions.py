"""Drafts of the whole configuration: checked, compared, published; and older versions again.

A version is the whole configuration, so publishing one also removes what it lacks, as `--prune`
does: no issued key and no record.
"""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from routing.config.applying import Outcome, apply, check_references_only, tried
from routing.config.exporting import stored, text_of
from routing.config.problems import ConfigInvalid, Problem
from routing.config.secret_values import stored_secrets
from routing.models import ConfigurationVersion

LARGEST_DRAFT = 2_000_000
"""Characters. The form of a page holds no more; a file may be larger."""
CONTEXT = 3


class NothingToPublish(Exception):
    """What is in force says all of it already."""


class Line(NamedTuple):
    """A line of a comparison: `new`, `gone`, `same`, or the `place` where a part begins."""

    kind: str
    text: str


def check_draft(text: str) -> None:
    """Raises ConfigInvalid for what could not be published now, and for secrets in it."""
    if len(text) > LARGEST_DRAFT:
        said = f"a draft has at most {LARGEST_DRAFT} characters; apply_config takes larger files"
        raise ConfigInvalid([Problem("", said)])
    check_references_only(text, source="the draft")
    tried(text, lambda: None, source="the draft", prune=True, keeps=True)


class Trial(NamedTuple):
    """What publishing would do: its outcome; what is in force, and what would be; and the stored
    secrets that would be forgotten."""

    outcome: Outcome
    before: str
    after: str
    forgotten: list[str]


def try_out(version: ConfigurationVersion) -> Trial:
    """Raises ConfigInvalid."""
    before = stored()
    outcome, after = tried(version.text, stored, source=str(version), prune=True, keeps=True)
    forgotten = sorted(stored_secrets(before) - stored_secrets(after))
    return Trial(outcome, text_of(before), text_of(after), forgotten)


def publish(version: ConfigurationVersion, *, by: str, expected: str) -> Outcome:
    """Puts a draft in force, or an older version again (as a new one), all or nothing.

    Raises ConfigMoved when what is in force is not what the digest `expected` says, ConfigInvalid,
    and NothingToPublish.
    """
    is_draft = version.state == ConfigurationVersion.State.DRAFT
    outcome = apply(
        version.text,
        source=str(version),
        prune=True,
        keeps=True,
        by=by,
        note="" if is_draft else f"Back to {version}",
        expected=expected,
        draft=version if is_draft else None,
    )
    if not outcome.changes:
        raise NothingToPublish
    return outcome


def compared(old: str, new: str) -> Iterator[Line]:
    """The lines that differ, each part with those around it."""
    kinds = {"+": "new", "-": "gone", " ": "same", "@": "place"}
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=CONTEXT, lineterm="")
    for number, line in enumerate(lines):
        if number >= 2:  # the first two name the files
            yield Line(kinds[line[0]], line if line.startswith("@") else line[1:])
