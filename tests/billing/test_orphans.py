"""What dead workers leave is settled by what is known of it, and once."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from billing import journal
from billing.budgets import Period, read_purses
from billing.counters.asks import PURSE, SLOTS, Ask, Taken
from billing.limits import read_limits
from billing.models import Attempt, UsageRecord
from billing.orphans import entry_of, recover_journals, settler, used_of
from billing.records import Entry, Record
from billing.scopes import Scope
from tests.billing.rows import NOON, attempt, record

ACME = Scope("acme")
PERIOD = Period("month-2026-10-01", 0, 1)
USED = record(
    input_tokens=1,
    cached_input_tokens=20,
    cache_write_tokens=300,
    output_tokens=4_000,
    reasoning_tokens=50_000,
    charge=77,
    cost=7,
)


def taken(ask: Ask) -> Taken:
    return Taken(ask.kind, ask.key, ask.take)


def of_limit(name: str, scope: Scope = ACME) -> Taken:
    (limit,) = read_limits(scope, {name: 10})
    own = scope.of_user("acme", "ann") if scope.per_user else scope
    return taken(limit.ask(own))


def of_budget(owner: Scope = ACME, user: str = "ann", **entry: Any) -> Taken:
    (purse,) = read_purses(owner, [{"period": "month", **entry}], timezone="Europe/Berlin")
    own = purse.scope.of_user("acme", user) if purse.scope.per_user else purse.scope
    return taken(purse.ask(own, PERIOD, 500))


# ---- what each counter should count


@pytest.mark.parametrize(
    ("part", "used"),
    [
        (of_limit("requests_per_minute"), 1),
        (of_limit("tokens_per_day"), 54_321),
        (of_limit("concurrency"), 1),
        (of_limit("tokens_per_day", ACME._replace(per_user=True)), 54_321),
        (of_budget(amount="1"), 77),
        (of_budget(Scope(""), amount="1"), 7),
        (of_budget(tokens=5), 54_321),
        (of_budget(Scope(""), tokens=5), 54_321),
        (of_budget(amount="1", scope="user", user="a|tokens|b"), 77),
        (of_budget(amount="1", scope="label:a|tokens=b|cost"), 77),
        (of_budget(ACME.narrowed("project", "search"), amount="1", scope="alias:pro"), 77),
    ],
)
def test_each_kind_of_counter_counts_in_its_unit(part: Taken, used: int) -> None:
    assert used_of(USED, part) == used


@pytest.mark.parametrize("owner", ["acme", ""])
def test_what_has_no_price_uses_no_money(owner: str) -> None:
    assert used_of(record(charge=None, cost=None), of_budget(Scope(owner), amount="1")) == 0


# ---- settling

ADMITTED = Entry(False, record(1, outcome="interrupted", charge=500, charge_policy="reserved"))
FINAL = Entry(True, record(1, charge=42, output_tokens=9), [attempt(1)])
PURSE_AND_SLOT = [of_budget(amount="1"), of_limit("concurrency"), of_budget(tokens=5)]


def settled(journalled: dict[str, Entry], entry: Entry = ADMITTED) -> tuple[list[int], Entry]:
    used, line = settler(journalled)(msgspec.json.encode(entry), PURSE_AND_SLOT)
    found = entry_of(line)
    assert found is not None
    return list(used), found


def test_without_a_journal_an_orphan_is_what_its_admission_says() -> None:
    assert settled({}) == ([500, 1, 0], Entry(True, ADMITTED.record))


def test_a_journal_that_has_the_end_of_it_knows_better() -> None:
    assert settled({FINAL.record.record_id: FINAL}) == ([42, 1, 9], FINAL)


def test_the_journal_of_another_request_changes_nothing() -> None:
    other = Entry(True, record(2, charge=1))
    assert settled({other.record.record_id: other}) == ([500, 1, 0], Entry(True, ADMITTED.record))


def test_what_was_said_of_the_attempts_is_kept() -> None:
    entry = Entry(False, ADMITTED.record, [attempt(1), attempt(1, 2)])
    assert settled({}, entry)[1].attempts == entry.attempts


def test_what_no_orphan_is_cannot_be_settled() -> None:
    for line in (b"", b"[]", b"nonsense"):
        with pytest.raises(ValueError, match=r".*"):
            settler({})(line, [Taken(SLOTS, "{t1}a||concurrency|0", 1)])
    assert used_of(USED, Taken(PURSE, "{t1}a||charge|UTC|total", 9)) == 77


@pytest.mark.parametrize("line", [b"", b"[]", b"nonsense", b"[true,[1]]", b"\xff"])
def test_a_record_that_cannot_be_read_keeps_no_other_from_being_swept(line: bytes) -> None:
    assert entry_of(line) is None


# ---- journals


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def dead(spool: Path, name: str, *entries: Entry) -> Path:
    """A journal that nobody locks."""
    spool.mkdir(exist_ok=True)
    path = spool / f"{name}.journal"
    path.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    return path


def written() -> dict[str, int | None]:
    return {str(row.record_id): row.charge for row in UsageRecord.objects.all()}


def charge_of(found: Record) -> dict[str, int | None]:
    return {found.record_id: found.charge}


@pytest.mark.django_db
def test_journals_of_the_dead_are_written_and_go(spool: Path) -> None:
    dead(spool, "1-a", ADMITTED, FINAL)
    dead(spool, "2-b", Entry(False, record(2, charge=5)))
    assert recover_journals(spool, (), now=NOON) == (2, {})
    assert written() == charge_of(FINAL.record) | charge_of(record(2, charge=5))
    assert Attempt.objects.count() == 1
    assert list(spool.iterdir()) == []
    assert recover_journals(spool, (), now=NOON) == (0, {})


@pytest.mark.django_db
def test_a_journal_of_a_held_request_stays_and_its_last_words_are_told(spool: Path) -> None:
    """Whoever settles the hold decides; until then the journal writes nothing."""
    other = Entry(True, record(3, charge=3))
    kept = dead(spool, "1-a", ADMITTED, FINAL, Entry(False, record(2, charge=5)), other)
    dead(spool, "2-b", Entry(True, record(4, charge=4)))
    held = {FINAL.record.record_id}
    found, waiting = recover_journals(spool, held, now=NOON)
    assert found == 1
    assert waiting == {entry.record.record_id: entry for entry in (FINAL, other)}
    assert written() == charge_of(record(4, charge=4))
    assert list(spool.iterdir()) == [kept]
    assert recover_journals(spool, set(), now=NOON) == (3, {})
    assert len(written()) == 4
    assert list(spool.iterdir()) == []


@pytest.mark.django_db
def test_what_a_sweep_wrote_first_stands(spool: Path) -> None:
    swept = Entry(True, record(1, charge=500))
    dead(spool, "0-swept", swept)
    recover_journals(spool, (), now=NOON)
    dead(spool, "1-a", ADMITTED, FINAL)
    assert recover_journals(spool, (), now=NOON) == (1, {})
    assert written() == charge_of(swept.record)


@pytest.mark.django_db
def test_the_living_keep_their_journals(spool: Path) -> None:
    own = journal.Journal(spool)
    own.admit(ADMITTED.record, [])
    assert recover_journals(spool, (), now=NOON) == (0, {})
    assert written() == {}
    own.close()
    assert recover_journals(spool, (), now=NOON)[0] == 1


def test_no_spool_holds_nothing(spool: Path, db: None) -> None:
    assert recover_journals(spool, {"anything"}, now=NOON) == (0, {})


# ---- copies

USE = '{"usage_source": "estimated", "input_tokens": 11, "output_tokens": 2}'
COPY = Entry(True, FINAL.record, [attempt(1), attempt(1, 2, role="mirror", cost=6, usage=USE)])
OF_COPY = [
    of_budget(Scope(""), amount="1"),
    of_limit("requests_per_minute"),
    of_limit("tokens_per_day"),
]


def test_a_copy_is_settled_by_what_it_used_itself() -> None:
    used, line = settler({})(journal.line_of(COPY), OF_COPY)
    assert list(used) == [6, 1, 13]
    assert entry_of(line) == COPY


def test_a_copy_whose_journal_has_its_end_is_settled_by_that() -> None:
    ended = Entry(True, FINAL.record, [attempt(1), attempt(1, 2, role="mirror", cost=0)])
    record_id = FINAL.record.record_id
    assert list(settler({record_id: ended})(journal.line_of(COPY), OF_COPY)[0]) == [0, 1, 0]
    # what only its request has said is nothing about the copy
    assert list(settler({record_id: FINAL})(journal.line_of(COPY), OF_COPY)[0]) == [6, 1, 13]


@pytest.mark.django_db
def test_a_journal_of_a_copy_that_is_held_still_stays(spool: Path) -> None:
    """Its request was settled long ago; whoever settles the copy says what it cost."""
    kept = dead(spool, "1-a", COPY)
    held = {f"mirror:{FINAL.record.record_id}"}
    assert recover_journals(spool, held, now=NOON) == (0, {FINAL.record.record_id: COPY})
    assert not Attempt.objects.exists()
    assert list(spool.iterdir()) == [kept]
    assert recover_journals(spool, (), now=NOON) == (1, {})
    assert Attempt.objects.get(role="mirror").cost == 6
