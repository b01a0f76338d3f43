"""How limits and budgets stand now: from the running counters, and from the records for those that
are cold."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from billing.budgets import Period, Purse, period_at
from billing.counters import reading
from billing.counters.asks import SLOTS
from billing.limits import WINDOWS, Limit
from billing.rebuild import adjusted, settled_in, used_by_users, used_lately
from billing.state import Figures, Owner, Row, Rule, User, asked, rows_of, rules_of

MOST_USERS = 20


class Standing(NamedTuple):
    row: Row
    figures: Figures


def standings(
    owners: Iterable[Owner], *, user: str | None = None, now: float | None = None
) -> list[Standing]:
    """Every limit and budget of these owners. Of those that each user has, the rows of the users
    who used most of them, or of `user` alone."""
    moment = time.time() if now is None else now
    rows: list[Row] = []
    recorded: dict[str, int] = {}
    for owner in owners:
        for rule in rules_of(owner):
            period = _period(rule, moment)
            users = _users(owner, rule, period, user)
            found = list(rows_of(owner, rule, users, period))
            rows += found
            if owner.keys is None and found and found[0].ask.kind != SLOTS:
                recorded |= _recorded(rule, found, users)
    return _counted(asked(rows), recorded)


def _period(rule: Rule, now: float) -> Period:
    """A purse's own; of a limit its last window, of concurrency the last day."""
    if isinstance(rule, Purse):
        return period_at(rule.period, rule.timezone, now)
    seconds = (rule.window or WINDOWS["day"]) // 1000
    return Period("", int(now) - seconds, int(now) + 1)


def _users(owner: Owner, rule: Rule, period: Period, user: str | None) -> Mapping[User, int]:
    if not rule.scope.per_user:
        return {}
    found = used_by_users(rule, period, most=MOST_USERS, user=user, keys=owner.keys)
    if user is not None and not found and rule.scope.owner and owner.keys is None:
        return {(rule.scope.owner, user): 0}
    return found


def _recorded(rule: Rule, rows: Iterable[Row], users: Mapping[User, int]) -> dict[str, int]:
    """What the records say of each user's counter, so that it need not be asked once more."""
    by_key = {row.ask.key: row for row in rows}
    used = dict(zip(by_key, users.values(), strict=True)) if users else {}
    if isinstance(rule, Purse) and used:
        for key, amount in adjusted(used).items():
            used[key] += amount
    return used


def _counted(rows: list[Row], recorded: Mapping[str, int]) -> list[Standing]:
    known = dict(recorded)
    found = []
    for row, state in zip(rows, reading.states([row.ask for row in rows]), strict=True):
        if state is not None:
            figures = Figures(state.used, state.reserved, row.amount, from_records=False)
        else:
            used = known.get(row.ask.key)
            if used is None:
                used = known[row.ask.key] = _from_records(row)
            figures = Figures(used, 0, row.amount, from_records=True)
        found.append(Standing(row, figures))
    return found


def _from_records(row: Row) -> int:
    if isinstance(row.rule, Limit):
        if row.ask.kind == SLOTS:
            return 0
        return used_lately(row.rule, row.scope, apart_from=())
    assert row.period is not None
    return settled_in(row.rule, row.scope, row.period, key=row.ask.key, apart_from=())
