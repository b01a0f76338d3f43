"""A request of the past: what its usage record says, and what it does not."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from billing.pricing import Tokens
from billing.simulation.draft import RouteName
from routing.allowed import allowed
from routing.configured import Configured
from routing.facts import Facts
from routing.snapshots import AliasSnapshot
from tenants.models import Key
from tenants.outside_credentials import IssuerSnapshot, SignerSnapshot
from tenants.snapshots import TenantSnapshot

NOT_KNOWN = (
    "Requests that were refused at the time have no record: they are not replayed.",
    "Every upstream is well, and every credential is there: nothing fails over, nothing is tried "
    "again; what failed then costs nothing now either.",
    "The same tokens are assumed whichever model answers.",
    "What a request contained (images, tools, …) and how complex it was is not on its record. "
    "Where the route that it took, as it is in force now, asks for such, that is taken to hold; "
    "otherwise not.",
    "What a request might have cost at most is not on its record: it reserves, and is held against "
    "max_cost_per_request for, what it came to. No answer is shortened; nobody waits in a queue.",
    "Targets by load or latency: all are alike, so that draws decide. Draws, also those by weight, "
    "come out alike in every run, but not as they did then.",
    "The tier that a token of a tenant's own issuer named is not on its record: it has the "
    "tenant's. A key that is no more is taken to have been allowed every alias.",
    "Budgets begin with what the records before the span say; limits begin unused.",
    "A charge by the policy `reserved` is taken over as it was.",
    "Of one tenant alone, the limits and budgets that it shares with others are left out.",
)
"""What a simulation assumes, for whoever reads its figures."""

REMEMBERED = 10_000
_EVERY_ALIAS = frozenset({"alias:*"})


class Past(NamedTuple):
    """A usage record, as far as it is replayed: its columns are the fields."""

    record_id: UUID
    started_at: datetime
    tenant: str
    project: str
    key_id: str
    key: str
    user: str
    alias: str
    endpoint: str
    model: str
    outcome: str
    ended_by: str
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int | None
    cost_currency: str
    charge: int | None
    charge_currency: str
    charge_policy: str
    latency_us: int
    labels: Mapping[str, str]
    decision: Mapping[str, object]
    absorbed: int | None

    @property
    def used(self) -> Tokens:
        return Tokens(
            self.input_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.output_tokens,
            self.reasoning_tokens,
        )

    @property
    def asked(self) -> int:
        """Input tokens in all."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def tokens(self) -> int:
        return self.asked + self.output_tokens + self.reasoning_tokens

    @property
    def is_free(self) -> bool:
        """Counting tokens is billed by nobody."""
        return self.endpoint == "count_tokens"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, as the draft would know them."""

    tenant: TenantSnapshot
    key: str
    tier: str
    scopes: frozenset[str]
    aliases: Mapping[str, AliasSnapshot]


class Callers:
    """Those of the records' keys, looked up once each."""

    def __init__(self, configured: Configured) -> None:
        self._configured = configured
        self._known: dict[tuple[str, str, str], Caller | None] = {}

    def of(self, past: Past) -> Caller | None:
        """None where the draft knows no such credential."""
        name = (past.tenant, past.key_id, past.key)
        if name not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[name] = self._find(past)
        return self._known[name]

    def _find(self, past: Past) -> Caller | None:
        tenant = self._configured.tenants.get(past.tenant)
        found = _credential(tenant, past.key_id) if tenant else None
        if tenant is None or found is None:
            return None
        tier, scopes = found
        aliases = allowed(self._configured.routing.aliases, tenant, key=past.key, scopes=scopes)
        return Caller(tenant, past.key, tier or tenant.tier, scopes, aliases)


def _credential(tenant: TenantSnapshot, key_id: str) -> tuple[str, frozenset[str]] | None:
    """The tier (empty for the tenant's) and the scopes of a key id; None for an issuer or a signer
    that the draft has no more."""
    outsiders: tuple[IssuerSnapshot | SignerSnapshot, ...]
    outsiders = (*tenant.issuers, *tenant.signers.values())
    for outside in outsiders:
        if outside.key_id == key_id:
            return "", outside.scopes
    if key_id.startswith(("issuer:", "signer:")):
        return None
    row = Key.objects.filter(key_id=key_id).values_list("tier", "scopes").first()
    return (row[0], frozenset(row[1])) if row else ("", _EVERY_ALIAS)


def facts_of(
    past: Past,
    caller: Caller,
    when: Mapping[str, object],
    weigh_budget: Callable[[], float | None],
) -> Facts:
    """What routes can ask. `when` are the conditions of the route that the request took."""
    asked = past.asked
    return Facts(
        tenant=past.tenant,
        tier=caller.tier,
        project=past.project,
        user=past.user,
        key=past.key or past.key_id,
        scopes=caller.scopes,
        labels=past.labels,
        moment=past.started_at.timestamp(),
        timezone=caller.tenant.timezone,
        bytes=0 if past.endpoint == "embeddings" else asked,
        count_tokens=lambda: asked,
        look_inside=lambda: _contents(when),
        judge=lambda: _complexity(when),
        weigh_budget=weigh_budget,
    )


def _contents(when: Mapping[str, object]) -> frozenset[str]:
    wanted = when.get("has", ())
    return frozenset(wanted) if isinstance(wanted, list) else frozenset()


def _complexity(when: Mapping[str, object]) -> str | None:
    wanted = when.get("complexity")
    if isinstance(wanted, list) and wanted:
        wanted = wanted[0]
    return wanted if isinstance(wanted, str) else None


def route_taken(
    past: Past, routes: Mapping[RouteName, Mapping[str, object]]
) -> Mapping[str, object]:
    """The conditions of the route that a request came by: those that its record pins, or, of an
    older record that has only its place, as they are in force now."""
    place = past.decision.get("route")
    if isinstance(place, dict):
        pinned = place.get("when", {})
        return pinned if isinstance(pinned, dict) else {}
    if not isinstance(place, int):
        return {}
    own = routes.get((past.tenant, past.alias, place))
    return own if own is not None else routes.get(("", past.alias, place), {})


class Draws:
    """Draws that come out alike whenever one record is replayed."""

    def __init__(self) -> None:
        self._record_id = UUID(int=0)
        self._random: random.Random | None = None

    def begin(self, record_id: UUID) -> None:
        self._record_id, self._random = record_id, None

    def __call__(self) -> float:
        if self._random is None:
            self._random = random.Random(self._record_id.int)  # noqa: S311  (not for secrets)
        return self._random.random()
