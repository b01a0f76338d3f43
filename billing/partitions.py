"""The usage table on PostgreSQL: partitioned by month, so that old months are dropped, not deleted.

Django knows one primary key, `record_id`; PostgreSQL wants the partition key in it, so there the
constraint is over both. On SQLite the table is an ordinary one.
"""

import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper
from django.db.migrations.state import ProjectState

USAGE = "billing_usagerecord"
MONTHS_AHEAD = 3
LOCK_PATIENCE = "3s"


class CreatePartitionedModel(migrations.CreateModel):
    """CreateModel, by RANGE of `started_at` where the database can."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.name)
        sql, params = schema_editor.table_sql(model)
        sql, found = re.subn(r'("record_id" uuid NOT NULL) PRIMARY KEY', r"\1", sql)
        if not found:
            raise RuntimeError("the usage table has no record_id to move its primary key from")
        sql = f'{sql[: sql.rindex(")")]}, PRIMARY KEY ("record_id", "started_at"))'
        schema_editor.execute(f"{sql} PARTITION BY RANGE (started_at)", params)
        table = model._meta.db_table
        schema_editor.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
        for index in model._meta.indexes:
            schema_editor.add_index(model, index)


def month_bounds(day: datetime.date, ahead: int) -> tuple[datetime.date, datetime.date]:
    """First day of the month `ahead` months after `day`'s, and of the one that follows."""
    months = day.year * 12 + day.month - 1 + ahead
    first = datetime.date(months // 12, months % 12 + 1, 1)
    following = datetime.date((months + 1) // 12, (months + 1) % 12 + 1, 1)
    return first, following


def ensure_partitions(today: datetime.date, *, table: str = USAGE) -> list[str]:
    """Creates this month's and the coming months' partitions where missing; returns their names.

    Idempotent and safe to run from several workers at once. A month whose rows already lie in the
    default partition keeps them there. Raises OperationalError when somebody holds the table for
    longer than LOCK_PATIENCE: there are months to try again.
    """
    if connection.vendor != "postgresql":
        return []
    created = []
    for ahead in range(MONTHS_AHEAD + 1):
        first, following = month_bounds(today, ahead)
        name = f"{table}_{first:%Y_%m}"
        with _changing(table) as cursor:
            cursor.execute("SELECT to_regclass(%s)", [name])
            if cursor.fetchone()[0] is not None:
                continue
            cursor.execute(
                f"SELECT 1 FROM {table}_rest WHERE started_at >= %s AND started_at < %s LIMIT 1",  # noqa: S608
                [_midnight(first), _midnight(following)],
            )
            if cursor.fetchone() is None:
                cursor.execute(
                    f"CREATE TABLE {name} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{_midnight(first)}') TO ('{_midnight(following)}')"
                )
                created.append(name)
    return created


def drop_partitions(cutoff: datetime.datetime, *, table: str = USAGE) -> dict[str, int]:
    """Drops the months that ended at or before `cutoff`; returns how many rows each had.

    The default partition stays whatever it holds. Raises OperationalError like ensure_partitions.
    """
    if connection.vendor != "postgresql":
        return {}
    dropped = {}
    for name in _month_partitions(table):
        year, month = map(int, name[-7:].split("_"))
        _, following = month_bounds(datetime.date(year, month, 1), 0)
        if _midnight(following) > cutoff:
            continue
        with _changing(table) as cursor:
            cursor.execute("SELECT to_regclass(%s)", [name])
            if cursor.fetchone()[0] is None:
                continue
            # Counted first: from the next statement on everybody else waits.
            cursor.execute(f"SELECT COUNT(*) FROM {name}")  # noqa: S608
            dropped[name] = cursor.fetchone()[0]
            cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {name}")
            cursor.execute(f"DROP TABLE {name}")
    return dropped


def _month_partitions(table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = %s::regclass ORDER BY 1",
            [table],
        )
        names = [name for (name,) in cursor.fetchall()]
    return [name for name in names if re.fullmatch(rf"{table}_\d{{4}}_\d{{2}}", name)]


@contextmanager
def _changing(table: str) -> Iterator[CursorWrapper]:
    """A transaction that changes the partitions of a table: one at a time, and never waiting long,
    because everybody who wants the table waits behind who waits for it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_PATIENCE])
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [table])
        yield cursor


def _midnight(day: datetime.date) -> datetime.datetime:
    """In UTC, whatever the session's time zone is."""
    return datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
