"""Versions of the configuration: what was in force, since when, and who made it so.

Everything here runs inside the transaction of a change.
"""

import hashlib

from django.db import connection
from django.db.models.functions import Length
from django.utils import timezone

from routing.config.exporting import export
from routing.config.yaml_text import dump
from routing.models import ConfigurationVersion

KEPT = 1_000
"""Versions that are no longer in force; the oldest go first. Drafts stay."""
KEPT_CHARACTERS = 100_000_000
"""Of their texts in all."""
ELSEWHERE = "other pages"
"""Who made what no version tells of: the pages of single things, or a gateway without versions."""

_LOCK = 0x67617465
"""Two that change the whole configuration take turns: by an advisory lock on PostgreSQL; SQLite has
one writer."""
_EMPTY = dump({"version": 1})


def take_turns() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def digest(text: str) -> str:
    """What tells two configurations apart."""
    return hashlib.sha256(text.encode()).hexdigest()


def in_force() -> ConfigurationVersion | None:
    """The version that was published last. What is in force may have changed since, elsewhere."""
    published = ConfigurationVersion.objects.filter(state=ConfigurationVersion.State.PUBLISHED)
    return published.order_by("-published_at", "-pk").first()


def is_told_of(text: str) -> bool:
    """Whether the version that was published last says what is in force."""
    last = in_force()
    return text == (last.text if last else _EMPTY)


def catch_up(text: str) -> None:
    """Makes a version of what is in force where none tells of it, before it changes."""
    if not is_told_of(text):
        _publish(ConfigurationVersion(created_by=ELSEWHERE, note="Found in force"), text, ELSEWHERE)


def record(*, by: str, note: str, draft: ConfigurationVersion | None = None) -> None:
    """Makes a version of what is in force: of this draft, or a new one."""
    _publish(draft or ConfigurationVersion(created_by=by, note=note[:300]), export(), by)


def _publish(version: ConfigurationVersion, text: str, by: str) -> None:
    version.replaced = in_force()
    ConfigurationVersion.objects.filter(state=ConfigurationVersion.State.PUBLISHED).update(
        state=ConfigurationVersion.State.SUPERSEDED
    )
    version.text, version.base = text, digest(text)
    version.state = ConfigurationVersion.State.PUBLISHED
    version.published_by, version.published_at = by, timezone.now()
    version.save()
    _forget_oldest()


def _forget_oldest() -> None:
    superseded = ConfigurationVersion.objects.filter(state=ConfigurationVersion.State.SUPERSEDED)
    sizes = superseded.order_by("-published_at", "-pk").values_list("pk", Length("text"))
    total, old = 0, []
    for number, (version, size) in enumerate(sizes):
        total += size
        if number >= KEPT or total > KEPT_CHARACTERS:
            old.append(version)
    ConfigurationVersion.objects.filter(pk__in=old).delete()
