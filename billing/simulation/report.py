"""A simulation as plain values: what `simulate --json` prints, and pages show."""

from collections import Counter
from decimal import Decimal
from typing import Any

from billing.periods import format_moment
from billing.simulation.past import NOT_KNOWN
from billing.simulation.totals import Amounts, Side, Simulation, Sums
from billing.usage import single
from gateway_project.units import from_nano


def as_dict(simulation: Simulation) -> dict[str, Any]:
    """Amounts are decimal strings, named as in `usage_summary --json`; changes are signed, and a
    percentage is null where there was nothing before.

    `{"from", "to", "tenant", "stopped_at", "changes", "total": SUMS, "rows": [SUMS and "tenant",
    "alias"], "models": [{"model", "before", "before_percent", "after", "after_percent"}],
    "refusals": [{"tenant", "code", "rule", "requests"}], "assumed": […]}`, where SUMS is
    `{"before": {"requests", "unpriced", "cost", "cost_currency", "charge", "currency"}, "after":
    {…}, "delta": {"cost", "cost_percent", "charge", "charge_percent"}, "refused", "moved"}`. With
    several currencies these amounts are null, and `costs` and `charges` have them by currency.
    """
    totals = simulation.totals
    rows = sorted(totals.rows.items(), key=lambda row: (-row[1].before.requests, row[0]))
    return {
        "from": format_moment(simulation.start),
        "to": format_moment(simulation.end),
        "tenant": simulation.tenant,
        "stopped_at": simulation.stopped_at and format_moment(simulation.stopped_at),
        "changes": simulation.changes,
        "total": _sums(totals.whole),
        "rows": [
            {"tenant": tenant, "alias": alias, **_sums(sums)} for (tenant, alias), sums in rows
        ],
        "models": _models(totals.models_before, totals.models_after),
        "refusals": [
            {"tenant": tenant, "code": refusal.code, "rule": refusal.rule, "requests": requests}
            for (tenant, refusal), requests in totals.refusals.most_common()
        ],
        "assumed": list(NOT_KNOWN),
    }


def _sums(sums: Sums) -> dict[str, Any]:
    return {
        "before": _side(sums.before),
        "after": _side(sums.after),
        "delta": {
            **_delta("cost", sums.before.cost, sums.after.cost),
            **_delta("charge", sums.before.charge, sums.after.charge),
        },
        "refused": sums.refused,
        "moved": sums.moved,
    }


def _side(side: Side) -> dict[str, Any]:
    costs, charges = _amounts(side.cost), _amounts(side.charge)
    shown: dict[str, Any] = {"requests": side.requests, "unpriced": side.unpriced}
    shown["cost"], shown["cost_currency"] = single(costs)
    shown["charge"], shown["currency"] = single(charges)
    if len(costs) > 1:
        shown["costs"] = costs
    if len(charges) > 1:
        shown["charges"] = charges
    return shown


def _amounts(amounts: Amounts) -> dict[str, str]:
    return {currency: from_nano(nano) for currency, nano in sorted(amounts.items())}


def _delta(name: str, before: Amounts, after: Amounts) -> dict[str, Any]:
    """Of `cost` or `charge`."""
    changes = {
        currency: {
            "amount": from_nano(after[currency] - before[currency]),
            "percent": percent(after[currency] - before[currency], before[currency]),
        }
        for currency in sorted({*before, *after})
    }
    if len(changes) > 1:
        return {name: None, f"{name}_percent": None, f"{name}s": changes}
    only = next(iter(changes.values()), {"amount": "0", "percent": None})
    return {name: only["amount"], f"{name}_percent": only["percent"]}


def by_currency(sums: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The `cost` or `charge` of a SUMS for a table: `[{"currency", "before", "after", "change",
    "percent"}]`."""
    sides = [_of_side(sums[side], name) for side in ("before", "after")]
    delta = sums["delta"]
    changes = delta.get(f"{name}s") or {
        next(iter({**sides[0], **sides[1]}), ""): {
            "amount": delta[name],
            "percent": delta[f"{name}_percent"],
        }
    }
    return [
        {
            "currency": currency,
            "before": sides[0].get(currency, "0"),
            "after": sides[1].get(currency, "0"),
            "change": change["amount"],
            "percent": change["percent"],
        }
        for currency, change in changes.items()
    ]


def change_in_words(line: dict[str, Any]) -> str:
    """Of a line of `by_currency`: `+1.5 (+20 %)`."""
    amount, share = line["change"], line["percent"]
    if amount == "0":
        return "0"
    sign = "" if amount.startswith("-") else "+"
    return f"{sign}{amount}" + (f" ({sign}{share} %)" if share is not None else "")


def _of_side(side: dict[str, Any], name: str) -> dict[str, str]:
    several: dict[str, str] | None = side.get(f"{name}s")
    currency = side["cost_currency" if name == "cost" else "currency"]
    return several or ({currency: side[name]} if currency else {})


def percent(part: int, whole: int) -> str | None:
    """To a tenth, rounded half up; None of nothing."""
    if not whole:
        return None
    tenths, sign = (2000 * abs(part) + whole) // (2 * whole), "-" if part < 0 else ""
    return f"{sign if tenths else ''}{Decimal(tenths) / 10}"


def _models(before: Counter[str], after: Counter[str]) -> list[dict[str, Any]]:
    """Those that answered most first."""
    whole_before, whole_after = before.total(), after.total()
    names = sorted({*before, *after}, key=lambda name: (-before[name] - after[name], name))
    return [
        {
            "model": name,
            "before": before[name],
            "before_percent": percent(before[name], whole_before),
            "after": after[name],
            "after_percent": percent(after[name], whole_after),
        }
        for name in names
    ]
