"""Adjusting what a budget has used in its current period, with a reason."""

from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.core.exceptions import ValidationError
from django.db import transaction

from billing.budgets import Purse
from billing.counters import reading
from billing.counters.asks import LARGEST
from billing.models import BudgetAdjustment
from billing.standing import Standing
from gateway_project.units import to_nano


def read_adjustment(standing: Standing, text: str) -> int:
    """Nano-units, or tokens, of what somebody typed; below 0 it gives room. Raises ValueError."""
    purse = standing.row.rule
    assert isinstance(purse, Purse)
    amount = _tokens(text) if purse.unit == "tokens" else _money(text)
    if amount == 0:
        raise ValueError("0 changes nothing")
    after = standing.figures.used + amount
    if abs(after) >= LARGEST:
        most = purse.written(LARGEST)
        raise ValueError(f"the budget would have used {purse.written(after)}, not below {most}")
    return amount


def _money(text: str) -> int:
    """The sign apart, so that what is too large is said to be so either way."""
    size = to_nano(text.removeprefix("-"))
    if size < 0:
        raise ValueError(f"{text!r} is not a decimal number")
    return -size if text.startswith("-") else size


def _tokens(text: str) -> int:
    try:
        amount = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number of tokens") from None
    if abs(amount) >= LARGEST:
        raise ValueError(f"{abs(amount)} is not below {LARGEST}")
    return amount


def adjust(standing: Standing, amount: int, reason: str, by: Any) -> BudgetAdjustment:
    """Adds to what a purse has used, and says so in the admin's log; the counter is made from the
    records anew. Raises ValidationError."""
    row = standing.row
    adjustment = BudgetAdjustment(
        counter=row.ask.key,
        tenant=row.scope.owner,
        amount=amount,
        reason=reason,
        by=by.get_username(),
    )
    try:
        adjustment.full_clean()
    except ValidationError as error:
        if "counter" in error.message_dict:
            raise ValidationError("This user's name is too long for an adjustment.") from error
        raise
    with transaction.atomic():
        adjustment.save()  # the revision `adjustments` goes up with it
        LogEntry.objects.log_actions(
            by.pk, [adjustment], ADDITION, change_message=reason, single_object=True
        )
    reading.forget([row.ask.key])
    return adjustment
