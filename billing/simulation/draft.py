"""What a draft would put in force."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing import config
from routing.configured import Configured, read_configured
from routing.models import Credential, Route
from tenants.models import HmacSigner

_STAND_IN = "nothing is sent with this"

RouteName = tuple[str, str, int]
"""The alias's owner (empty for the gateway), its name, and the place of one of its routes."""


@dataclass(frozen=True)
class Draft:
    """`configured` is what the hot path would know; `changes` and `warnings` are those of an apply.
    `routes` are the conditions of what is in force now: they tell what is known of a record that
    came by one of them."""

    configured: Configured
    changes: list[str]
    warnings: list[str]
    routes: Mapping[RouteName, Mapping[str, Any]]


def read_draft(text: str, *, source: str, prune: bool = False) -> Draft:
    """Reads what would be in force if this file were applied, and leaves the database as it is.

    Raises ConfigInvalid, as an apply would. For the time of one apply, others that change the
    configuration wait, and on SQLite whoever writes.
    """
    routes = _routes_in_force()
    outcome, configured = config.tried(text, _as_if_applied, source=source, prune=prune)
    return Draft(configured, outcome.changes, outcome.warnings, routes)


def _as_if_applied() -> Configured:
    """Every credential is there: what a draft leads to does not hang on the environment of whoever
    tries it. No secret is read."""
    Credential.objects.update(secret=_STAND_IN)
    HmacSigner.objects.update(secret=_STAND_IN)
    return read_configured()


def _routes_in_force() -> dict[RouteName, Mapping[str, Any]]:
    rows = Route.objects.order_by().values_list(
        "alias__tenant__name", "alias__name", "position", "when"
    )
    return {(tenant or "", alias, place): when for tenant, alias, place, when in rows}
