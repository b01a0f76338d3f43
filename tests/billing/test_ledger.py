"""The ledger: a record is written once, whole, and never edited, whatever is tried."""

import datetime
import json
import threading
import uuid
from typing import Any

import msgspec
import pytest
from django.db import DatabaseError, connection, models, transaction

from billing import ledger
from billing.models import Attempt, RefusalCount, UsageRecord
from billing.records import AttemptRow, Entry, Record
from tests.billing.rows import NOON, attempt, record, record_id


def _write(*entries: Entry, refusals: ledger.Refusals | None = None) -> None:
    ledger.write(entries, refusals or {}, now=NOON)


# ---- columns


@pytest.mark.parametrize(
    ("row", "model"), [(Record, UsageRecord), (AttemptRow, Attempt)], ids=["record", "attempt"]
)
def test_the_columns_are_those_of_the_table(
    row: type[msgspec.Struct], model: type[models.Model]
) -> None:
    columns = [field.column for field in model._meta.concrete_fields]
    assert list(row.__struct_fields__) == [column for column in columns if column != "id"]


@pytest.mark.django_db
def test_a_record_is_stored_as_it_was_settled() -> None:
    settled = record(
        project="search",
        key_id="key0001",
        key="frontend",
        user="Ada Löwe 🦁",
        provider="openai",
        model="gpt-4o",
        upstream_model="gpt-4o-2024-08-06",
        error_code="upstream_error",
        stream=True,
        input_tokens=1,
        cached_input_tokens=2,
        cache_write_tokens=3,
        output_tokens=4,
        reasoning_tokens=2**62,
        usage_source="provider",
        cost=0,
        cost_currency="USD",
        cost_price_version="cost@2026-01-01",
        charge=9_000_000 * 10**9,
        charge_currency="EUR",
        charge_price_version="standard@2026-01-01+cost@2026-01-01",
        charge_policy="usage",
        quarantined=True,
        latency_us=5,
        first_token_us=6,
        gateway_us=7,
        attempts=2,
        cache="BYPASS",
        labels='{"team":"süd"}',
        decision='{"route":0,"warnings":["%s \'\\" ;--"]}',
    )
    _write(Entry(True, settled))
    stored = UsageRecord.objects.get()
    expected = msgspec.structs.asdict(settled) | {
        "record_id": uuid.UUID(int=1),
        "started_at": NOON,
        "labels": json.loads(settled.labels),
        "decision": json.loads(settled.decision),
    }
    assert {name: getattr(stored, name) for name in expected} == expected


@pytest.mark.django_db
def test_what_a_record_leaves_out_is_what_the_model_leaves_out() -> None:
    _write(Entry(True, record()))
    stored = UsageRecord.objects.get()
    plain = UsageRecord()
    said = {"record_id", "request_id", "started_at", "tenant", "alias", "endpoint", "status"}
    said |= {"outcome", "ended_by", "stream", "usage_source"}
    for field in UsageRecord._meta.concrete_fields:
        if field.name not in said:
            assert getattr(stored, field.name) == getattr(plain, field.name), field.name


@pytest.mark.django_db
def test_attempts_are_stored_beside_their_record() -> None:
    failed = attempt(1, 1, status=503, error_kind="overloaded", error="busy", latency_us=12)
    answered = attempt(1, 2, role="fallback", status=200, credential="main")
    _write(Entry(True, record(1), [failed, answered]), Entry(True, record(2), [attempt(2)]))
    rows = [
        msgspec.structs.asdict(row) | {"record_id": uuid.UUID(row.record_id), "started_at": NOON}
        for row in (failed, answered, attempt(2))
    ]
    stored = Attempt.objects.order_by("record_id", "ordinal")
    assert list(stored.values(*AttemptRow.__struct_fields__)) == rows


@pytest.mark.django_db
@pytest.mark.parametrize("microsecond", [0, 1, 789_012, 999_999])
def test_a_record_is_found_by_the_moment_it_started(microsecond: int) -> None:
    moment = NOON.replace(microsecond=microsecond)
    _write(Entry(True, record(started_at=moment.isoformat(timespec="microseconds"))))
    later = moment + datetime.timedelta(microseconds=1)
    assert UsageRecord.objects.get().started_at == moment
    assert UsageRecord.objects.filter(started_at__gte=moment, started_at__lt=later).exists()
    assert not UsageRecord.objects.filter(started_at__gte=later).exists()
    assert not UsageRecord.objects.filter(started_at__lt=moment).exists()
    assert UsageRecord.objects.filter(started_at=moment).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("month", [1, 6, 12])
def test_a_record_of_any_month_is_stored(month: int) -> None:
    """Also one for which there is no partition: of last year, or of a clock that is wrong."""
    for year in (2020, 2026, 2049):
        moment = datetime.datetime(year, month, 1, tzinfo=datetime.UTC)
        _write(Entry(True, record(year, started_at=moment.isoformat(timespec="microseconds"))))
    assert UsageRecord.objects.count() == 3


# ---- idempotence


@pytest.mark.django_db
def test_a_batch_that_is_written_twice_is_stored_once() -> None:
    batch = [Entry(True, record(n, charge=n), [attempt(n), attempt(n, 2)]) for n in range(1, 6)]
    _write(*batch)
    before = list(UsageRecord.objects.order_by("record_id").values())
    _write(*batch)
    assert list(UsageRecord.objects.order_by("record_id").values()) == before
    assert Attempt.objects.count() == 10


@pytest.mark.django_db
def test_the_first_word_on_a_request_stands() -> None:
    _write(Entry(True, record(charge=1)))
    _write(Entry(True, record(charge=2)), Entry(True, record(2)))
    assert UsageRecord.objects.get(record_id=record_id(1)).charge == 1
    assert UsageRecord.objects.count() == 2


@pytest.mark.django_db
def test_a_record_that_stands_twice_in_a_batch_is_stored_once() -> None:
    _write(Entry(True, record(charge=1)), Entry(True, record(charge=2)))
    assert UsageRecord.objects.get().charge == 1


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_store_each_record_once() -> None:
    batch = [Entry(True, record(n), [attempt(n)]) for n in range(1, 40)]
    together, failures = threading.Barrier(3), []

    def write(shift: int) -> None:
        try:
            together.wait()
            for start in range(0, len(batch), 5):
                turned = batch[shift:] + batch[:shift]
                _write(*turned[start : start + 5], refusals={("acme", "", "x"): 1})
        except Exception as error:  # noqa: BLE001  (the test shows it)
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(shift,)) for shift in (0, 0, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert UsageRecord.objects.count() == Attempt.objects.count() == len(batch)
    assert RefusalCount.objects.get().requests == 24


@pytest.mark.django_db
def test_a_batch_with_a_row_that_is_refused_is_not_written_at_all() -> None:
    bad = record(2, status=None)
    with pytest.raises(DatabaseError), transaction.atomic():
        _write(Entry(True, record(1)), Entry(True, bad), refusals={("acme", "", "x"): 1})
    assert not UsageRecord.objects.exists()
    assert not RefusalCount.objects.exists()


# ---- what cannot be stored as it is


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0da", "ada"), ("ada \ud83d", "ada ?"), ("ä" * 1_000, "ä" * 256)],
    ids=["null", "surrogate", "long"],
)
def test_text_that_a_database_cannot_hold_costs_no_record(text: str, kept: str) -> None:
    """SQLite holds more than PostgreSQL: text may then be stored as it came."""
    _write(
        Entry(True, record(1, user=text), [attempt(1, error=text)]),
        Entry(True, record(2, user="bob")),
    )
    stored = UsageRecord.objects.get(record_id=record_id(1))
    allowed = {kept} if connection.vendor == "postgresql" else {kept, text}
    assert stored.user in allowed
    assert Attempt.objects.get().error[:256] in {value[:256] for value in allowed}
    assert UsageRecord.objects.get(record_id=record_id(2)).user == "bob"


@pytest.mark.django_db
def test_a_count_beyond_all_bounds_is_stored_as_the_most_there_is() -> None:
    """What an upstream reports in error must not cost us the record."""
    _write(Entry(True, record(output_tokens=10**30, charge=10**40, gateway_us=-(10**30))))
    stored = UsageRecord.objects.get()
    assert stored.output_tokens == stored.charge == 2**63 - 1
    assert stored.gateway_us == -(2**63)


# ---- refusals


@pytest.mark.django_db
def test_refusals_of_an_hour_add_up() -> None:
    one, other = ("acme", "key1", "rate_limit_exceeded"), ("", "", "invalid_api_key")
    _write(refusals={one: 2, other: 1})
    _write(refusals={one: 3})
    ledger.write([], {one: 10}, now=NOON + datetime.timedelta(hours=1))
    hour = NOON.replace(minute=0, second=0, microsecond=0)
    stored = RefusalCount.objects.order_by("hour", "tenant").values_list(
        "hour", "tenant", "key_id", "code", "requests"
    )
    assert list(stored) == [
        (hour, *other, 1),
        (hour, *one, 5),
        (hour + datetime.timedelta(hours=1), *one, 10),
    ]


@pytest.mark.django_db
def test_an_hour_is_found_as_django_would_write_it() -> None:
    refused = ("acme", "", "x")
    _write(refusals={refused: 1})
    hour = NOON.replace(minute=0, second=0, microsecond=0)
    assert RefusalCount.objects.get(hour=hour).requests == 1
    RefusalCount.objects.all().delete()
    RefusalCount.objects.create(hour=hour, tenant="acme", code="x", requests=1)
    _write(refusals={refused: 1})
    assert RefusalCount.objects.get().requests == 2


# ---- append-only


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        lambda: UsageRecord.objects.update(charge=0),
        lambda: UsageRecord.objects.filter(record_id=record_id(1)).update(labels={}),
        lambda: UsageRecord.objects.get().save(),
    ],
    ids=["charge", "labels", "save"],
)
def test_the_database_refuses_to_edit_a_record(change: Any) -> None:
    _write(Entry(True, record(charge=7)))
    with pytest.raises(DatabaseError, match="written once and never edited"), transaction.atomic():
        change()
    assert UsageRecord.objects.get().charge == 7


@pytest.mark.postgres
@pytest.mark.django_db
def test_the_database_refuses_an_edit_that_names_a_partition() -> None:
    _write(Entry(True, record(charge=7)))
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM billing_usagerecord")
        partition = cursor.fetchone()[0]
        with (
            pytest.raises(DatabaseError, match="written once and never edited"),
            transaction.atomic(),
        ):
            cursor.execute(f"UPDATE {partition} SET charge = 0")


@pytest.mark.django_db
def test_retention_may_delete() -> None:
    _write(Entry(True, record()))
    UsageRecord.objects.all().delete()
    assert not UsageRecord.objects.exists()
