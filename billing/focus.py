"""Usage records as FOCUS rows, for tools that read every vendor's bill alike.

FOCUS is the FinOps Open Cost and Usage Specification, https://focus.finops.org (names and formats
as of 1.2). The gateway is the provider and issues the invoice, its issuer name is the billing
account, each tenant is a sub account, an alias is the service that is bought and a model its SKU.

- `BilledCost` is the charge. There are no discounts or commitments, so the other costs equal it.
- A charge that is not known yet is 0, in `XXX` (ISO 4217: no currency), as neither may be null.
- Times have whole seconds, so a charge period ends with the second in which its request ended.
- Billing periods are calendar months in UTC.
- `x_` columns are ours. `x_Cost` is empty in a tenant's own export.
"""

import datetime
from collections.abc import Callable

from django.conf import settings

from billing.columns import Column, labels, safe_cell, tokens
from billing.models import UsageRecord
from billing.partitions import month_bounds
from gateway_project.units import from_nano


def _column(name: str, cell: Callable[[UsageRecord], str], *, ours: bool = False) -> Column:
    return Column(name, cell, cell, ours)


def _same(name: str, value: str) -> Column:
    return _column(name, lambda record: value)


def _text(name: str, source: str, *, ours: bool = False) -> Column:
    return _column(name, lambda record: safe_cell(str(getattr(record, source))), ours=ours)


def _gateway(name: str) -> Column:
    return _column(name, lambda record: safe_cell(settings.ENVIRONMENT.issuer))


def _charge(record: UsageRecord) -> str:
    return from_nano(record.charge or 0)


def _cost(record: UsageRecord) -> str:
    return "" if record.cost is None else from_nano(record.cost)


def _quantity(record: UsageRecord) -> str:
    """Of tokens. A quantity is positive or null."""
    return str(tokens(record) or "")


def _unit(record: UsageRecord) -> str:
    return "Tokens" if tokens(record) else ""


def _moment(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ended(record: UsageRecord) -> str:
    latency = datetime.timedelta(microseconds=record.latency_us)
    return _moment(record.started_at + latency + datetime.timedelta(seconds=1))


def _billing_period(record: UsageRecord) -> tuple[str, str]:
    first, following = month_bounds(record.started_at.astimezone(datetime.UTC).date(), 0)
    return f"{first}T00:00:00Z", f"{following}T00:00:00Z"


def _description(record: UsageRecord) -> str:
    return safe_cell(f"{record.alias}, answered by {record.model or 'the gateway'}")


COLUMNS = (
    _column("BilledCost", _charge),
    _gateway("BillingAccountId"),
    _gateway("BillingAccountName"),
    _column("BillingCurrency", lambda record: record.charge_currency or "XXX"),
    _column("BillingPeriodEnd", lambda record: _billing_period(record)[1]),
    _column("BillingPeriodStart", lambda record: _billing_period(record)[0]),
    _same("ChargeCategory", "Usage"),
    _same("ChargeClass", ""),
    _column("ChargeDescription", _description),
    _same("ChargeFrequency", "Usage-Based"),
    _column("ChargePeriodEnd", _ended),
    _column("ChargePeriodStart", lambda record: _moment(record.started_at)),
    _column("ConsumedQuantity", _quantity),
    _column("ConsumedUnit", _unit),
    _column("ContractedCost", _charge),
    _column("EffectiveCost", _charge),
    _gateway("InvoiceIssuerName"),
    _column("ListCost", _charge),
    _same("PricingCategory", "Standard"),
    _column("PricingQuantity", _quantity),
    _column("PricingUnit", _unit),
    _gateway("ProviderName"),
    _column(
        "PublisherName",
        lambda record: safe_cell(record.provider or settings.ENVIRONMENT.issuer),
    ),
    _same("ServiceCategory", "AI and Machine Learning"),
    _text("ServiceName", "alias"),
    _same("ServiceSubcategory", "Generative AI"),
    _text("SkuId", "model"),
    _text("SubAccountId", "tenant"),
    _text("SubAccountName", "tenant"),
    _column("Tags", labels),
    _column("x_Cost", _cost, ours=True),
    _text("x_CostCurrency", "cost_currency", ours=True),
    _text("x_Key", "key"),
    _text("x_PriceVersion", "charge_price_version"),
    _text("x_Project", "project"),
    _text("x_RecordId", "record_id"),
    _text("x_User", "user"),
)
