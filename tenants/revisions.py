"""Revisions: counters that go up in the transaction of a change, so that workers notice it.

`configuration` covers what admins set; `keys` covers credentials, which change more often.
"""

from django.db import models
from django.db.models import F
from django.db.models.signals import post_delete, post_save

from tenants.models import Revision

CONFIGURATION = "configuration"
KEYS = "keys"
ADJUSTMENTS = "adjustments"


def bump(name: str) -> None:
    """Counts one change. On PostgreSQL the row lock puts concurrent changes in order; who loses the
    race for the first one counts on top of it, or workers that saw that one would miss this."""
    counted = Revision.objects.filter(name=name).update(number=F("number") + 1)
    if not counted and not Revision.objects.get_or_create(name=name)[1]:
        Revision.objects.filter(name=name).update(number=F("number") + 1)


def current() -> dict[str, int]:
    """Every revision by name; a name that never changed is absent."""
    return dict(Revision.objects.values_list("name", "number"))


def watch(name: str, *watched: type[models.Model]) -> None:
    """Bumps `name` whenever a row of these models is saved or deleted.

    `QuerySet.update()` and `bulk_create()` send no signal: whoever uses them calls `bump`.
    """

    def changed(**_: object) -> None:
        bump(name)

    for model in watched:
        uid = f"revision:{model._meta.label}"
        post_save.connect(changed, sender=model, weak=False, dispatch_uid=uid)
        post_delete.connect(changed, sender=model, weak=False, dispatch_uid=uid)
