"""A request of the past: what its usage record says, and what it does not."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from billing.pricing import Tokens
from routing.allowed import allowed
from routing.configured import Configured
from routing.snapshots import AliasSnapshot
from tenants.models import Key
from tenants.outside_credentials import IssuerSnapshot, SignerSnapshot
from tenants.snapshots import TenantSnapshot

NOT_KNOWN = (
    "Requests that were refused at the time have no record: they are not replayed.",
    "Where the draft decides by the very route that a record pins, the model that answered then "
    "does so again. Elsewhere every upstream is well, and every credential is there: nothing fails "
    "over, nothing is tried again. What failed then costs nothing now either.",
    "The same tokens are assumed whichever model answers.",
    "What a request contained (images, tools, …), how complex it was and how many tokens it was "
    "taken to have is known where a route asked for it then: its record pins that. Otherwise it is "
    "taken to have contained, and been, what the route that it took asked for, and nothing else; "
    "the tokens are those that were billed.",
    "What a request might have cost at most is not on its record: it reserves, and is held against "
    "max_cost_per_request for, what it came to. No answer is shortened; nobody waits in a queue.",
    "Targets by load or latency: all are alike, so that draws decide. On another route than then "
    "draws, also those by weight, come out alike in every run.",
    "Nobody hedges anew: what a hedge that lost came to stays in cost and charge as it was, "
    "whichever model answers, and is left out where the currency is another. What mirrors cost is "
    "on no record, and not in these figures.",
    "The tier that a token of a tenant's own issuer named is not told apart from the tenant's: it "
    "has the tenant's, as the draft says. A key that is no more is taken to have been allowed "
    "every alias.",
    "Budgets begin with what the records before the span say; limits begin unused.",
    "A charge by the policy `reserved` is taken over as it was.",
    "Of one tenant alone, the limits and budgets that it shares with others are left out.",
)
"""What a simulation assumes, for whoever reads its figures."""

REMEMBERED = 10_000
_EVERY_ALIAS = frozenset({"alias:*"})


class Past(NamedTuple):
    """A usage record, as far as it is replayed: its columns are the fields, but for the last two.
    Those are what its hedges came to that lost, which its own amounts hold too."""

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
    attempts: int
    labels: Mapping[str, str]
    decision: Mapping[str, object]
    absorbed: int | None
    lost_cost: int = 0
    lost_charge: int = 0

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


COLUMNS = Past._fields[:-2]


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
