"""The usage table on PostgreSQL: a partition a month, dropped whole when it is old."""

import datetime
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from billing import partitions
from billing.models import UsageRecord
from billing.partitions import drop_partitions, ensure_partitions, month_bounds
from billing.retention import prune
from tests.factories import UsageRecordFactory

TABLE = "billing_usagerecord"


def _utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]


def _query(sql: str, *params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [row[0] for row in cursor.fetchall()]


def _partitions() -> list[str]:
    return _query(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = %s::regclass ORDER BY 1",
        TABLE,
    )


def _partition_of(record: UsageRecord) -> Any:
    return _query(
        f"SELECT tableoid::regclass::text FROM {TABLE} WHERE record_id = %s", record.record_id
    )[0]


@pytest.mark.parametrize(
    ("day", "ahead", "bounds"),
    [
        ((2026, 10, 31), 0, ((2026, 10, 1), (2026, 11, 1))),
        ((2026, 10, 31), 1, ((2026, 11, 1), (2026, 12, 1))),
        ((2026, 10, 31), 2, ((2026, 12, 1), (2027, 1, 1))),
        ((2026, 10, 31), 3, ((2027, 1, 1), (2027, 2, 1))),
        ((2026, 1, 15), -1, ((2025, 12, 1), (2026, 1, 1))),
        ((2026, 1, 15), -13, ((2024, 12, 1), (2025, 1, 1))),
    ],
)
def test_months_are_counted_across_years(
    day: tuple[int, int, int], ahead: int, bounds: tuple[tuple[int, int, int], ...]
) -> None:
    assert month_bounds(datetime.date(*day), ahead) == tuple(datetime.date(*b) for b in bounds)


@pytest.mark.django_db
def test_sqlite_has_none() -> None:
    if connection.vendor == "sqlite":
        assert ensure_partitions(datetime.date(2031, 5, 1)) == []
        assert drop_partitions(_utc(2031, 5, 1)) == {}


@pytest.mark.postgres
@pytest.mark.django_db
class TestEnsure:
    def test_this_month_and_the_next_three_get_one(self) -> None:
        assert ensure_partitions(datetime.date(2031, 11, 30)) == [
            f"{TABLE}_2031_11",
            f"{TABLE}_2031_12",
            f"{TABLE}_2032_01",
            f"{TABLE}_2032_02",
        ]

    def test_running_it_again_does_nothing(self) -> None:
        ensure_partitions(datetime.date(2031, 11, 30))
        assert ensure_partitions(datetime.date(2031, 11, 1)) == []
        assert ensure_partitions(datetime.date(2031, 12, 1)) == [f"{TABLE}_2032_03"]

    @pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
    def test_months_begin_at_midnight_in_utc_whatever_the_sessions_timezone(
        self, timezone: str
    ) -> None:
        _query("SELECT set_config('TimeZone', %s, true)", timezone)
        ensure_partitions(datetime.date(2031, 11, 30))
        last = UsageRecordFactory.create(started_at=_utc(2031, 11, 30, 23, 59))
        first = UsageRecordFactory.create(started_at=_utc(2031, 12, 1))
        assert _partition_of(last) == f"{TABLE}_2031_11"
        assert _partition_of(first) == f"{TABLE}_2031_12"

    def test_a_month_without_a_partition_goes_to_the_rest_and_stays_there(self) -> None:
        early = UsageRecordFactory.create(started_at=_utc(2031, 12, 24))
        assert _partition_of(early) == f"{TABLE}_rest"
        assert f"{TABLE}_2031_12" not in ensure_partitions(datetime.date(2031, 11, 1))
        late = UsageRecordFactory.create(started_at=_utc(2031, 12, 25))
        assert _partition_of(late) == f"{TABLE}_rest"

    def test_a_partition_has_the_tables_key_and_indexes(self) -> None:
        ensure_partitions(datetime.date(2031, 11, 30))
        indexes = _query("SELECT indexdef FROM pg_indexes WHERE tablename = %s", f"{TABLE}_2031_11")
        assert (
            sum("UNIQUE" in index and "(record_id, started_at)" in index for index in indexes) == 1
        )
        assert any("(tenant, started_at)" in index for index in indexes)

    def test_a_record_is_written_once_and_never_edited(self) -> None:
        ensure_partitions(datetime.date(2031, 11, 30))
        record = UsageRecordFactory.create(started_at=_utc(2031, 11, 30))
        with pytest.raises(IntegrityError), transaction.atomic():
            UsageRecordFactory.create(started_at=record.started_at, record_id=record.record_id)
        with pytest.raises(Exception, match="never edited"), transaction.atomic():
            UsageRecord.objects.filter(pk=record.pk).update(charge=1)

    def test_it_gives_up_rather_than_hold_up_everybody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partitions, "LOCK_PATIENCE", "50ms")
        somebody = connection.copy()
        try:
            somebody.set_autocommit(False)
            with somebody.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS SHARE MODE")
                with pytest.raises(OperationalError, match="lock timeout"), transaction.atomic():
                    ensure_partitions(datetime.date(2031, 11, 30))
        finally:
            somebody.close()


@pytest.mark.postgres
@pytest.mark.django_db
class TestDrop:
    def test_a_month_goes_once_it_is_entirely_older(self) -> None:
        ensure_partitions(datetime.date(2021, 1, 1))
        UsageRecordFactory.create_batch(2, started_at=_utc(2021, 1, 31, 23))
        UsageRecordFactory.create(started_at=_utc(2021, 2, 1))
        assert drop_partitions(_utc(2021, 1, 31, 23, 59)) == {}
        assert drop_partitions(_utc(2021, 2, 1)) == {f"{TABLE}_2021_01": 2}
        assert UsageRecord.objects.count() == 1
        assert f"{TABLE}_2021_01" not in _partitions()
        assert _query("SELECT to_regclass(%s)::text", f"{TABLE}_2021_01") == [None]

    def test_the_rest_is_never_dropped(self) -> None:
        drop_partitions(_utc(2099, 1, 1))
        assert _partitions() == [f"{TABLE}_rest"]

    def test_pruning_drops_whole_months_and_deletes_the_rest(self) -> None:
        ensure_partitions(datetime.date(2021, 1, 1))
        UsageRecordFactory.create_batch(2, started_at=_utc(2021, 1, 5))
        UsageRecordFactory.create(started_at=_utc(2021, 2, 5))
        UsageRecordFactory.create(started_at=_utc(2020, 6, 5))
        UsageRecordFactory.create(started_at=_utc(2021, 2, 15))
        now = _utc(2021, 10, 10)
        pruned = prune(older_than=now - _utc(2021, 2, 10), now=now)
        assert pruned.partitions == [f"{TABLE}_2021_01"]
        assert pruned.records == 4
        assert UsageRecord.objects.get().started_at == _utc(2021, 2, 15)
