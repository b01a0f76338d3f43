"""`tiers:` and `tenants:` who may call, and what they may use."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from routing.config.fields import (
    EVERY_ALIAS,
    AliasNames,
    Factor,
    HeaderName,
    JsonObject,
    Name,
    Positive,
    Secret,
    Shape,
    Slug,
    SomeTime,
    Timezone,
    Url,
    WebhookUrl,
    once,
    wrong_at,
)
from routing.config.schema_aliases import Alias
from routing.config.schema_limits import Budget, Limits
from routing.config.schema_routing import Model, Provider
from tenants.jwks import is_private, parse_jwks, parse_pem


class Tier(Shape):
    """`weight` is its share when requests wait in a provider's queue."""

    limits: Limits = Limits()
    budgets: list[Budget] = []
    weight: Positive = 1


class Credit(Shape):
    enforce: bool = False


class PriceFactors(Shape):
    """Shares of the price: 0 is free, 1 is in full. What is left out has the gateway's default."""

    cache_hit: Factor | None = None
    failed_attempt: Factor | None = None
    hedge_loser: Factor | None = None


class Project(Shape):
    limits: Limits = Limits()
    budgets: list[Budget] = []


class KeyPolicy(Shape):
    """What the issued keys of this name are held to."""

    name: Slug
    project: Name | None = None
    aliases: AliasNames = EVERY_ALIAS
    limits: Limits = Limits()
    budgets: list[Budget] = []


class Claims(Shape):
    """Which claim of the issuer's tokens holds what."""

    user: Name | None = None
    tier: Name | None = None
    project: Name | None = None


class Issuer(Shape):
    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    audience: Annotated[str, Field(min_length=1, max_length=200)]
    jwks_url: Url | None = None
    jwks: JsonObject | None = None
    public_key: Annotated[str, Field(min_length=1)] | None = None
    claims: Claims = Claims()
    allowed_tiers: Annotated[list[Name], once()] = []
    aliases: AliasNames = EVERY_ALIAS

    @field_validator("jwks")
    @classmethod
    def _is_public(cls, value: dict[str, Any]) -> dict[str, Any]:
        found = parse_jwks(value)
        if any(is_private(entry) for entry in value["keys"]):
            raise ValueError("a private or shared key must not stand here")
        if value["keys"] and not found.keys:
            raise ValueError("no key in it is of a kind, curve, size and use that is accepted")
        return value

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, value: str) -> str:
        parse_pem(value)
        return value

    @model_validator(mode="after")
    def _is_verified_one_way(self) -> "Issuer":
        given = [self.jwks_url, self.jwks, self.public_key]
        if sum(way is not None for way in given) != 1:
            raise ValueError("needs exactly one of 'jwks_url', 'jwks' and 'public_key'")
        return self


DEFAULT_TOLERANCE = "5m"
_CREDENTIAL_HEADERS = {
    *("authorization", "x-api-key", "x-gateway-key", "x-goog-api-key", "x-gateway-signer")
}


class HmacSigner(Shape):
    """With a `timestamp_header`, `{timestamp}.{body}` is signed instead of the body alone."""

    name: Slug
    header: HeaderName
    encoding: Literal["base64", "hex"] = "base64"
    secret: Secret = Field(repr=False)
    timestamp_header: HeaderName | None = None
    tolerance: SomeTime = DEFAULT_TOLERANCE
    aliases: AliasNames = EVERY_ALIAS

    @model_validator(mode="after")
    def _headers_are_its_own(self) -> "HmacSigner":
        taken = {*_CREDENTIAL_HEADERS}
        for field in ("header", "timestamp_header"):
            name = (getattr(self, field) or "").lower()
            if name in taken:
                raise wrong_at(field, "this header has another meaning here")
            taken.add(name)
        if self.timestamp_header is None and self.tolerance != DEFAULT_TOLERANCE:
            raise wrong_at("tolerance", "needs a 'timestamp_header'")
        return self


class Webhook(Shape):
    """A Slack URL is a secret of its own and needs none beside it; nor does mail."""

    url: WebhookUrl
    events: Annotated[
        list[
            Literal[
                "budget.threshold",
                "budget.exhausted",
                "limit.sustained",
                "key.expiring",
                "provider.down",
                "usage.absorbed",
            ]
        ],
        Field(min_length=1),
        once(),
    ]
    format: Literal["standard", "slack", "email"] = "standard"
    secret: Secret | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _goes_where_its_format_does(self) -> "Webhook":
        is_mail = self.url.startswith("mailto:")
        if is_mail and self.format != "email":
            raise wrong_at("format", "must be 'email' for a mailto: address")
        if self.format == "email" and not is_mail:
            raise wrong_at("url", "must be like mailto:finance@acme.example for the format email")
        return self

    @model_validator(mode="after")
    def _is_signed(self) -> "Webhook":
        if self.format == "standard" and self.secret is None:
            raise wrong_at("secret", "is required by the format standard")
        return self


Origin = Annotated[str, Field(max_length=500, pattern=r"^https?://[^/\s@?#]+$")]


class Tenant(Shape):
    """`providers`, `models` and `own_aliases` are its own: nobody else's aliases may use them."""

    name: Annotated[str, Field(max_length=200)] = ""
    tier: Name | None = None
    status: Literal["active", "suspended"] = "active"
    aliases: AliasNames = EVERY_ALIAS
    price_book: Name | None = None
    timezone: Timezone = "UTC"
    cors_origins: Annotated[list[Origin], once()] = []
    credit: Credit = Credit()
    price_factors: PriceFactors = PriceFactors()
    limits: Limits = Limits()
    budgets: list[Budget] = []
    on_disconnect: Literal["delivered", "input", "reserved", "nothing"] = "delivered"
    unpriced: Literal["refuse", "quarantine"] = "refuse"
    projects: dict[Slug, Project] = {}
    keys: Annotated[list[KeyPolicy], once("name")] = []
    issuers: Annotated[list[Issuer], once("issuer")] = []
    hmac: Annotated[list[HmacSigner], once("name")] = []
    webhooks: Annotated[list[Webhook], once("url")] = []
    log_payloads: bool = False
    providers: dict[Slug, Provider] = {}
    models: dict[Slug, Model] = {}
    own_aliases: dict[Slug, Alias] = {}
