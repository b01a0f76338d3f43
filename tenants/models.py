"""Who may call: tenants, their projects, keys and other credentials."""

import uuid
from typing import ClassVar
from urllib.parse import urlsplit

from django.db import models
from django.db.models import Q, TextChoices
from django.utils import timezone

from gateway_project.names import SlugName, slug_constraint
from routing.secrets import EncryptedTextField


def every_alias() -> list[str]:
    """What a tenant or a policy allows unless it says otherwise."""
    return ["*"]


class Revision(models.Model):
    """A counter that goes up with each change of what the workers hold in memory."""

    name = models.CharField(max_length=32, primary_key=True)
    number = models.BigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


class Tier(models.Model):
    """A named bundle of defaults; a tenant's own value wins field by field."""

    name = SlugName(unique=True)
    limits = models.JSONField(default=dict, blank=True)
    budgets = models.JSONField(default=list, blank=True)
    weight = models.PositiveIntegerField(default=1)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            slug_constraint("name", "tier_name_is_a_slug"),
            models.CheckConstraint(condition=Q(weight__gte=1), name="tier_weight_is_positive"),
        ]

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    """The organisation that pays."""

    class Status(TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    class OnDisconnect(TextChoices):
        DELIVERED = "delivered"
        INPUT = "input"
        RESERVED = "reserved"
        NOTHING = "nothing"

    class Unpriced(TextChoices):
        REFUSE = "refuse"
        QUARANTINE = "quarantine"

    name = SlugName(unique=True)
    display_name = models.CharField(max_length=200, blank=True)
    tier = models.ForeignKey(Tier, null=True, blank=True, on_delete=models.PROTECT)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    aliases = models.JSONField(default=every_alias, blank=True, help_text='Alias names, or ["*"].')
    price_book = models.ForeignKey(
        "billing.PriceBook", null=True, blank=True, on_delete=models.PROTECT
    )
    timezone = models.CharField(max_length=64, default="UTC")
    cors_origins = models.JSONField(default=list, blank=True)
    credit = models.JSONField(default=dict, blank=True)
    price_factors = models.JSONField(default=dict, blank=True)
    limits = models.JSONField(default=dict, blank=True)
    budgets = models.JSONField(default=list, blank=True)
    on_disconnect = models.CharField(
        max_length=16, choices=OnDisconnect.choices, default=OnDisconnect.DELIVERED
    )
    unpriced = models.CharField(max_length=16, choices=Unpriced.choices, default=Unpriced.REFUSE)
    log_payloads = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            slug_constraint("name", "tenant_name_is_a_slug"),
            models.CheckConstraint(
                condition=Q(status__in=["active", "suspended"]), name="tenant_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(on_disconnect__in=["delivered", "input", "reserved", "nothing"]),
                name="tenant_on_disconnect_is_known",
            ),
            models.CheckConstraint(
                condition=Q(unpriced__in=["refuse", "quarantine"]),
                name="tenant_unpriced_is_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """A cost centre inside a tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="projects")
    name = SlugName()
    limits = models.JSONField(default=dict, blank=True)
    budgets = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "name", name="project_is_unique_in_its_tenant"),
            slug_constraint("name", "project_name_is_a_slug"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class KeyPolicy(models.Model):
    """What configuration says of the keys of one name; issued keys are held to it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="key_policies")
    name = SlugName()
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT)
    aliases = models.JSONField(default=every_alias, blank=True, help_text='Alias names, or ["*"].')
    limits = models.JSONField(default=dict, blank=True)
    budgets = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        verbose_name_plural = "key policies"
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "name", name="key_policy_is_unique_in_its_tenant"),
            slug_constraint("name", "key_policy_name_is_a_slug"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class Key(models.Model):
    """A credential that was issued. Its token is never stored: a JWT proves itself, an opaque
    token is known by its hash."""

    class Kind(TextChoices):
        JWT = "jwt"
        OPAQUE = "opaque"

    key_id = models.CharField(max_length=40, primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="keys")
    name = SlugName()
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.JWT)
    token_hash = models.CharField(max_length=64, null=True, blank=True, unique=True)
    scopes = models.JSONField(default=list)
    user = models.CharField(max_length=256, blank=True)
    tier = models.CharField(max_length=64, blank=True)
    issued_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    replaces = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)

    class Meta:
        ordering: ClassVar = ["tenant", "name", "-issued_at"]
        indexes: ClassVar = [models.Index(fields=["expires_at"])]
        constraints: ClassVar = [
            slug_constraint("name", "key_name_is_a_slug"),
            models.CheckConstraint(
                condition=Q(kind="jwt", token_hash__isnull=True)
                | Q(kind="opaque", token_hash__isnull=False),
                name="key_hash_only_when_opaque",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gt=models.F("issued_at")), name="key_expires_after_issue"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name} ({self.key_id})"


class SigningKey(models.Model):
    """A key pair for JWTs. The newest that is not retired signs; all that stand here verify."""

    kid = models.CharField(max_length=40, primary_key=True)
    algorithm = models.CharField(max_length=8, default="ES256")
    private_key = EncryptedTextField()
    public_key = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.kid


class Issuer(models.Model):
    """A tenant's own identity provider, whose users' tokens are accepted for that tenant only."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="issuers")
    issuer = models.CharField(max_length=500)
    audience = models.CharField(max_length=200)
    jwks_url = models.CharField(max_length=500, blank=True)
    jwks = models.JSONField(null=True, blank=True)
    public_key = models.TextField(blank=True)
    claims = models.JSONField(default=dict, blank=True)
    allowed_tiers = models.JSONField(default=list, blank=True)
    aliases = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "issuer"]
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "issuer", name="issuer_is_unique_in_its_tenant"),
            models.CheckConstraint(
                condition=~Q(issuer="") & ~Q(audience=""), name="issuer_and_audience_are_required"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.issuer}"


class HmacSigner(models.Model):
    """A shared secret whose holder signs the raw body of its requests."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="hmac_signers")
    name = SlugName()
    header = models.CharField(max_length=100)
    encoding = models.CharField(max_length=8, default="base64")
    secret = EncryptedTextField(blank=True)
    secret_reference = models.CharField(max_length=300, blank=True)
    timestamp_header = models.CharField(
        max_length=100,
        blank=True,
        help_text="Holds seconds since 1970; what is signed is then {timestamp}.{body}.",
    )
    tolerance = models.CharField(
        max_length=16, default="5m", help_text="How old, or ahead, a timestamp may be, like 5m."
    )
    aliases = models.JSONField(default=list, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "name", name="hmac_signer_is_unique_in_its_tenant"),
            slug_constraint("name", "hmac_signer_name_is_a_slug"),
            models.CheckConstraint(
                condition=Q(encoding__in=["base64", "hex"]), name="hmac_encoding_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class Webhook(models.Model):
    """Where a tenant, or without one the gateway's operator, hears of events: at a URL, or by mail
    (`mailto:…`)."""

    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="webhooks"
    )
    url = models.CharField(max_length=500)
    events = models.JSONField(default=list)
    format = models.CharField(max_length=16, default="standard")
    secret = EncryptedTextField(blank=True)
    secret_reference = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering: ClassVar = ["tenant", "url"]
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "url", name="webhook_is_unique_in_its_tenant"),
            models.UniqueConstraint(
                fields=["url"], condition=Q(tenant__isnull=True), name="webhook_is_unique"
            ),
            models.CheckConstraint(
                condition=Q(format__in=["standard", "slack", "email"]),
                name="webhook_format_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant or 'gateway'}: {self.place}"

    @property
    def place(self) -> str:
        """For logs and lists: `https://hooks.slack.example` or `finance@acme.example`. The path of
        a URL may be a secret."""
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "mailto" else f"{parts.scheme}://{parts.netloc}"


class Alert(models.Model):
    """An event that happened, once: who raises it again finds it here. Without a tenant it is the
    gateway's own."""

    alert_id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=32)
    tenant = models.CharField(max_length=64, blank=True)
    key = models.CharField(max_length=300, help_text="What tells two events of one name apart.")
    happened_at = models.DateTimeField()
    data = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar = ["-happened_at"]
        indexes: ClassVar = [models.Index(fields=["-happened_at"])]
        constraints: ClassVar = [
            models.UniqueConstraint("tenant", "name", "key", name="alert_is_raised_once")
        ]

    def __str__(self) -> str:
        return f"{self.tenant or 'gateway'}: {self.name}"


class Delivery(models.Model):
    """An alert on its way to one webhook: the outbox. `next_try_at` of one that is being sent is
    when somebody else may try."""

    class State(TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    webhook = models.ForeignKey(
        Webhook, null=True, on_delete=models.SET_NULL, related_name="deliveries"
    )
    recipient = models.CharField(max_length=500, help_text="A host or an address, no whole URL.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    status = models.PositiveIntegerField(null=True, help_text="Of the last HTTP answer.")
    error = models.CharField(max_length=200, blank=True)
    give_up_at = models.DateTimeField()
    next_try_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        verbose_name_plural = "deliveries"
        indexes: ClassVar = [
            models.Index(
                fields=["next_try_at"], condition=Q(state="pending"), name="delivery_is_due"
            )
        ]
        constraints: ClassVar = [
            models.UniqueConstraint("alert", "webhook", name="delivery_goes_once_to_a_webhook"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "delivered", "failed"]),
                name="delivery_state_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.recipient}"
