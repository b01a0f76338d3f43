"""What it costs: price books, and the usage records that are written once and never edited."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from gateway_project.names import SlugName, slug_constraint


def _price() -> models.DecimalField:
    return models.DecimalField(max_digits=18, decimal_places=9, null=True, blank=True)


class PriceBook(models.Model):
    """Prices with effective dates. `cost` is what providers bill us."""

    name = SlugName(unique=True)
    currency = models.CharField(max_length=3, default="USD")
    based_on = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT)
    fallback = models.CharField(
        max_length=16, choices=[("none", "none"), ("catalogue", "catalogue")], default="none"
    )
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, help_text="Set instead of deleting it: records name its versions."
    )

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            slug_constraint("name", "price_book_name_is_a_slug"),
            models.CheckConstraint(
                condition=Q(currency__regex="^[A-Z]{3}$"), name="price_book_currency_is_iso"
            ),
            models.CheckConstraint(
                condition=Q(fallback__in=["none", "catalogue"]), name="price_book_fallback_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PriceVersion(models.Model):
    """The prices of a book from a date on. Never edited: a correction is a new revision, so that
    old records still recompute with the prices they name."""

    book = models.ForeignKey(PriceBook, on_delete=models.CASCADE, related_name="versions")
    effective = models.DateTimeField()
    revision = models.PositiveIntegerField(default=1)
    markup = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="0.2 is 20 %."
    )
    created_at = models.DateTimeField(default=timezone.now)
    withdrawn_at = models.DateTimeField(
        null=True, blank=True, help_text="Set when a newer revision replaces it."
    )

    class Meta:
        ordering: ClassVar = ["book", "effective", "revision"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "book", "effective", "revision", name="price_version_is_unique_in_its_book"
            )
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        """What usage records pin: `cost@2026-01-01`, `cost@2026-01-01.2` for revision 2."""
        midnight = self.effective.time().isoformat() == "00:00:00"
        date = self.effective.date() if midnight else self.effective.replace(tzinfo=None)
        suffix = f".{self.revision}" if self.revision > 1 else ""
        return f"{self.book.name}@{date.isoformat()}{suffix}"


class Price(models.Model):
    """Prices of one model in one version, per million tokens; `per_request` per request."""

    version = models.ForeignKey(PriceVersion, on_delete=models.CASCADE, related_name="prices")
    model = SlugName(help_text="A model's name; the price outlives the model.")
    input = _price()
    cached_input = _price()
    cache_write = _price()
    output = _price()
    reasoning = _price()
    per_request = _price()

    class Meta:
        ordering: ClassVar = ["version", "model"]
        constraints: ClassVar = [
            models.UniqueConstraint("version", "model", name="price_is_unique_in_its_version")
        ]

    def __str__(self) -> str:
        return f"{self.model} in {self.version}"


class UsageRecord(models.Model):
    """What one request used, cost and was charged. Amounts are nano-units of their currency,
    times are microseconds. On PostgreSQL the table is partitioned by month of `started_at`."""

    record_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    request_id = models.CharField(max_length=128)
    started_at = models.DateTimeField()
    tenant = models.CharField(max_length=64)
    project = models.CharField(max_length=64, blank=True)
    key_id = models.CharField(max_length=40, blank=True)
    key = models.CharField(max_length=64, blank=True)
    user = models.CharField(max_length=256, blank=True)
    alias = models.CharField(max_length=64)
    endpoint = models.CharField(max_length=32)
    provider = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=64, blank=True)
    upstream_model = models.CharField(max_length=200, blank=True)
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=16)
    ended_by = models.CharField(max_length=16)
    error_code = models.CharField(max_length=64, blank=True)
    stream = models.BooleanField()
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    usage_source = models.CharField(max_length=16)
    cost = models.BigIntegerField(null=True)
    cost_currency = models.CharField(max_length=3, blank=True)
    cost_price_version = models.CharField(max_length=200, blank=True)
    charge = models.BigIntegerField(null=True)
    charge_currency = models.CharField(max_length=3, blank=True)
    charge_price_version = models.CharField(max_length=200, blank=True)
    charge_policy = models.CharField(max_length=16, blank=True)
    quarantined = models.BooleanField(default=False)
    latency_us = models.BigIntegerField(default=0)
    first_token_us = models.BigIntegerField(null=True)
    gateway_us = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    cache = models.CharField(max_length=16, blank=True)
    labels = models.JSONField(default=dict)
    decision = models.JSONField(default=dict, help_text="Matched route and warnings, for explain.")
    reserved = models.BigIntegerField(
        null=True, help_text="The most that could have been charged, held before the upstream."
    )
    absorbed = models.BigIntegerField(
        null=True, help_text="What the provider's report exceeded that by: nobody is charged it."
    )

    class Meta:
        ordering: ClassVar = ["-started_at"]
        permissions: ClassVar = [("view_money", "Can see what usage costs and is charged")]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "started_at"], name="usage_by_tenant_and_time"),
            models.Index(fields=["started_at"], name="usage_by_time"),
            models.Index(fields=["tenant", "request_id", "started_at"], name="usage_by_request_id"),
        ]

    def __str__(self) -> str:
        return str(self.record_id)


class Attempt(models.Model):
    """One try at one target inside a request: a child of its usage record."""

    record_id = models.UUIDField()
    ordinal = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    role = models.CharField(max_length=16)
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=64)
    credential = models.CharField(max_length=64, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    error_kind = models.CharField(max_length=32, blank=True)
    error = models.CharField(max_length=500, blank=True)
    latency_us = models.BigIntegerField(default=0)
    first_token_us = models.BigIntegerField(null=True)
    cost = models.BigIntegerField(
        null=True, help_text="Of a target asked beside another; a hedge's is part of its record's."
    )
    charge = models.BigIntegerField(null=True, help_text="The same, for what the tenant pays.")
    usage = models.JSONField(null=True, help_text="Tokens and prices that the amounts come from.")

    class Meta:
        ordering: ClassVar = ["record_id", "ordinal"]
        indexes: ClassVar = [
            models.Index(fields=["started_at"], name="attempt_by_time"),
            models.Index(fields=["started_at"], condition=Q(role="mirror"), name="mirror_by_time"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["record_id", "ordinal"], name="attempt_is_unique_in_its_record"
            )
        ]

    def __str__(self) -> str:
        return f"{self.record_id} #{self.ordinal}"


class BudgetAdjustment(models.Model):
    """What somebody added to, or took from, the use of a budget in one period, and why."""

    counter = models.CharField(max_length=1200, help_text="The key of the purse it counts in.")
    tenant = models.CharField(max_length=64, blank=True, help_text="Empty: the gateway's budget.")
    amount = models.BigIntegerField(
        help_text="Nano-units, or tokens; below 0 it gives room for more."
    )
    reason = models.CharField(max_length=500)
    by = models.CharField(max_length=150)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [models.Index(fields=["counter"], name="adjustment_by_counter")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason=""), name="adjustment_has_a_reason")
        ]

    def __str__(self) -> str:
        return f"{self.counter}: {self.amount}"


class RefusalCount(models.Model):
    """Requests refused before they cost anything, counted by hour."""

    hour = models.DateTimeField()
    tenant = models.CharField(max_length=64, blank=True)
    key_id = models.CharField(max_length=40, blank=True)
    code = models.CharField(max_length=64)
    requests = models.BigIntegerField(default=0)

    class Meta:
        ordering: ClassVar = ["-hour"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["hour", "tenant", "key_id", "code"], name="refusal_count_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour} {self.tenant} {self.code}: {self.requests}"
