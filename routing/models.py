"""Where a name goes: providers, their models, and the aliases that callers ask for.

Providers, models and aliases are the gateway's (no tenant) or one tenant's own.
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from gateway_project.names import SlugName, slug_constraint
from routing.secrets import EncryptedTextField

DIALECTS = ["openai", "responses", "anthropic", "gemini", "mistral", "ollama", "demo"]
STRATEGIES = ["weighted", "priority", "round_robin", "least_busy", "latency", "cost"]


def _named_once(kind: str) -> list[models.BaseConstraint]:
    """Unique among the gateway's, and unique in each tenant."""
    return [
        models.UniqueConstraint(
            fields=["name"], condition=Q(tenant__isnull=True), name=f"{kind}_is_unique"
        ),
        models.UniqueConstraint(
            fields=["tenant", "name"],
            condition=Q(tenant__isnull=False),
            name=f"{kind}_is_unique_in_its_tenant",
        ),
        slug_constraint("name", f"{kind}_name_is_a_slug"),
    ]


def _owned(tenant: object, name: str) -> str:
    return f"{tenant}/{name}" if tenant else name


class GatewaySettings(models.Model):
    """The `gateway:` section: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    limits = models.JSONField(default=dict, blank=True)
    budgets = models.JSONField(default=list, blank=True)
    cache = models.JSONField(default=dict, blank=True)
    exchange_rates = models.JSONField(default=dict, blank=True)
    max_request_bytes = models.BigIntegerField(default=20_000_000)
    retention = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "gateway settings"
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="gateway_settings_are_one_row"),
            models.CheckConstraint(
                condition=Q(max_request_bytes__gte=1), name="max_request_bytes_is_positive"
            ),
        ]

    def __str__(self) -> str:
        return "gateway"


class Provider(models.Model):
    """An upstream account: a dialect, a base URL and a pool of credentials."""

    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="providers"
    )
    name = SlugName()
    dialect = models.CharField(max_length=16, choices=[(name, name) for name in DIALECTS])
    base_url = models.CharField(max_length=500, blank=True)
    inject_headers = models.JSONField(default=dict, blank=True)
    timeouts = models.JSONField(default=dict, blank=True)
    retries = models.JSONField(default=dict, blank=True)
    breaker = models.JSONField(default=dict, blank=True)
    probe = models.JSONField(
        null=True,
        blank=True,
        help_text="Null: nobody asks beside requests. {}: as often as usual, the usual list.",
    )
    limits = models.JSONField(default=dict, blank=True)
    queue = models.JSONField(default=dict, blank=True)
    options = models.JSONField(default=dict, blank=True, help_text="What only its dialect knows.")

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        constraints: ClassVar = [
            *_named_once("provider"),
            models.CheckConstraint(
                condition=Q(dialect__in=DIALECTS), name="provider_dialect_is_known"
            ),
            models.CheckConstraint(
                condition=Q(dialect="demo") | ~Q(base_url=""), name="provider_has_a_base_url"
            ),
        ]

    def __str__(self) -> str:
        return _owned(self.tenant, self.name)


class Credential(models.Model):
    """One of a provider's keys. Without a secret (an unset `env:`) it stays out of the pool."""

    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="credentials")
    name = SlugName()
    secret = EncryptedTextField(blank=True)
    secret_reference = models.CharField(
        max_length=300, blank=True, help_text="env:NAME or file:/path; empty for a literal."
    )
    account = models.CharField(max_length=100, blank=True)
    weight = models.PositiveIntegerField(default=1)

    class Meta:
        ordering: ClassVar = ["provider", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "provider", "name", name="credential_is_unique_in_its_provider"
            ),
            slug_constraint("name", "credential_name_is_a_slug"),
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


class Model(models.Model):
    """One upstream model at one provider."""

    tenant = models.ForeignKey(
        "tenants.Tenant", null=True, blank=True, on_delete=models.CASCADE, related_name="models"
    )
    name = SlugName()
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    upstream = models.CharField(max_length=200)
    kind = models.CharField(
        max_length=16, choices=[("chat", "chat"), ("embeddings", "embeddings")], default="chat"
    )
    context_window = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    capabilities = models.JSONField(
        null=True, blank=True, help_text="Null: not declared, taken to have them all."
    )
    overhead_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="What the upstream adds to each request's input."
    )
    media_tokens = models.JSONField(
        default=dict, blank=True, help_text="The most that one image, audio or document may count."
    )
    limits = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        constraints: ClassVar = [
            *_named_once("model"),
            models.CheckConstraint(
                condition=Q(kind__in=["chat", "embeddings"]), name="model_kind_is_known"
            ),
        ]

    def __str__(self) -> str:
        return _owned(self.tenant, self.name)


class Guard(models.Model):
    """A check or rewrite of input or output, named by the aliases that want it."""

    name = SlugName(unique=True)
    kind = models.CharField(max_length=32)
    options = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [slug_constraint("name", "guard_name_is_a_slug")]

    def __str__(self) -> str:
        return self.name


class Alias(models.Model):
    """The name that callers ask for; its routes decide which model answers."""

    tenant = models.ForeignKey(
        "tenants.Tenant",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="own_aliases",
    )
    name = SlugName()
    description = models.CharField(max_length=500, blank=True)
    fallback_on = models.JSONField(null=True, blank=True, help_text="Empty: the default kinds.")
    options = models.JSONField(
        default=dict, blank=True, help_text="slow, retries, cache, hedge, mirror, caps"
    )
    guards = models.ManyToManyField(Guard, through="AliasGuard", blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        verbose_name_plural = "aliases"
        constraints: ClassVar = _named_once("alias")

    def __str__(self) -> str:
        return _owned(self.tenant, self.name)


class AliasGuard(models.Model):
    """A guard of an alias, in its place in the order."""

    alias = models.ForeignKey(Alias, on_delete=models.CASCADE)
    guard = models.ForeignKey(Guard, on_delete=models.PROTECT)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar = ["alias", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint("alias", "position", name="alias_guard_has_its_place"),
            models.UniqueConstraint("alias", "guard", name="alias_guard_is_named_once"),
        ]

    def __str__(self) -> str:
        return f"{self.alias} {self.position}: {self.guard}"


class Route(models.Model):
    """One way through an alias; the first whose `when` holds decides."""

    alias = models.ForeignKey(Alias, on_delete=models.CASCADE, related_name="routes")
    position = models.PositiveSmallIntegerField()
    when = models.JSONField(default=dict, blank=True)
    strategy = models.CharField(
        max_length=16, choices=[(name, name) for name in STRATEGIES], default="weighted"
    )
    sticky = models.CharField(
        max_length=8, blank=True, choices=[("user", "user"), ("tenant", "tenant")]
    )

    class Meta:
        ordering: ClassVar = ["alias", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint("alias", "position", name="route_has_its_place"),
            models.CheckConstraint(
                condition=Q(strategy__in=STRATEGIES), name="route_strategy_is_known"
            ),
            models.CheckConstraint(
                condition=Q(sticky__in=["", "user", "tenant"]), name="route_sticky_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alias} #{self.position}"


class RouteTarget(models.Model):
    """A model that a route may choose."""

    route = models.ForeignKey(Route, on_delete=models.CASCADE, related_name="targets")
    position = models.PositiveSmallIntegerField()
    model = models.ForeignKey(Model, on_delete=models.PROTECT)
    weight = models.PositiveIntegerField(default=1)

    class Meta:
        ordering: ClassVar = ["route", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint("route", "position", name="route_target_has_its_place")
        ]

    def __str__(self) -> str:
        return f"{self.model} x {self.weight}"


class Fallback(models.Model):
    """A model that an alias tries when the targets of its route have failed."""

    alias = models.ForeignKey(Alias, on_delete=models.CASCADE, related_name="fallbacks")
    position = models.PositiveSmallIntegerField()
    model = models.ForeignKey(Model, on_delete=models.PROTECT)

    class Meta:
        ordering: ClassVar = ["alias", "position"]
        constraints: ClassVar = [
            models.UniqueConstraint("alias", "position", name="fallback_has_its_place")
        ]

    def __str__(self) -> str:
        return f"{self.alias} then {self.model}"


class ConfigurationVersion(models.Model):
    """The whole configuration as a YAML text: a draft, or what was in force from a moment on. It
    holds no secret, only references to secrets."""

    class State(models.TextChoices):
        DRAFT = "draft"
        PUBLISHED = "published"
        SUPERSEDED = "superseded"

    state = models.CharField(max_length=16, choices=State.choices, default=State.DRAFT)
    note = models.CharField(max_length=300, blank=True)
    text = models.TextField()
    base = models.CharField(
        max_length=64, blank=True, help_text="The digest of what was in force when it was begun."
    )
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    published_by = models.CharField(max_length=150, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    replaced = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        ordering: ClassVar = ["-pk"]
        permissions: ClassVar = [
            ("publish_configuration", "Can publish a configuration version, or roll back to one")
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["draft", "published", "superseded"]),
                name="configuration_version_state_is_known",
            ),
            models.UniqueConstraint(
                fields=["state"],
                condition=Q(state="published"),
                name="one_configuration_version_is_in_force",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}" if self.pk else "a new version"
