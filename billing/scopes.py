"""Whose use a limit or a budget counts: a tenant, a project, a key, a user, an alias, a label, …"""

from typing import NamedTuple
from urllib.parse import quote

from billing.counters.asks import GATEWAY_TAG, tenant_tag

Where = tuple[tuple[str, str], ...]
"""What a usage record must say, as (column, value); a label's column is `label:NAME`."""


class Scope(NamedTuple):
    """`owner` is the tenant whose counter it is, empty for the gateway's. With `per_user`, each
    user has one of its own; requests without a user share one."""

    owner: str
    where: Where = ()
    per_user: bool = False
    tier: str = ""
    """Of whose terms these are, where keys of one tenant have several: their counters differ."""

    def narrowed(self, column: str, value: str) -> "Scope":
        return self._replace(where=(*self.where, (column, value)))

    def of_user(self, tenant: str, user: str) -> "Scope":
        """The scope of one user of a tenant: no two tenants share a user."""
        own = () if self.owner else (("tenant", tenant),)
        return Scope(self.owner, (*self.where, *own, ("user", user)), tier=self.tier)

    @property
    def key(self) -> str:
        """`{t17}acme|project=search`: the head of its counters' keys. All of it is quoted, so that
        no name of a user or label can look like another scope."""
        tag = tenant_tag(self.owner) if self.owner else GATEWAY_TAG
        where = "&".join(
            f"{quote(column, safe=':')}={quote(value, safe='')}" for column, value in self.where
        )
        tier = f"&~{self.tier}" if self.tier else ""  # which no quoted text has
        return f"{tag}{self.owner}|{where}{tier}"

    @property
    def said(self) -> str:
        """As an error names it: `the tenant acme`, `the user bob of the tenant acme`."""
        parts = [_said(column, value) for column, value in reversed(self.where)]
        owner = f"the tenant {self.owner}" if self.owner else "the gateway"
        return " of ".join([*parts, owner])


def _said(column: str, value: str) -> str:
    if column.startswith("label:"):
        return f"the label {column.removeprefix('label:')}={value}"
    return f"the {column} {value}" if value else f"requests without a {column}"


def read_scope(owner: str, text: str | None) -> Scope:
    """The scope that a budget's `scope` names: `user`, `alias:NAME`, `label:NAME=VALUE`, or all."""
    scope = Scope(owner)
    if not text:
        return scope
    if text == "user":
        return scope._replace(per_user=True)
    kind, _, name = text.partition(":")
    if kind == "alias":
        return scope.narrowed("alias", name)
    label, _, value = name.partition("=")
    return scope.narrowed(f"label:{label}", value)
