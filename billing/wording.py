"""Limits and budgets in words, for the pages of the admin."""

import datetime
from zoneinfo import ZoneInfo

from billing.budgets import Purse
from billing.limits import Limit
from billing.state import Figures, Row, full_again_in
from gateway_project.units import from_nano

MILLIONTH = 1_000
"""Of a unit of currency, in nano-units."""


def scope_in_words(row: Row) -> str:
    """`The tenant acme`, `The alias pro of the project search`; whose page it is goes without
    saying. Of a tenant's user on the gateway's page, the tenant is said."""
    owner = f"the tenant {row.scope.owner}" if row.scope.owner else "the gateway"
    said = row.scope.said.removesuffix(f" of {owner}")
    said += f" ({row.note})" if row.note else ""
    return said[:1].upper() + said[1:]


def rule_in_words(row: Row, currency: str) -> str:
    """`100 USD per month`, `1,000 tokens in all`, `60 requests per minute, at most 10 at once`."""
    rule = row.rule
    if isinstance(rule, Purse):
        unit = "tokens" if rule.unit == "tokens" else currency
        per = "in all" if rule.period == "total" else f"per {rule.period}"
        return f"{amount_in_words(row, row.amount)} {unit} {per}"
    if rule.unit == "concurrency":
        return f"{rule.amount:,} requests at once"
    burst = "" if rule.most == rule.amount else f", at most {rule.most:,} at once"
    return f"{rule.amount:,} {rule.name.replace('_', ' ')}{burst}"


def amount_in_words(row: Row, amount: int) -> str:
    """In the rule's unit, which it does not name: `1,234.5`. Exact."""
    return _grouped(from_nano(amount)) if _is_money(row) else f"{amount:,}"


def amount_in_short(row: Row, amount: int) -> str:
    """Money to a millionth, rounded half up, unless it is less than that."""
    if not _is_money(row):
        return f"{amount:,}"
    rounded = (abs(amount) + MILLIONTH // 2) // MILLIONTH * MILLIONTH
    if rounded == 0:
        return amount_in_words(row, amount)
    return _grouped(from_nano(-rounded if amount < 0 else rounded))


def _is_money(row: Row) -> bool:
    return isinstance(row.rule, Purse) and row.rule.unit != "tokens"


def _grouped(decimal: str) -> str:
    sign = "-" if decimal.startswith("-") else ""
    whole, dot, rest = decimal.removeprefix("-").partition(".")
    return f"{sign}{int(whole):,}{dot}{rest}"


def reset_in_words(row: Row, figures: Figures) -> str:
    """When a period ends, in the budget's timezone; when a bucket is full again."""
    rule = row.rule
    if isinstance(rule, Limit):
        if rule.unit == "concurrency":
            return "as requests end"
        left = full_again_in(rule, figures.used)
        return f"full again in {_duration(left)}" if left else "full"
    assert row.period is not None
    if not row.period.end:
        return "never"
    end = datetime.datetime.fromtimestamp(row.period.end, ZoneInfo(rule.timezone))
    return f"{end.day} {end:%b %Y, %H:%M}"


def timezone_in_words(row: Row) -> str:
    """Of what `reset_in_words` says; empty where no clock is meant."""
    rule = row.rule
    return rule.timezone if isinstance(rule, Purse) and rule.period != "total" else ""


def _duration(milliseconds: int) -> str:
    """`42 s`, `12 min`, `3 h 20 min`; rounded up."""
    seconds = -(-milliseconds // 1000)
    if seconds <= 90:
        return f"{seconds} s"
    minutes = -(-seconds // 60)
    if minutes <= 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
