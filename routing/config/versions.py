"""Drafts of the whole configuration: checked, compared, published; and older versions again.

A version is the whole configuration, so publishing one also removes what it lacks, as `--prune`
does: no issued key and no record.
"""

from typing import NamedTuple

from routing.config.applying import Outcome, Plan, apply, check_references_only, planned
from routing.config.exporting import as_file, text_of
from routing.config.normal import in_order_of
from routing.config.problems import ConfigInvalid, Problem
from routing.config.secret_values import stored_secrets
from routing.models import ConfigurationVersion

LARGEST_DRAFT = 2_000_000
"""Characters. The form of a page holds no more; a file may be larger."""


class NothingToPublish(Exception):
    """What is in force says all of it already."""


def check_draft(text: str) -> None:
    """Raises ConfigInvalid for what could not be published now, and for secrets in it."""
    if len(text) > LARGEST_DRAFT:
        said = f"a draft has at most {LARGEST_DRAFT} characters; apply_config takes larger files"
        raise ConfigInvalid([Problem("", said)])
    check_references_only(text, source="the draft")
    planned(text, source="the draft", is_draft=True)


class Trial(NamedTuple):
    """What publishing would do: its outcome; what is in force, and what would be; and the stored
    secrets that would be forgotten."""

    outcome: Outcome
    before: str
    after: str
    forgotten: list[str]


def try_out(version: ConfigurationVersion) -> Trial:
    """Reads alone. Raises ConfigInvalid."""
    plan = _plan_of(version)
    before, after = as_file(plan.stored), as_file(in_order_of(plan.stored, plan.target))
    forgotten = sorted(stored_secrets(before) - stored_secrets(after))
    text = text_of(before)
    return Trial(plan.outcome, text, text_of(after) if plan.outcome.changes else text, forgotten)


def _plan_of(version: ConfigurationVersion) -> Plan:
    is_draft = version.state == ConfigurationVersion.State.DRAFT
    return planned(version.text, source=str(version), is_draft=is_draft)


def publish(version: ConfigurationVersion, *, by: str, expected: str) -> Outcome:
    """Puts a draft in force, or an older version again (as a new one), all or nothing.

    Raises ConfigMoved when what is in force is not what the digest `expected` says, ConfigInvalid,
    and NothingToPublish.
    """
    is_draft = version.state == ConfigurationVersion.State.DRAFT
    if is_draft:
        _plan_of(version)  # raises for what a draft may not refer to
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
